"""`plans`, `history`, `policies`: Fairstow's objects as tables, or as they are; once or watched.

Called by `verbs`. The tables are pure functions of objects and a clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from fairstow.cli import terminal
from fairstow.cli.layout import table
from fairstow.cli.live import Live
from fairstow.cli.objects import PLANS, POLICIES, Objects, in_order, objects, read
from fairstow.cli.options import ListOutput
from fairstow.cli.seen import Plan, Policy, View, age, condition, span, standing
from fairstow.cli.serialise import as_json, as_yaml
from fairstow.cluster.errors import InputError
from fairstow.cluster.times import seconds

Rows = Callable[[Sequence[Any], float, bool], list[list[str]]]

_QUIET = 50
"""Seconds after which a watch is begun anew, below the connection's longest silence."""


def plans(
    live: Live, output: ListOutput, namespace: str | None, *, watch: bool, finished: bool
) -> None:
    """Show plans, or with `finished` only those that are over and what came of them."""

    def shown(plan: Plan) -> bool:
        touched = namespace is None or namespace in plan.namespaces
        return touched and (standing(plan).finished or not finished)

    with objects(live) as api:
        if watch:
            _watch(api, output, shown)
            return
        raw = api.listed(PLANS)[0]
        found = [(item, read(item, Plan)) for item in raw]
        kept = [(item, plan) for item, plan in found if shown(plan)]
    if output in (ListOutput.JSON, ListOutput.YAML):
        _write_objects([item for item, _ in kept], output)
        return
    rows = in_order(plan for _, plan in kept)
    if not rows:
        terminal.note(_no_plans(namespace, finished))
        return
    make = history_table if finished else plan_table
    _write(make(rows, time.time(), terminal.look().width, wide=output is ListOutput.WIDE))


def policies(live: Live, output: ListOutput) -> None:
    """Show policies."""
    with objects(live) as api:
        if output in (ListOutput.JSON, ListOutput.YAML):
            _write_objects(api.listed(POLICIES)[0], output)
            return
        found = api.policies()
    if not found:
        terminal.note("No policies: nothing is packed by itself. See kubectl explain ppol.spec.")
        return
    wide = output is ListOutput.WIDE
    _write(policy_table(found, time.time(), terminal.look().width, wide=wide))


_HEADERS = ("REASON", "STEPS", "PLACES", "MOVES", "EVICTS", "POLICY", "DECIDED")


def _cells(plan: Plan) -> list[str]:
    spec, stands = plan.spec, standing(plan)
    sizes = (len(spec.placements), len(spec.moves), len(spec.evictions))
    return [
        plan.name,
        stands.state,
        stands.reason or "-",
        f"{plan.status.steps_done}/{len(spec.steps)}",
        *map(str, sizes),
        spec.policy or "-",
        _decided(plan),
    ]


def plan_table(
    plans: Iterable[Plan], now: float, width: int | None, *, wide: bool = False
) -> list[str]:
    """Return plans as lines: what they do, how far they are, who decided."""
    headers = ["NAME", "STATE", *_HEADERS, "AGE"]
    rows = []
    for plan in plans:
        row = [*_cells(plan), age(plan.metadata.creation_timestamp, now)]
        more = [str(plan.spec.cost), standing(plan).message or "-"]
        rows.append(row + more * wide)
    return table(headers + ["COST", "SAYS"] * wide, rows, width, "lllrrrr")


def history_table(
    plans: Iterable[Plan], now: float, width: int | None, *, wide: bool = False
) -> list[str]:
    """Return finished plans as lines, the newest last: what came of them, when, how long."""
    headers = ["NAME", "OUTCOME", *_HEADERS, "TOOK", "ENDED"]
    rows = []
    for plan in sorted(plans, key=lambda p: (_ended(p), p.name)):
        ended = f"{age(_ended(plan), now)} ago" if _ended(plan) else "-"
        row = [*_cells(plan), _took(plan), ended]
        rows.append(row + [standing(plan).message or "-"] * wide)
    return table(headers + ["SAYS"] * wide, rows, width, "lllrrrr")


def policy_table(
    policies: Iterable[Policy], now: float, width: int | None, *, wide: bool = False
) -> list[str]:
    """Return policies as lines: what they may do, whether they can, what they last did."""
    headers = ["NAME", "POOL", "MODE", "SUSPENDED", "READY", "LAST RUN", "OUTCOME", "LAST PLAN",
               "AGE"]  # fmt: skip
    rows = []
    for policy in policies:
        spec, status = policy.spec, policy.status
        ready, run = condition(status.conditions, "Ready"), status.last_run
        open_ = condition(status.conditions, "ReservationNotEnforced")
        row = [
            policy.metadata.name,
            spec.pool_ref.name,
            spec.mode + ("*" if open_ and open_.status == "True" and spec.mode == "Auto" else ""),
            "yes" if spec.suspend else "no",
            "-" if ready is None else "yes" if ready.status == "True" else ready.reason,
            f"{age(run.time, now)} ago" if run else "-",
            run.reason if run else "-",
            status.last_plan or "-",
            age(policy.metadata.creation_timestamp, now),
        ]
        wrong = [c for c in (ready, open_) if c and (c.status == "True") == (c is open_)]
        says = " ".join([c.message for c in wrong if c.message] + [run.message if run else ""])
        rows.append([*row, says.strip() or "-"] if wide else row)
    lines = table(headers + ["SAYS"] * wide, rows, width)
    if any("Auto*" in row for row in rows):
        lines.append("* stops at Recommend: pods may land on the pool without Fairstow's filter.")
    return lines


def _decided(plan: Plan) -> str:
    if plan.spec.abort:
        return f"stopped by {plan.spec.abort.by}"
    approval = plan.spec.approval
    return f"{approval.decision.lower()} by {approval.by}" if approval else "-"


def _ended(plan: Plan) -> str:
    times = [c.last_transition_time for c in plan.status.conditions]
    return plan.status.finished_at or max(times, default="")


def _took(plan: Plan) -> str:
    begun, over = seconds(plan.status.started_at), seconds(_ended(plan))
    return "-" if begun is None or over is None else span(max(0, over - begun))


def _no_plans(namespace: str | None, finished: bool) -> str:
    what = "No plan that is over" if finished else "No plans"
    there = f" that touches namespace {namespace}" if namespace else ""
    return f"{what}{there}. To make one: {terminal.program()} plan --apply"


def _write(lines: Sequence[str]) -> None:
    terminal.write("\n".join(lines))


def _write_objects(items: Sequence[bytes | msgspec.Raw], output: ListOutput) -> None:
    content = [msgspec.json.decode(item) for item in items]
    listed = {"apiVersion": "v1", "kind": "List", "items": content}
    terminal.write(as_json(listed) if output is ListOutput.JSON else as_yaml(listed))


class _Event(View, frozen=True):
    type: str
    object: msgspec.Raw


def _watch(api: Objects, output: ListOutput, shown: Callable[[Plan], bool]) -> None:
    """Print the table, then a line for each change, until Ctrl-C."""
    if output in (ListOutput.JSON, ListOutput.YAML):
        raise InputError("-w", f"shows a table, so -o {output.value} has no meaning")
    seen: dict[str, str] = {}
    headed = False

    def show(plans: Iterable[Plan]) -> None:
        nonlocal headed
        for plan in plans:
            header, row = _fixed(plan, wide=output is ListOutput.WIDE)
            if shown(plan) and seen.get(plan.metadata.uid) != row:
                seen[plan.metadata.uid] = row
                terminal.write(row if headed else f"{header}\n{row}")
                headed = True

    while True:
        items, version = api.listed(PLANS)
        show(in_order(read(item, Plan) for item in items))
        for line in api.watch(PLANS, version, _QUIET):
            event = read(line, _Event)
            if event.type == "ERROR":  # the version is too old: list anew
                break
            if event.type != "DELETED":
                show([read(event.object, Plan)])


def _fixed(plan: Plan, *, wide: bool) -> tuple[str, str]:
    """Return header and row in columns of fixed widths, since what follows isn't known yet."""
    stands = standing(plan)
    cells = [
        time.strftime("%H:%M:%S"),
        plan.name,
        stands.state,
        stands.reason or "-",
        f"{plan.status.steps_done}/{len(plan.spec.steps)}",
        _decided(plan),
    ]
    heads = ["TIME", "NAME", "STATE", "REASON", "STEPS", "DECIDED"]
    if wide:
        cells, heads = [*cells, stands.message or "-"], [*heads, "SAYS"]
    widths = (8, 16, 9, 24, 5, 24, 0)
    return _laid(heads, widths), _laid(cells, widths)


def _laid(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=False)).rstrip()
