"""The baseline: empty the least-used node first.

What a descheduler's HighNodeUtilization does, with the pods' new places looked for beforehand and
small nodes left alone: nodes that can have 8 GPUs free, some of them in use, are taken in the order
of how many are. Every pod with GPUs of such a node goes to the fullest node of its product that
takes it (best fit, not one that was emptied). A node of which not all can go, or not within the
limit, stays as it is.
"""

from fairstow.packing.incumbent import Incumbent
from fairstow.packing.problem import Problem, Site

WHOLE = 8


def empty_least_used(problem: Problem, resource: str, limit: int) -> Incumbent:
    """Return the layout after at most `limit` moves."""
    layout = Incumbent(problem, {})
    r = problem.resources.index(resource)
    total = {
        n: sum(g.requests.get(r, 0) * g.running.get(n, 0) for g in problem.groups)
        for n in range(len(problem.nodes))
    }
    emptied: set[int] = set()
    large = [n for n, free in enumerate(problem.free) if free[r] >= WHOLE and total[n]]
    for node in sorted(large, key=lambda n: (total[n], n)):
        if _empty(layout, node, r, emptied, limit):
            emptied.add(node)
    return layout


def _empty(layout: Incumbent, node: int, r: int, emptied: set[int], limit: int) -> bool:
    """Move all pods with devices off a node; False, and nothing done, if they can't all go."""
    groups = layout.problem.groups
    done: dict[Site, int] = {}
    leaving = [
        g
        for g, group in enumerate(groups)
        if r in group.requests
        for _ in range(layout.count((g, node)))
    ]
    for g in sorted(leaving, key=lambda g: -groups[g].requests[r]):
        targets = [
            n
            for n in groups[g].targets
            if n != node
            and n not in emptied
            and layout.fits((g, n))
            and layout.count((g, n)) < layout.problem.ceiling(g, n)
        ]
        target = min(targets, key=lambda n: (layout.room[n][r], n), default=None)
        if target is None or sum(layout.left) >= limit:
            layout.apply(done)
            return False
        for site, step in (((g, node), -1), ((g, target), 1)):
            done.setdefault(site, layout.count(site))
            layout.apply({site: layout.count(site) + step})
    return True
