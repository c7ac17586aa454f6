"""`approve`, `reject`, `abort`: a person's word on a plan, said once.

Called by `verbs`. A decision is a merge patch that names the resourceVersion of what the person was
shown, so of two people who decide at once one is told what the other did. Who decided is stamped by
the webhook; where it isn't installed, the name that the API server has for the caller stands.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import typer

from fairstow.cli import terminal
from fairstow.cli.errors import Code
from fairstow.cli.layout import count, wrapped
from fairstow.cli.live import Live
from fairstow.cli.objects import PLAN_WORDS, PLANS, ConflictError, Objects, named, objects, read
from fairstow.cli.seen import Plan, standing
from fairstow.cluster.errors import InputError

_TRIES = 8
"""Times that a plan may change, by its own progress, between reading and deciding."""


class Verb(StrEnum):
    """What can be said of a plan."""

    APPROVE = "approve"
    REJECT = "reject"
    ABORT = "abort"


_DONE = {Verb.APPROVE: "Approved", Verb.REJECT: "Rejected", Verb.ABORT: "Aborted"}


@dataclass(frozen=True)
class Answer:
    """What there is to say before anything is sent.

    Attributes:
        allowed: whether to send the decision.
        said: a sentence.
        already: it was decided the same way before: nothing to do, and no error.
    """

    allowed: bool
    said: str
    already: bool = False


def decide(verb: Verb, what: Sequence[str], live: Live, *, yes: bool, dry_run: bool) -> None:
    """Say a person's word on a plan.

    Raises:
        typer.Exit: with REFUSED where the plan can't be decided so, or the person thinks better.
    """
    name = named(what, PLAN_WORDS)
    with objects(live) as api:
        plan = api.plan(name)
        _stop_unless(answer(verb, plan), name)
        terminal.write(wrapped(consequence(verb, plan), terminal.look().width))
        if not (yes or dry_run) and not _sure(verb, name):
            terminal.note("Nothing was changed.")
            raise typer.Exit(Code.REFUSED)
        done = _send(verb, plan, api, dry_run=dry_run)
    terminal.write(_outcome(verb, name, _by(verb, done), dry_run))


def _stop_unless(said: Answer, name: str) -> None:
    if said.allowed:
        return
    terminal.note(f"plan/{name}: {said.said}")
    raise typer.Exit(Code.DONE if said.already else Code.REFUSED)


def _send(verb: Verb, plan: Plan, api: Objects, *, dry_run: bool) -> Plan:
    """Write the decision; where the plan has moved on meanwhile, look again and then write."""
    user = api.user()
    for _ in range(_TRIES):
        try:
            patch = change(verb, plan, user)
            return read(api.patch(PLANS, plan.name, patch, dry_run=dry_run), Plan)
        except ConflictError:
            plan = api.plan(plan.name)
            _stop_unless(answer(verb, plan), plan.name)
    raise InputError(
        f"plan/{plan.name}", f"changed {_TRIES} times while this was decided", "Try again."
    )


def change(verb: Verb, plan: Plan, user: str) -> dict[str, Any]:
    """Return the merge patch that says it, of the plan as it was read alone."""
    meta = {"uid": plan.metadata.uid, "resourceVersion": plan.metadata.resource_version}
    if verb is Verb.ABORT:
        return {"metadata": meta, "spec": {"abort": {"by": user}}}
    return {"metadata": meta, "spec": {"approval": {"decision": _DONE[verb], "by": user}}}


def answer(verb: Verb, plan: Plan) -> Answer:
    """Return whether a plan can be decided so as it stands."""
    stands = standing(plan)
    decided = plan.spec.approval
    if verb is Verb.ABORT:
        if plan.spec.abort:
            return Answer(False, f"{plan.spec.abort.by} has stopped it already.", already=True)
        if stands.finished:
            return Answer(False, f"there is nothing to stop: it is over ({_because(stands)}).")
        return Answer(True, "")
    if decided and decided.decision == _DONE[verb] and stands.state != "Stale":
        said = f"{decided.by} has {decided.decision.lower()} it already."
        return Answer(False, said, already=True)
    if decided and decided.decision != _DONE[verb]:
        more = (
            f" To stop it: {terminal.program()} abort plan/{plan.name}"
            if verb is Verb.REJECT
            else f" A decision stands; make a new plan: {terminal.program()} plan --apply"
        )
        return Answer(False, f"{decided.by} has {decided.decision.lower()} it.{more}")
    if stands.finished or plan.spec.abort:
        again = f"make a new plan: {terminal.program()} plan --apply"
        return Answer(False, f"it is over ({_because(stands)}); {again}")
    return _approvable(plan) if verb is Verb.APPROVE else Answer(True, "")


def _approvable(plan: Plan) -> Answer:
    if plan.name.startswith("what-if-"):
        return Answer(False, "it is about pods that nobody has submitted; submit them first.")
    if plan.spec.budgets == "Unknown":
        said = "it was made without knowing the PodDisruptionBudgets; make one from the live"
        return Answer(False, f"{said} cluster: {terminal.program()} plan --apply")
    if plan.spec.rules != "Product":
        return Answer(False, "it was made under the paper's rules, for comparison only.")
    return Answer(True, "")


def _because(stands: Any) -> str:
    said = f"{stands.state}, {stands.reason}" if stands.reason != stands.state else stands.state
    return f"{said}: {stands.message}" if stands.message else said


def consequence(verb: Verb, plan: Plan) -> str:
    """Return what a decision leads to, in a sentence or two."""
    spec = plan.spec
    total = len(spec.steps)
    if verb is Verb.REJECT:
        return f"plan/{plan.name} will never be carried out. Nothing moves."
    if verb is Verb.ABORT:
        left = total - plan.status.steps_done
        return (
            f"plan/{plan.name} stops after what is under way: {left} of {count(total, 'step')} "
            "aren't finished. Nothing further is evicted, its room is released, and pods already "
            "evicted are left to the scheduler."
        )
    parts = []
    if spec.moves:
        parts.append(f"{count(len(spec.moves), 'running pod')} evicted and started on other nodes")
    if spec.evictions:
        parts.append(f"{count(len(spec.evictions), 'pod')} of lower priority evicted for good")
    if spec.placements:
        parts.append(f"{count(len(spec.placements), 'waiting pod')} given a node")
    what = ", ".join(parts) or "nothing to do"
    return (
        f"plan/{plan.name}: {what}, in {count(total, 'step')} (cost {spec.cost}). Each step is "
        "checked against the cluster as it is then, within the disruption budgets; the plan is "
        "given up where that no longer holds."
    )


def _sure(verb: Verb, name: str) -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    return typer.confirm(f"{verb.capitalize()} plan/{name}?", default=False)


def _by(verb: Verb, plan: Plan) -> str:
    said = plan.spec.abort if verb is Verb.ABORT else plan.spec.approval
    return said.by if said else ""


def _outcome(verb: Verb, name: str, by: str, dry_run: bool) -> str:
    if dry_run:
        return f"plan/{name} would be {_DONE[verb].lower()} by {by} (dry run: nothing was changed)"
    follow = (
        f"\nNext: follow it.\n  {terminal.program()} plans -w" if verb is not Verb.REJECT else ""
    )
    return f"plan/{name} {_DONE[verb].lower()} by {by}{follow}"
