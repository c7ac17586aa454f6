"""A new pod: which scheduler it gets, and whether it can ever run on a node of its pool.

Called by controllers/webhook for pods of namespaces that opted in. A pod's pools are those whose
accelerator it asks for. Only what doesn't pass by itself is held against it: labels, lasting taints
and the size of nodes, never who runs there now.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from fairstow.api import GpuPool
from fairstow.cluster import wire
from fairstow.cluster.model import Node, Shape
from fairstow.cluster.quantity import render
from fairstow.cluster.review import Json, Reply, Request, name_of
from fairstow.cluster.rules import Rule, deficits, node_refusals
from fairstow.cluster.shapes import read_shape
from fairstow.packing.admission.world import World, joined

SCHEDULER = "fairstow"
_DEFAULT = (None, "", "default-scheduler")
_PASSING = "node.kubernetes.io/"
"""Taints that the node controller sets and takes away again."""

_CLAIMS = "resource claims (DRA)"


def admit_pod(request: Request, world: World) -> Reply:
    """Return the reply to the creation of a pod; it is never refused."""
    name_of(request)  # or the review is malformed
    spec = (request.object or {}).get("spec")
    if not isinstance(spec, dict) or spec.get("nodeName"):
        return Reply()
    ours = {"op": "add", "path": "/spec/schedulerName", "value": SCHEDULER}
    patch = (ours,) if spec.get("schedulerName") in _DEFAULT else ()
    return Reply(patch=patch, warnings=_warnings(request, world))


def _warnings(request: Request, world: World) -> tuple[str, ...]:
    shape = _shape(request.object or {}, request.namespace)
    if shape is None or _CLAIMS in shape.unmodelled:
        return ()
    said = never_fits(shape, world)
    return (f"fairstow: {said}",) if said else ()


def _shape(raw: Json, namespace: str) -> Shape | None:
    """Return what decides where the pod may run; None where only the API server can tell."""
    metadata = {"namespace": namespace} | (raw.get("metadata") or {})
    metadata["name"] = metadata.get("name") or "new"
    try:
        pod = msgspec.convert({**raw, "metadata": metadata}, wire.Pod)
        return read_shape(pod, lambda part: part)
    except (ValueError, RecursionError):
        return None


def never_fits(shape: Shape, world: World) -> str:
    """Say why no node of the pod's pools can ever take it as they are; "" if one can.

    Also "" for a pod that asks for no pool's accelerator, and while nodes or pools aren't known.
    """
    asked = {name for name, _ in shape.requests}
    pools = [pool for pool in (world.pools or {}).values() if _resource(pool) in asked]
    if not pools or world.nodes is None:
        return ""
    members = frozenset().union(*map(world.members, pools))
    refused: Counter[str] = Counter()
    willing: list[Node] = []
    for node in world.nodes.values():
        if node.name not in members:
            continue
        if why := _lasting_refusal(shape, node):
            refused[why] += 1
        elif not deficits(shape, node.allocatable):
            return ""
        else:
            willing.append(node)
    if willing:
        return _too_large(shape, pools, willing)
    return _kept_out(pools, refused)


def _lasting_refusal(shape: Shape, node: Node) -> str:
    lasting = tuple(t for t in node.taints if not t.key.startswith(_PASSING))
    steady = replace(node, closed="", unschedulable=False, taints=lasting)
    refusals = (r.detail for r in node_refusals(shape, steady) if r.rule is not Rule.CORDONED)
    return next(refusals, "")


def _too_large(shape: Shape, pools: list[GpuPool], willing: list[Node]) -> str:
    where = f"{_names(pools)} that it may run on"
    for resource, amount in sorted(shape.requests, key=lambda r: r[0] != _resource(pools[0])):
        most = max(node.allocatable.get(resource, 0) for node in willing)
        if amount > most:
            asked, has = render(resource, amount), render(resource, most)
            return (
                f"asks for {resource}: {asked}, and no node of {where} has more than {has}: it "
                "waits until a larger one joins"
            )
    return f"no single node of {where} is large enough in all it asks for"


def _kept_out(pools: list[GpuPool], refused: Counter[str]) -> str:
    if not refused:
        return f"{_names(pools)} has no nodes: it waits until one joins"
    reasons = joined((f"{count} {why}" for why, count in refused.most_common()), 2)
    return f"no node of {_names(pools)} admits it: {reasons}"


def _names(pools: Iterable[GpuPool]) -> str:
    names = [pool.metadata.name for pool in pools]
    return f"pool{'s' if len(names) > 1 else ''} {joined(names)}"


def _resource(pool: GpuPool) -> str:
    return pool.spec.accelerator_resource
