"""What people are shown of a pool's engines and of the requests that move, from all ledgers.

Called by `pool_status`. What a gateway says is bounded here before it is written anywhere: whoever
may make pods beside a pool could pose as one. Migrations are kept in the status itself, so that
they outlive the gateway that did them and the pods that they name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from fairstow.api.serving_parts import MOST_ENGINES, MOST_MIGRATIONS, EngineStatus, Migration
from fairstow.cluster.errors import printable
from fairstow.serving.drains import Seen
from fairstow.serving.merged import merged
from fairstow.serving.model import InstanceView
from fairstow.serving.model import State as ViewState
from fairstow.serving.policies.virtual_usage import VirtualUsage
from fairstow.serving.wire import Hop, InstanceEntry, Ledger, RequestEntry, State

_WORST_FIRST = (State.LOST, State.STARTING, State.DRAINING, State.SERVING)
_MOST_STEPS = 1_000_000
_MOST = 2**53 - 1


def engines(seen: Seen, ledgers: Iterable[Ledger]) -> tuple[EngineStatus, ...]:
    """Return what is known of each engine pod."""
    there = tuple(ledgers)
    said: dict[str, list[InstanceEntry]] = {}
    for ledger in there:
        for entry in ledger.instances:
            said.setdefault(entry.name, []).append(entry)
    views = {view.name: view for view in merged(there, float(seen.now)).instances}
    draining = {drain.spec.pod_uid for drain in seen.drains}
    found = []
    for pod in seen.pods[:MOST_ENGINES]:
        entries, view = said.get(pod.uid, []), views.get(pod.uid)
        states = {entry.state for entry in entries} or {State.STARTING}
        if pod.terminating or pod.uid in draining:
            states.add(State.DRAINING)
        state = next(each for each in _WORST_FIRST if each in states)
        classes = (entry.compatibility for entry in entries if entry.compatibility)
        problems = (entry.problem for entry in entries if entry.problem)
        found.append(
            EngineStatus(
                pod=pod.name,
                pod_uid=pod.uid,
                state=state.value,
                running=view.batch if view else 0,
                waiting=view.queued if view else 0,
                memory_permille=_full(view),
                freeness_steps=_freeness(view),
                compatibility=_text(next(classes, ""), 253),
                problem=_text(next(problems, ""), 512),
            )
        )
    return tuple(found)


def _full(view: InstanceView | None) -> int | None:
    """In steps of a hundredth: what is written each few seconds needn't be finer."""
    if view is None or not view.capacity:
        return None
    return min(1000, 10 * round(100 * view.used / view.capacity))


def _freeness(view: InstanceView | None) -> int | None:
    if view is None or not view.capacity or view.state is not ViewState.READY:
        return None
    return round(max(-_MOST_STEPS, min(_MOST_STEPS, VirtualUsage().freeness(view))))


def migrations(seen: Seen, ledgers: Iterable[Ledger]) -> tuple[Migration, ...]:
    """Return the last moves that ended, oldest first, then those under way."""
    before = seen.pool.status
    there = tuple(ledgers)
    names = {each.pod_uid: each.pod for each in before.engines} if before else {}
    names |= {pod.uid: pod.name for pod in seen.pods}
    known = {
        (each.time, each.request): each
        for each in (before.migrations if before else ())
        if each.outcome != "UnderWay"
    }
    for ledger in there:
        for hop in ledger.hops[-MOST_MIGRATIONS:]:
            made = _ended(hop, names, seen.now)
            known.setdefault((made.time, made.request), made)
    ended = sorted(known.values(), key=lambda each: (each.time, each.request))
    moving = [each for ledger in there for each in ledger.requests if each.moving]
    under_way = [_under_way(each, names, seen.now) for each in moving[:MOST_MIGRATIONS]]
    return (*ended[-MOST_MIGRATIONS:], *under_way)


def _ended(hop: Hop, names: Mapping[str, str], now: int) -> Migration:
    return Migration(
        time=_time(min(max(0.0, hop.at), now + 60.0)),
        request=_text(hop.request, 253),
        from_=_named(hop.source, names),
        to=_named(hop.destination, names),
        outcome=hop.outcome.value,
        reason=_text(hop.reason, 253),
        tokens=min(max(0, hop.tokens), _MOST),
        pause_milliseconds=None if hop.pause is None else _milliseconds(hop.pause),
    )


def _under_way(entry: RequestEntry, names: Mapping[str, str], now: int) -> Migration:
    return Migration(
        time=_time(now),
        request=_text(entry.id, 253),
        from_=_named(entry.instance, names),
        to=_named(entry.moving, names),
        outcome="UnderWay",
        tokens=min(max(0, entry.prompt + entry.generated), _MOST),
    )


def _named(instance: str, names: Mapping[str, str]) -> str:
    return names.get(instance) or _text(instance, 8)


def _text(said: str, most: int) -> str:
    return printable(said, most - 1)  # and a sign that there was more


def _milliseconds(seconds: float) -> int:
    return round(1000 * min(max(0.0, seconds), 1e9))


def _time(at: float) -> str:
    """Write a moment with its milliseconds."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
