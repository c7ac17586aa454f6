"""The page's parts on free blocks, for a plan whose goal is to defragment."""

from fairstow.packing.model import BlockTally, Decision, Proof
from fairstow.report.markup import bullets, count, esc, table


def freed_blocks(decision: Decision) -> str:
    """Say the outcome in two sentences."""
    if not decision.moves:
        return "The plan moves nothing: no larger block was found that moves could free."
    gains = ", ".join(
        f"{b.after - b.before:+d} of {b.size} {b.resource}"
        for b in decision.blocks
        if b.after != b.before
    )
    moved = count(len(decision.moves), "running pod")
    return f"Moving {moved} changes the free blocks by {gains}. None is evicted for good."


def blocks_section(decision: Decision) -> str:
    """Return free blocks by size, and what is and isn't claimed of them."""
    rows = [
        (
            f"{b.size:,} <small>{esc(b.resource)}</small>",
            f"{b.before:,}",
            f"{b.after:,}"
            + (f" <small>{b.after - b.before:+,}</small>" if b.after != b.before else ""),
            f"{b.bound:,}",
            _proof(b),
        )
        for b in decision.blocks
    ]
    heads = ("Block", "Before", "After", "At most", "Proof")
    caption = (
        "Free blocks by size: accelerators free on one node that takes pods, with CPU and memory "
        "for them. At most: what no plan can exceed, given what the larger sizes got. ✓ proved: "
        "the plan reaches it; △ gap: how far below it is."
    )
    return table(caption, heads, rows, range(1, 4)) + bullets(esc(s) for s in _claims(decision))


def _proof(block: BlockTally) -> str:
    if block.proof is Proof.OPTIMAL:
        return '<span class="good">✓ proved</span>'
    return f'<span class="warn">△ gap {block.gap:,}</span>'


def _claims(decision: Decision) -> list[str]:
    most = decision.request.max_moves
    limit = f"at most {count(most, 'move')}" if most is not None else "moves without a limit"
    least = (
        "It is proved that no plan frees as much with less disturbance."
        if decision.proved_least_cost
        else "It isn't proved that these blocks need this much disturbance: less may do."
    )
    said = [
        "The largest size comes first, then the next; then as little disturbance as possible.",
        (
            f"The proofs are for plans with {limit}, nobody evicted for good, and every pod kept "
            "on the accelerator product it runs on."
        ),
        (
            "A block has the CPU and memory that pods asking for the accelerator have on average, "
            "at most three quarters of the node's share: a pod that asks for more may not fit."
        ),
        "Pending pods stay pending; the scheduler may give them what becomes free.",
    ]
    return [said[0], least, *said[1:]] if decision.moves else said
