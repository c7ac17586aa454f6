"""From what a person typed to the one pod they mean."""

from collections.abc import Sequence
from difflib import get_close_matches

from fairstow.cluster.errors import InputError, printable
from fairstow.cluster.model import Pod
from fairstow.cluster.snapshot import Snapshot

_KINDS = ("pod", "pods", "po")
_SUGGESTED = 5


def find_pod(snapshot: Snapshot, what: Sequence[str], namespace: str | None) -> Pod:
    """Return the pod that `pod/NAME`, `pod/NAMESPACE/NAME` or `pod NAME` means.

    A name without its generated suffix is enough where only one pod has it.

    Args:
        snapshot: where to look.
        what: the command's arguments.
        namespace: where to look alone, None for everywhere.

    Raises:
        InputError: there is no such pod, or more than one.
    """
    namespace, name = _parts(what, namespace)
    said = printable(f"{namespace}/{name}" if namespace else name)
    there = [p for p in snapshot.pods if namespace in (None, p.namespace)]
    found = [p for p in there if p.name == name] or [
        p for p in there if name and p.name.startswith(f"{name}-")
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"pod/{said}", f"{len(found)} pods are called that", _did_you_mean(found, "Say which:")
        )
    raise InputError(
        f"pod/{said}",
        "no such pod that holds or wants a node",
        _did_you_mean(_like(there, name) or _like(list(snapshot.pods), name), "Did you mean:"),
    )


def _parts(what: Sequence[str], namespace: str | None) -> tuple[str | None, str]:
    parts = "/".join(what).split("/")
    if len(parts) not in (2, 3) or parts[0].lower() not in _KINDS or not all(parts):
        raise InputError(
            printable(" ".join(what)), "names no pod", "Write it as pod/NAME or pod/NAMESPACE/NAME."
        )
    if len(parts) == 2:
        return namespace, parts[1]
    if namespace not in (None, parts[1]):
        raise InputError("-n", f"says {namespace}, but the pod's name says {printable(parts[1])}")
    return parts[1], parts[2]


def _like(pods: list[Pod], name: str) -> list[Pod]:
    within = [p for p in pods if name in p.name]
    if within:
        return within
    close = get_close_matches(name, {p.name for p in pods}, _SUGGESTED, 0.6)
    return [p for each in close for p in pods if p.name == each]


def _did_you_mean(pods: list[Pod], words: str) -> str:
    if not pods:
        return ""
    some = sorted(pods, key=lambda p: not p.pending)[:_SUGGESTED]
    more = [f"  ... and {len(pods) - _SUGGESTED} more"] if len(pods) > _SUGGESTED else []
    return "\n".join([words, *(f"  pod/{p.ref}" for p in some), *more])
