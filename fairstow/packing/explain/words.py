"""Rules between pods, ports and volumes in the words that a pod's spec uses for them."""

from collections import Counter
from collections.abc import Iterable, Sequence

from fairstow.cluster.model import HostPort, PodTerm, Requirement, Selector, Spread
from fairstow.cluster.shapes import ANY_ADDRESS

_PLACES = {"zone": "zones", "region": "regions", "rack": "racks"}
_PLURALS = {
    "is": "are",
    "has": "have",
    "reports": "report",
    "lacks": "lack",
    "lies": "lie",
    "isn't": "aren't",
    "doesn't": "don't",
}
_NAMED = 3


def some_pod(term: PodTerm) -> str:
    """Say which pod a term of affinity speaks of: `a pod of app=db`."""
    chosen = _chosen(term.selector)
    return (f"a pod of {chosen}" if chosen else "any pod") + _where(term)


def all_pods(term: PodTerm) -> str:
    """Say which pods a term of affinity speaks of: `pods of app=db`."""
    chosen = _chosen(term.selector)
    return (f"pods of {chosen}" if chosen else "all pods") + _where(term)


def equalities(selector: Selector | None) -> str:
    """Write a selector as kubectl's -l takes it, "" where it says more than that labels equal."""
    lines = selector.requirements if selector else ()
    if any(r.operator != "In" or len(r.values) != 1 for r in lines):
        return ""
    return ",".join(f"{r.key}={r.values[0]}" for r in lines)


def terms(of: Sequence[PodTerm]) -> str:
    """Say several terms: `a pod of app=db by zone, any pod by rack`."""
    return ", ".join(f"{some_pod(t)} by {t.topology_key}" for t in of)


def spread(rule: Spread) -> str:
    """Say a constraint: `zone, maxSkew 1`."""
    return f"{rule.topology_key}, maxSkew {rule.max_skew}"


def places(topology_key: str) -> str:
    """Return what people call the domains of a topology key, "" if they have no word for it."""
    return _PLACES.get(topology_key.rpartition("/")[2], "")


def port(wanted: HostPort) -> str:
    """Write a host port: `8080`, `53/UDP`, `10.0.0.1:80`."""
    address = "" if wanted.address == ANY_ADDRESS else f"{wanted.address}:"
    protocol = "" if wanted.protocol == "TCP" else f"/{wanted.protocol}"
    return f"{address}{wanted.port}{protocol}"


def ports(wanted: Sequence[HostPort]) -> str:
    """Write host ports: `host port 8080`, `host ports 80, 443`."""
    noun = "host port" if len(wanted) == 1 else "host ports"
    return f"{noun} {', '.join(map(port, wanted))}"


def nodes(number: int) -> str:
    """Return `1 node`, `2 nodes`."""
    return f"{number} node{'' if number == 1 else 's'}"


def names(of: Sequence[str]) -> str:
    """Name up to three."""
    more = f" and {len(of) - _NAMED} more" if len(of) > _NAMED else ""
    return ", ".join(of[:_NAMED]) + more


def counted(details: Iterable[str]) -> str:
    """Count equal reasons: `28 have the taint x:NoSchedule, 2 are cordoned`."""
    found = Counter(d for d in details if d).most_common(_NAMED + 1)
    said = [f"{n} {plural(d, n)}" for d, n in found[:_NAMED]]
    if len(found) > _NAMED:
        said.append("others for other reasons")
    return ", ".join(said)


def plural(phrase: str, number: int) -> str:
    """Turn a phrase that follows one node's name into one that follows a number."""
    verb, _, rest = phrase.partition(" ")
    return f"{_PLURALS.get(verb, verb)} {rest}" if number > 1 else phrase


def _chosen(selector: Selector | None) -> str:
    if selector is None:
        return "no labels at all"
    return ", ".join(map(_requirement, selector.requirements))


def _requirement(line: Requirement) -> str:
    values = ", ".join(line.values)
    match line.operator:
        case "In":
            return f"{line.key}={values}" if len(line.values) == 1 else f"{line.key} in ({values})"
        case "NotIn":
            return f"{line.key} not in ({values})"
        case "Exists":
            return line.key
        case _:
            return f"no {line.key}"


def _where(term: PodTerm) -> str:
    """Say which namespaces a term speaks of, where it isn't the pod's own alone."""
    said = []
    if term.namespaces:
        said.append(f"in namespace {' or '.join(term.namespaces)}")
    if term.namespace_selector is not None:
        chosen = _chosen(term.namespace_selector)
        said.append(f"in a namespace of {chosen}" if chosen else "in any namespace")
    return "".join(f" {s}" for s in said)
