"""A plan to defragment as text: the free blocks before and after, and what is proved of them.

Called by `text`, for the sections that differ from those of an ordinary plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fairstow.cli.layout import count, table, wrapped
from fairstow.packing.model import BlockTally, Proof

if TYPE_CHECKING:
    from fairstow.cli.text import Page


def summary(page: Page) -> Iterator[str]:
    """Yield what the plan does."""
    decision, width = page.decision, page.look.width
    if not decision.blocks:
        yield wrapped("No node offers enough accelerators for a block. Nothing to free.", width)
        return
    if decision.moves:
        gains = [f"{_gain(b)}" for b in decision.blocks if b.after != b.before]
        steps = count(page.made.verdict.steps_replayed, "step")
        yield wrapped(
            f"Moving {count(len(decision.moves), 'running pod')} changes the free blocks by "
            f"{', '.join(gains)} (checked: {steps}, every one feasible). Nobody is evicted for "
            "good, and pending pods stay pending.",
            width,
        )
    elif all(b.proof is Proof.OPTIMAL for b in decision.blocks):
        yield wrapped("Nothing to free: no moves under these rules free a larger block.", width)
    else:
        window = page.made.wire["spec"]["window"]
        yield wrapped(
            f"No moves that free a larger block were found within {window}; that there are some "
            "isn't ruled out. A longer --window may find them.",
            width,
        )


def _gain(block: BlockTally) -> str:
    return f"{block.after - block.before:+d} of {block.size} {block.resource}"


def tallies(page: Page) -> Iterator[str]:
    """Yield a line per size of block."""
    rows = [
        (f"{b.size} × {b.resource}", str(b.before), str(b.after), str(b.bound), _proof(b))
        for b in page.decision.blocks
    ]
    if rows:
        yield ""
        headers = ("FREE BLOCK", "NOW", "WITH PLAN", "AT MOST", "PROOF")
        yield from table(headers, rows, page.look.width, "lrrrl")


def _proof(block: BlockTally) -> str:
    if block.proof is Proof.OPTIMAL:
        return "optimal"
    return f"gap: {block.gap} more not ruled out"


def meaning(page: Page) -> Iterator[str]:
    """Yield what the figures mean."""
    decision = page.decision
    if not decision.blocks:
        return
    sentences = [
        (
            "A block: so many accelerators free on one node that takes pods, with the CPU and "
            "memory that pods asking for them have on average (at most three quarters of the "
            "node's share)."
        ),
        "At most: no plan under these rules frees more, given what the larger sizes got.",
    ]
    if decision.moves:
        sentences.append(
            f"It is proved that no plan that frees as much disturbs less (cost {decision.cost})."
            if decision.proved_least_cost
            else "That less disturbance would do isn't ruled out."
        )
    most = decision.request.max_moves
    limit = f"at most {count(most, 'move')}" if most is not None else "moves without a limit"
    sentences.append(
        f"Rules: {limit}, nobody evicted for good, every pod stays on the accelerator product it "
        "runs on."
    )
    if decision.moves:
        sentences.append(
            "Nothing has been changed. A pod that moves is evicted and started anew by its owner; "
            "what it hasn't saved is lost."
        )
    yield ""
    for sentence in sentences:
        yield wrapped(sentence, page.look.width)


def next_step(page: Page) -> Iterator[str]:
    """Yield the one command to run next."""
    flags = f"plan --goal defragment{_limits(page)}"
    if page.decision.moves and page.report is None:
        yield "Next: see the nodes before and after."
        yield page.command(f"{flags} --report plan.html")
    elif page.decision.moves:
        yield "Next: keep the plan, so that it can be checked again later (plan --check)."
        yield page.command(f"{flags} -o json") + " > plan.json"
    else:
        yield "Next: see where the free room is."
        yield page.command("pools")


def _limits(page: Page) -> str:
    request = page.decision.request
    most = f" --max-moves {request.max_moves}" if request.max_moves is not None else ""
    return most + "".join(f" --block {size}" for size in request.blocks)
