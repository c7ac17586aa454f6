"""`plan --apply`: the plan that was shown as an object of the cluster, for a person to decide on.

Called by `planning`. A plan is named after its content, the moment of its snapshot included, so
creating one twice is creating it once; and one that does the same, steps and all, and isn't over is
that plan already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fairstow.cli import terminal
from fairstow.cli.live import Live
from fairstow.cli.making import Made
from fairstow.cli.objects import PLANS, Objects, objects, read
from fairstow.cli.seen import Plan, standing
from fairstow.cluster.errors import InputError


@dataclass(frozen=True)
class Apply:
    """Whether to create the plan. Attributes: dry_run: have the API server check it only."""

    asked: bool = False
    dry_run: bool = False

    def possible(self, files: Sequence[str], manifests: Sequence[str]) -> None:
        """Refuse what can't be applied.

        Raises:
            InputError: the plan won't be one of the running cluster.
        """
        if self.dry_run and not self.asked:
            raise InputError("--dry-run", "has no meaning without --apply: nothing is changed")
        if self.asked and files:
            raise InputError(
                "--apply",
                "contradicts -f: a dump may be old, and of another cluster",
                "Leave out -f, so that the plan is of the cluster it is created in.",
            )
        if self.asked and manifests:
            raise InputError("--apply", "contradicts --with: nobody has submitted those pods")


ONLY_SHOW = Apply()


def create(made: Made, live: Live, *, dry_run: bool) -> None:
    """Create the plan, unless there is nothing in it or it is there already.

    Notes go to standard error, so that `-o json` stays JSON.

    Raises:
        InputError, ClusterError: as `Objects.create`.
    """
    name = made.plan.metadata.name
    if not made.plan.spec.steps:
        terminal.note("Nothing was created: the plan changes nothing.")
        return
    with objects(live) as api:
        twin = _twin(api, made.wire)
        if twin is not None:
            name, new = twin, False
        else:
            new = api.create(PLANS, made.wire, dry_run=dry_run)
            if not new:
                refuse_another(name, made.wire, read(api.get(PLANS, name), Plan))
    if dry_run and new:
        terminal.note(f"plan/{name} would be created (dry run: nothing was changed)")
        return
    terminal.note(f"plan/{name} {'created' if new else 'was there already, unchanged'}")
    if not made.decision.budgets_known:
        terminal.note("It can't be approved: the disruption budgets weren't readable.")
        return
    program = terminal.program()
    terminal.note(
        "It waits for approval, and nothing moves until then:\n"
        f"  {program} approve plan/{name}\n"
        f"  {program} describe plan/{name}"
    )


def refuse_another(name: str, wire: Mapping[str, Any], there: Plan) -> None:
    """Refuse to take another plan of the new one's name for the new one.

    Raises:
        InputError: it does something else.
    """
    if _deeds(there) != _deeds(read(msgspec.json.encode(wire), Plan)):
        raise InputError(
            f"plan/{name}",
            "is there already and does something else: nothing was created",
            "Names are digests, and these two are alike by chance: ask again in a minute.",
        )


def _twin(api: Objects, wire: Mapping[str, Any]) -> str | None:
    """Return the name of a plan that isn't over and does the same."""
    new = read(msgspec.json.encode(wire), Plan)
    for plan in api.plans():
        if not standing(plan).finished and _deeds(plan) == _deeds(new):
            return plan.name
    return None


def _deeds(plan: Plan) -> tuple[object, ...]:
    spec = plan.spec
    return spec.placements, spec.moves, spec.evictions, spec.steps
