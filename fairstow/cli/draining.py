"""`drain`: LLM engines hand their requests over, of one pod or of all on a node.

Called by `verbs`. Creates InstanceDrains, which the pools' gateways carry out, and waits for them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import typer
from pydantic import ValidationError

from fairstow.api import InstanceDrain, ServingPool
from fairstow.api.status import condition, conditions_of
from fairstow.cli import terminal
from fairstow.cli.errors import Code
from fairstow.cli.layout import count, wrapped
from fairstow.cli.live import Live
from fairstow.cli.objects import DRAINS, SERVING_POOLS, Objects, objects
from fairstow.cli.progress import Progress
from fairstow.cluster.errors import InputError, printable
from fairstow.cluster.selectors import selector, selects
from fairstow.serving.drains import begin, drained, requests
from fairstow.serving.instances import of_pool

_POLL_SECONDS = 1.0
_WORDS = {"pod": ("pod", "pods", "po"), "node": ("node", "nodes", "no")}

Pod = Mapping[str, Any]


@dataclass(frozen=True)
class Engine:
    """A pod of a pool."""

    pool: ServingPool
    namespace: str
    name: str
    uid: str

    @property
    def ref(self) -> str:
        """The pod as namespace/name."""
        return f"{self.namespace}/{self.name}"


def drain(
    what: Sequence[str],
    live: Live,
    namespace: str | None,
    deadline: str | None,
    *,
    wait: bool,
    dry_run: bool,
) -> None:
    """Have engines drained, and wait until they are.

    Raises:
        typer.Exit: with REFUSED where a deadline was over before all requests had gone.
    """
    kind, name = _named(what)
    with objects(live) as api:
        engines = _engines(kind, name, namespace, live, api)
        begun = _begin(engines, api, deadline, dry_run=dry_run)
        if dry_run:
            said = f"{_listed(begun)} would be drained (dry run: nothing was changed)"
            terminal.write(wrapped(said, terminal.look().width))
            return
        if not wait:
            said = f"{_listed(begun)}: draining has begun. See kubectl get instancedrains -A."
            terminal.write(wrapped(said, terminal.look().width))
            return
        done = _wait(begun, api)
    _tell(begun, done)


def _named(what: Sequence[str]) -> tuple[str, str]:
    parts = "/".join(what).split("/")
    kinds = {
        "pod": "pod",
        "pods": "pod",
        "po": "pod",
        "node": "node",
        "nodes": "node",
        "no": "node",
    }
    if len(parts) == 2 and parts[0].lower() in kinds and parts[1]:
        return kinds[parts[0].lower()], parts[1]
    said = printable(" ".join(what)) or "arguments"
    raise InputError(said, "names no pod or node", "Write it as pod/NAME or node/NAME.")


def _engines(
    kind: str, name: str, namespace: str | None, live: Live, api: Objects
) -> tuple[Engine, ...]:
    pools = [_read(item, ServingPool) for item in api.listed(SERVING_POOLS)[0]]
    if kind == "node":
        api.core(f"nodes/{name}", f"node/{name}")
        query = {"fieldSelector": f"spec.nodeName={name}"}
        pods = api.core("pods", f"pods of node/{name}", query)["items"]
        found = tuple(engine for pod in pods for engine in _of(pod, pools))
        if not found:
            raise InputError(f"node/{name}", "none of its pods belongs to a ServingPool")
        return found
    from fairstow.kube.client import namespace_of

    where = namespace or namespace_of(live.kubeconfig, live.context)
    pod = api.core(f"namespaces/{where}/pods/{name}", f"pod {where}/{name}")
    found = tuple(_of(pod, pools))
    if not found:
        there = [pool for pool in pools if pool.metadata.namespace == where]
        hint = (
            f"The namespace's pools select: {'; '.join(_selects(pool) for pool in there)}."
            if there
            else "The namespace has no ServingPool."
        )
        raise InputError(f"pod {where}/{name}", "belongs to no ServingPool", hint)
    return found


def _selects(pool: ServingPool) -> str:
    from fairstow.serving.instances import query

    return f"{pool.metadata.name}: {query(pool.spec.engines.selector)}"


def _of(pod: Pod, pools: Iterable[ServingPool]) -> Iterable[Engine]:
    meta = pod["metadata"]
    for pool in pools:
        wanted = selector(pool.spec.engines.selector)
        here = pool.metadata.namespace == meta["namespace"]
        if here and selects(wanted, meta.get("labels") or {}):
            yield Engine(pool, meta["namespace"], meta["name"], meta["uid"])


def _begin(
    engines: Iterable[Engine], api: Objects, deadline: str | None, *, dry_run: bool
) -> dict[str, Engine]:
    """Make the drains that aren't there yet; return the engines by uid."""
    known = [_read(item, InstanceDrain) for item in api.listed(DRAINS)[0]]
    begun: dict[str, Engine] = {}
    for engine in engines:
        begun[engine.uid] = engine
        mine = [d for d in of_pool(known, engine.pool) if d.spec.pod_uid == engine.uid]
        if mine:
            continue
        made = begin(engine.pool, engine.name, engine.uid, "User")
        if deadline is not None:
            made = made.model_copy(
                update={"spec": made.spec.model_copy(update={"deadline": deadline})}
            )
        api.create(DRAINS, made.to_object(), dry_run=dry_run)
    return begun


def _wait(begun: Mapping[str, Engine], api: Objects) -> dict[str, InstanceDrain]:
    """Return the drains once all of them are over; one whose pod has gone is over, too."""
    done: dict[str, InstanceDrain] = {}
    seen: set[str] = set()
    with Progress() as progress:
        while True:
            items = (_read(item, InstanceDrain) for item in api.listed(DRAINS)[0])
            there = {d.spec.pod_uid: d for d in items if d.spec.pod_uid in begun}
            gone = seen - there.keys()
            seen |= there.keys()
            done |= {uid: each for uid, each in there.items() if drained(each)}
            if begun.keys() <= done.keys() | gone:
                return done
            progress.say(_doing(there.values()))
            time.sleep(_POLL_SECONDS)


def _doing(drains: Iterable[InstanceDrain]) -> str:
    waiting = [each for each in drains if not drained(each)]
    left = sum((each.status and each.status.remaining) or 0 for each in waiting)
    return f"{count(len(waiting), 'engine')} to go, {requests(left)} on them"


def _tell(begun: Mapping[str, Engine], done: Mapping[str, InstanceDrain]) -> None:
    cut = False
    for uid, engine in begun.items():
        drain = done.get(uid)
        if drain is None:
            terminal.write(f"pod {engine.ref} has gone")
            continue
        status, said = drain.status, condition(conditions_of(drain), "Drained")
        moved, computed = (status and status.moved) or 0, (status and status.recomputed) or 0
        left = (status and status.remaining) or 0
        cut = cut or left > 0
        line = f"pod {engine.ref} drained: {requests(moved)} moved, {computed} computed again"
        if left:
            line = f"pod {engine.ref}: {said.message if said else ''}"
        terminal.write(line)
    if cut:
        raise typer.Exit(Code.REFUSED)


def _listed(begun: Mapping[str, Engine]) -> str:
    return ", ".join(f"pod {engine.ref}" for engine in begun.values())


def _read(item: msgspec.Raw, model: type[Any]) -> Any:
    try:
        return model.model_validate(msgspec.json.decode(item))
    except ValidationError as error:
        said = "holds an object of another version of Fairstow"
        raise InputError("the cluster", f"{said}: {error.errors()[0]['msg']}") from error
