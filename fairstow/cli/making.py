"""Making a plan the only way a plan is made here: decided, written out, and checked.

Called by `plan` and `explain`. Nothing is shown that the independent checker refused.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fairstow.cli.errors import InternalError
from fairstow.cli.layout import count
from fairstow.cli.sources import Source, WhatIf
from fairstow.cluster.errors import InputError
from fairstow.packing.checker import CheckError, Verdict, check
from fairstow.packing.model import Decision, Request
from fairstow.packing.planner import decide
from fairstow.packing.worker import SolverError, Worker

if TYPE_CHECKING:
    from fairstow.api import PackingPlan

_SHOWN = 10
_LOADING = 60.0
"""Seconds the solver may take to load; a window that begins before would pay for it."""


@dataclass(frozen=True)
class Made:
    """A plan and its check. Attributes: wire: the plan as JSON types."""

    decision: Decision
    plan: PackingPlan
    wire: dict[str, Any]
    verdict: Verdict


def make(source: Source, request: Request, worker: Worker) -> Made:
    """Return the plan for a source, checked.

    Raises:
        InternalError: the checker refuses the plan.
    """
    decision = decided(request, worker)
    plan = _written(decision, source.what_if)
    wire = plan.to_object()
    verdict = judge(source, wire)
    if not verdict.accepted:
        more = len(verdict.violations) - _SHOWN + verdict.omitted
        raise InternalError(
            "the plan that was made doesn't pass the check, so it isn't shown",
            [describe(v) for v in verdict.violations[:_SHOWN]]
            + ([f"and {more} more"] if more > 0 else []),
        )
    return Made(decision, plan, wire, verdict)


def decided(request: Request, worker: Worker) -> Decision:
    """Return the planner's answer.

    Raises:
        InternalError: the search failed.
    """
    worker.ready(_LOADING)
    try:
        return decide(request, worker, time.monotonic, os.cpu_count() or 1)
    except SolverError as error:
        raise InternalError("the search for a plan failed", str(error).splitlines()) from error


def _written(decision: Decision, what_if: WhatIf | None) -> PackingPlan:
    from pydantic import ValidationError

    from fairstow.api import problems, what_if_plan
    from fairstow.packing.plan import to_plan

    try:
        plan = to_plan(decision)
        return plan if what_if is None else what_if_plan(plan, what_if.files)
    except ValidationError as error:
        raise InternalError(
            f"the plan that was made ({count(len(decision.placements), 'placement')}, "
            f"{count(len(decision.moves), 'move')}) can't be written as a PackingPlan",
            problems(error)[:_SHOWN],
        ) from error


def judge(source: Source, plan: dict[str, Any]) -> Verdict:
    """Check a plan against a source.

    Raises:
        InputError: the checker can't read the source.
    """
    try:
        return check(
            source.objects,
            plan,
            budgets_known=source.budgets_known,
            kinds_known=source.snapshot.known,
        )
    except CheckError as error:
        raise InputError(
            "input", f"the independent checker can't read it, so no plan can be shown ({error})"
        ) from error


def describe(violation: Any) -> str:
    """Return a violation as one line: where, which rule, what is wrong."""
    place = [f"step {violation.step}"] if violation.step is not None else []
    place += [f"pod {violation.pod}"] if violation.pod else []
    place += [f"node {violation.node}"] if violation.node else []
    return f"{violation.rule}: {', '.join(place)}{': ' if place else ''}{violation.message}"
