"""`queue`, `why`, `whatif weight`: Spark applications in their queues, and why they stand there.

Called by `verbs`. Everything is read from SparkQueues and SparkAdmissions, so whoever may see these
sees this. What if weights were others is computed here by the very functions that the operator
decides by, on the expected work: nothing is asked of the cluster. The tables are pure functions.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from fairstow.api import SparkQueueSpec
from fairstow.cli import terminal
from fairstow.cli.errors import ClusterError
from fairstow.cli.layout import count, table, wrapped
from fairstow.cli.live import Live
from fairstow.cli.objects import Objects, objects, read
from fairstow.cli.options import Output, QueueOutput, refuse
from fairstow.cli.seen import View
from fairstow.cli.serialise import as_json
from fairstow.cluster.errors import InputError
from fairstow.cluster.times import seconds
from fairstow.spark.admission import decide
from fairstow.spark.fair_queueing import FairQueue, Job
from fairstow.spark.line import Busy, Place, Waiting

QUEUES, ADMISSIONS = "sparkqueues", "sparkadmissions"
JOB_WORDS = ("job", "jobs", "app", "application", "sparkadmission", "sparkadmissions")
_EVERY = 2.0
"""Seconds between two looks of -w."""


class Meta(View, frozen=True):
    """metadata."""

    name: str
    namespace: str = ""


class Spec(View, frozen=True):
    """spec of a SparkAdmission."""

    queue: str = ""
    user: str = ""
    kind: str = ""
    name: str = ""
    template: str = ""
    lasting: bool = False


class Status(View, frozen=True):
    """status of a SparkAdmission."""

    phase: str = ""
    position: int | None = None
    first_cores: int | None = None
    estimate_core_seconds: float = 0.0
    low_core_seconds: float = 0.0
    high_core_seconds: float = 0.0
    virtual_start: float | None = None
    virtual_finish: float | None = None
    starts_after: str = ""
    starts_before: str = ""
    admitted_at: str = ""
    served_core_seconds: float = 0.0
    reason: str = ""
    message: str = ""


class Admission(View, frozen=True):
    """A SparkAdmission."""

    metadata: Meta
    spec: Spec = Spec()
    status: Status = Status()

    @property
    def waits(self) -> bool:
        """Whether it has a place among those that wait."""
        return self.status.phase == "Waiting"


class User(View, frozen=True):
    """A user in status of a SparkQueue."""

    name: str
    weight: int


class QueueStatus(View, frozen=True):
    """status of a SparkQueue."""

    users: tuple[User, ...] = ()


class Queue(View, frozen=True):
    """A SparkQueue."""

    metadata: Meta
    spec: dict[str, Any]
    status: QueueStatus = QueueStatus()


def show(
    live: Live,
    queue: str | None,
    namespace: str | None,
    output: QueueOutput,
    *,
    watch: bool,
    everything: bool,
) -> None:
    """Show who waits and who has cores."""
    refuse("-w", "shows a table", when=watch and output is not QueueOutput.TABLE)
    with objects(live) as api:
        while True:
            found = [
                each
                for each in admissions(api, namespace)
                if queue in (None, each.spec.queue) and (everything or each.status.phase != "Ended")
            ]
            if watch:
                terminal.write(time.strftime("%H:%M:%S"))
            _print(found, output, queue)
            if not watch:
                return
            time.sleep(_EVERY)


def _print(found: list[Admission], output: QueueOutput, queue: str | None) -> None:
    match output:
        case QueueOutput.JSON:
            terminal.write(as_json([_flat(each) for each in found]))
        case QueueOutput.SVG:
            terminal.write(drawn(found, queue or "Spark queues"))
        case QueueOutput.TABLE if not found:
            terminal.note("No Spark application waits or runs in a queue here.")
        case QueueOutput.TABLE:
            lines = queue_table(found, time.time(), terminal.look().width)
            terminal.write("\n".join(lines))


def why(live: Live, what: Sequence[str], namespace: str | None, output: Output) -> None:
    """Say where one application stands and why."""
    with objects(live) as api:
        one = job(api, what, namespace)
        try:
            seen = admissions(api, None)
        except ClusterError:  # a tenant sees one namespace; the message counts who else is ahead
            seen = admissions(api, one.metadata.namespace)
        others = [each for each in seen if each.spec.queue == one.spec.queue]
    if output is Output.JSON:
        said = _flat(one) | {"ahead": [_flat(each) for each in _ahead(one, others)]}
        terminal.write(as_json(said))
        return
    width = terminal.look().width
    lines = [wrapped(line, width) for line in why_lines(one, others, time.time())]
    terminal.write("\n".join(lines))


def whatif(live: Live, weights: Sequence[str], queue: str | None, output: Output) -> None:
    """Show the order if users had other weights."""
    changed = dict(map(_weight, weights))
    with objects(live) as api:
        name = queue or _only_queue(api)
        there = read(api.get(QUEUES, name), Queue)
        spec = SparkQueueSpec.model_validate(there.spec)
        found = [each for each in admissions(api, None) if each.spec.queue == name]
    # What groups give is known by the operator alone, which says it.
    weights_now = {user.name: user.weight for user in there.status.users}
    rows = supposed(spec, found, weights_now | changed)
    if output is Output.JSON:
        terminal.write(as_json(rows))
        return
    if not rows:
        terminal.note(f"Nobody waits in SparkQueue {name}, so weights change nothing now.")
        return
    cells = [
        (
            each["user"],
            each["application"],
            str(each["position"]),
            str(each["then"]),
            _moved(each["position"], each["then"]),
        )
        for each in rows
    ]
    heads = ("USER", "APPLICATION", "NOW", "THEN", "")
    terminal.write("\n".join(table(heads, cells, terminal.look().width, "llrrl")))
    said = ", ".join(f"{user} {weight}" for user, weight in changed.items())
    terminal.write(
        wrapped(
            f"If all who wait came at once, with weights {said}. Nothing was changed; to change "
            f"it: kubectl edit sparkqueue/{name}",
            terminal.look().width,
        )
    )


def admissions(api: Objects, namespace: str | None) -> list[Admission]:
    """Return the SparkAdmissions by queue, those that run first, then by position."""
    found = [read(item, Admission) for item in api.listed(ADMISSIONS, namespace)[0]]
    return sorted(found, key=_order)


def job(api: Objects, what: Sequence[str], namespace: str | None) -> Admission:
    """Return the one that `job/NAME` or `job/NAMESPACE/NAME` names.

    Raises:
        InputError: there is none, or there are several.
    """
    parts = "/".join(what).split("/")
    if len(parts) > 1 and parts[0].lower() in JOB_WORDS:
        parts = parts[1:]
    if len(parts) == 2:
        namespace, parts = parts[0], parts[1:]
    name = parts[0]
    found = [
        each
        for each in admissions(api, namespace)
        if name in (each.spec.name, each.metadata.name) and len(parts) == 1
    ]
    alive = [each for each in found if each.status.phase != "Ended"] or found
    where = f" in namespace {namespace}" if namespace else ""
    if not alive:
        raise InputError(
            f"job/{name}",
            f"there is no queued Spark application of that name{where}",
            "List them with: kubectl fairstow queue -A",
        )
    if len({each.metadata.namespace for each in alive}) > 1:
        spaces = ", ".join(sorted({each.metadata.namespace for each in alive}))
        raise InputError(f"job/{name}", f"is in several namespaces: {spaces}", "Choose one: -n.")
    return alive[-1]


def _order(each: Admission) -> tuple[str, bool, float, str]:
    place = each.status.position
    return (
        each.spec.queue,
        each.waits,
        float("inf") if place is None else place,
        each.metadata.name,
    )


def queue_table(found: Iterable[Admission], now: float, width: int | None) -> list[str]:
    """Return applications as lines."""
    heads = ("QUEUE", "POS", "NAMESPACE", "APPLICATION", "USER", "PHASE", "CORES", "STARTS", "WHY")
    rows = [
        (
            each.spec.queue,
            "-" if each.status.position is None else str(each.status.position),
            each.metadata.namespace,
            each.spec.name,
            each.spec.user,
            each.status.phase or "-",
            "-" if each.status.first_cores is None else str(each.status.first_cores),
            _starts(each.status, now),
            each.status.reason or "-",
        )
        for each in found
    ]
    return table(heads, rows, width, "lrllllrll")


def why_lines(one: Admission, others: Iterable[Admission], now: float) -> list[str]:
    """Return what there is to say of one application."""
    spec, status = one.spec, one.status
    lines = [f"{one.metadata.namespace}/{spec.name} of {spec.user}, in SparkQueue {spec.queue}"]
    lines.append(f"{status.phase or 'Not seen yet'}: {status.message or 'no decision yet'}")
    if status.estimate_core_seconds:
        lines.append(
            f"Expected work: {status.estimate_core_seconds:,.0f} core-seconds "
            f"({status.low_core_seconds:,.0f} to {status.high_core_seconds:,.0f}), as runs of "
            f"{spec.template} were."
        )
    if status.first_cores:
        lines.append(f"Its driver and first executors, {status.first_cores} cores, start together.")
    if one.waits and (starts := _starts(status, now)) != "-":
        lines.append(f"Expected to start: {starts}.")
    ahead = _ahead(one, others)
    if one.waits and ahead:
        lines.append(f"Ahead of it, {count(len(ahead), 'application')}:")
        lines += [
            f"  {each.status.position}. {each.metadata.namespace}/{each.spec.name} of "
            f"{each.spec.user}, due at {each.status.virtual_finish or 0:,.0f}"
            for each in ahead[:10]
        ]
    if status.virtual_finish is not None:
        lines.append(
            f"Its own due is {status.virtual_finish:,.0f}, in core-seconds of virtual time for "
            "each unit of weight."
        )
    return lines


def supposed(
    spec: SparkQueueSpec, found: Sequence[Admission], weights: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return positions now and under other weights, of all that wait."""
    waiting = [each for each in found if each.waits and each.status.position is not None]
    busy = [
        Busy(
            id=each.metadata.name,
            user=each.spec.user,
            milli=(each.status.first_cores or 1) * 1000,
            low=max(each.status.low_core_seconds - each.status.served_core_seconds, 0.0),
            high=max(each.status.high_core_seconds - each.status.served_core_seconds, 0.0),
        )
        for each in found
        if each.status.phase in ("Admitted", "Running") and not each.spec.lasting
    ]
    places = _places(spec, waiting, busy, weights)
    order = {place.id: number for number, place in enumerate(places, start=1)}
    now = sorted(waiting, key=lambda each: each.status.position or 0)
    return [
        {
            "user": each.spec.user,
            "namespace": each.metadata.namespace,
            "application": each.spec.name,
            "position": each.status.position,
            "then": order[_key(each)],
        }
        for each in now
    ]


def _places(
    spec: SparkQueueSpec,
    waiting: Sequence[Admission],
    busy: Sequence[Busy],
    weights: Mapping[str, int],
) -> tuple[Place, ...]:
    known = {share.name: share.weight for share in spec.users} | dict(weights)
    fair = FairQueue(spec.cores)
    by_key = {_key(each): each for each in waiting}
    came = {key: (e.status.virtual_start or 0.0, e.status.position) for key, e in by_key.items()}
    for each in sorted(waiting, key=lambda one: came[_key(one)]):
        work = each.status.estimate_core_seconds
        weight = known.get(each.spec.user, spec.default_weight)
        fair.arrive(0.0, Job(_key(each), each.spec.user, work), weight)
    asked = [
        Waiting(
            id=key,
            user=by_key[key].spec.user,
            first=(by_key[key].status.first_cores or 1) * 1000,
            low=by_key[key].status.low_core_seconds,
            high=by_key[key].status.high_core_seconds,
        )
        for key, _ in fair.order()
    ]
    held = spec.model_copy(update={"hold": True})
    return decide(held, asked, busy, lambda _: False).line.places


def drawn(found: Iterable[Admission], title: str) -> str:
    """Return lanes in virtual time as an SVG: a bar until each application's due."""
    from fairstow.report.spark import drawing
    from fairstow.spark.simulator.lanes import Lane

    timed = [
        (each, came, due)
        for each in found
        if (came := each.status.virtual_start) is not None
        and (due := each.status.virtual_finish) is not None
    ]
    zero = min((came for _, came, _ in timed), default=0.0)
    lanes = [
        Lane(
            job=f"{each.metadata.namespace}/{each.spec.name}",
            user=each.spec.user,
            came=came - zero,
            began=(due if each.waits else came) - zero,
            ended=due - zero,
            due=due - zero,
        )
        for each, came, due in timed
    ]
    return drawing(lanes, title)


def _ahead(one: Admission, others: Iterable[Admission]) -> list[Admission]:
    place = one.status.position
    if place is None:
        return []
    return [e for e in others if e.status.position is not None and e.status.position < place]


def _starts(status: Status, now: float) -> str:
    low, high = seconds(status.starts_after), seconds(status.starts_before)
    if status.phase != "Waiting" or low is None:
        return "-"
    soonest = max(low - now, 0) / 60
    if high is None:
        return f"in {soonest:.0f} min or more"
    latest = max(high - now, 0) / 60
    return "soon" if latest < 1 else f"in {soonest:.0f}–{latest:.0f} min"


def _moved(now: int, then: int) -> str:
    if now == then:
        return ""
    return f"{abs(now - then)} earlier" if then < now else f"{then - now} later"


def _weight(text: str) -> tuple[str, int]:
    user, _, weight = text.removeprefix("user=").rpartition(":")
    if not user or not weight.isdigit() or not 1 <= int(weight) <= 10_000:
        raise InputError(text, "isn't a user's weight", "Write it like user=ana@example.com:3.")
    return user, int(weight)


def _only_queue(api: Objects) -> str:
    names = [read(item, Queue).metadata.name for item in api.listed(QUEUES)[0]]
    if len(names) != 1:
        known = ", ".join(sorted(names)) or "none"
        raise InputError("--queue", f"has to be given, there are: {known}")
    return names[0]


def _key(each: Admission) -> str:
    return f"{each.metadata.namespace}/{each.metadata.name}"


def _flat(each: Admission) -> dict[str, Any]:
    spec: dict[str, Any] = msgspec.to_builtins(each.spec)
    status: dict[str, Any] = msgspec.to_builtins(each.status)
    return {"namespace": each.metadata.namespace, "admission": each.metadata.name} | spec | status
