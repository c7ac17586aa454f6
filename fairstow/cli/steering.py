"""`run`, `suspend`, `resume`: a person's word to a policy. Called by `verbs`."""

from __future__ import annotations

from collections.abc import Sequence

from fairstow.api import RUN_REQUESTED_AT
from fairstow.cli import terminal
from fairstow.cli.layout import wrapped
from fairstow.cli.live import Live
from fairstow.cli.objects import POLICIES, POLICY_WORDS, Objects, named, objects, read
from fairstow.cli.seen import Policy
from fairstow.cluster.times import written


def run(what: Sequence[str], live: Live, now: int, *, dry_run: bool) -> None:
    """Ask that a policy look for a better placement now."""
    name = named(what, POLICY_WORDS)
    with objects(live) as api:
        policy = _policy(api, name)
        change = {"metadata": {"annotations": {RUN_REQUESTED_AT: written(now)}}}
        api.patch(POLICIES, name, change, dry_run=dry_run)
    if dry_run:
        terminal.write(f"policy/{name} would be run (dry run: nothing was changed)")
        return
    said = f"policy/{name} is asked to look for a better placement of pool {_pool(policy)}."
    if policy.spec.suspend:
        said += f" It is suspended: {terminal.program()} resume policy/{name}"
    elif policy.spec.mode == "Observe":
        said += " It only observes: what it found is in its status, no plan is made."
    _say(said, "see what came of it", "policies")


def suspend(what: Sequence[str], live: Live, *, on: bool, dry_run: bool) -> None:
    """Stop a policy from acting, or let it act again."""
    name = named(what, POLICY_WORDS)
    with objects(live) as api:
        policy = _policy(api, name)
        api.patch(POLICIES, name, {"spec": {"suspend": on}}, dry_run=dry_run)
    word = "suspended" if on else "resumed"
    if policy.spec.suspend == on:
        terminal.write(f"policy/{name} is {'suspended' if on else 'not suspended'} already")
    elif dry_run:
        terminal.write(f"policy/{name} would be {word} (dry run: nothing was changed)")
    elif on:
        _say(
            f"policy/{name} suspended: no new plan is made, and one under way stops after a step.",
            "see which one that is",
            "plans",
        )
    else:
        _say(f"policy/{name} resumed.", "see what it does", "policies")


def _policy(api: Objects, name: str) -> Policy:
    return read(api.get(POLICIES, name), Policy)


def _pool(policy: Policy) -> str:
    return policy.spec.pool_ref.name


def _say(said: str, why: str, command: str) -> None:
    terminal.write(
        "\n".join([wrapped(said, terminal.look().width), f"Next: {why}.",
                   f"  {terminal.program()} {command}"])
    )  # fmt: skip
