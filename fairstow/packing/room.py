"""Plain arithmetic on layouts, shared by the search and the schedule: room, fit, undo."""

from collections.abc import Sequence

from fairstow.packing.limits import Limits
from fairstow.packing.problem import Layout, Problem


def free_room(problem: Problem, layout: Layout) -> list[list[int]]:
    """Return what is left by node and resource under a layout."""
    room = [list(free) for free in problem.free]
    for group, at in zip(problem.groups, layout, strict=True):
        for node, count in at.items():
            for resource, request in group.requests.items():
                room[node][resource] -= request * count
    return room


def slack(problem: Problem, layout: Layout) -> list[float]:
    """Return by node the free shares summed over resources, a little above 0 at least."""
    return [
        sum(max(left, 0) / max(whole, 1) for left, whole in zip(room, free, strict=True)) + 0.01
        for room, free in zip(free_room(problem, layout), problem.free, strict=True)
    ]


def fit(problem: Problem, layout: Layout, limits: Limits) -> Layout:
    """Place pending pods that fit as things are: highest priority, largest first, best fit."""
    placed = [dict(at) for at in layout]
    room = free_room(problem, placed)
    order = sorted(
        range(len(problem.groups)),
        key=lambda i: (-problem.groups[i].priority, -sum(problem.groups[i].requests.values())),
    )
    for index in order:
        group = problem.groups[index]
        most = min(group.most, limits.caps.get(index, group.most))
        for _ in range(most - sum(placed[index].values())):
            node = _best_fit(problem, index, placed, room)
            if node is None:
                break
            _shift(problem, placed, room, index, node, 1)
    return placed


def undo(problem: Problem, layout: Layout) -> Layout:
    """Return the layout with every departure taken back whose old node still has room.

    Never worse: a pod that stays needs no move, and no other pod is touched.
    """
    undone = [dict(at) for at in layout]
    room = free_room(problem, undone)
    for index, group in enumerate(problem.groups):
        for home, before in group.running.items():
            while undone[index].get(home, 0) < before and _has_room(problem, room, index, home):
                away = max(
                    (n for n, c in undone[index].items() if c > group.running.get(n, 0)),
                    default=None,
                )
                if away is None:
                    break
                _shift(problem, undone, room, index, away, -1)
                _shift(problem, undone, room, index, home, 1)
    return undone


def _has_room(problem: Problem, room: Sequence[Sequence[int]], index: int, node: int) -> bool:
    return all(room[node][r] >= q for r, q in problem.groups[index].requests.items())


def _shift(
    problem: Problem, layout: Layout, room: list[list[int]], index: int, node: int, pods: int
) -> None:
    layout[index][node] = layout[index].get(node, 0) + pods
    if not layout[index][node]:
        del layout[index][node]
    for resource, request in problem.groups[index].requests.items():
        room[node][resource] -= request * pods


def _best_fit(
    problem: Problem, index: int, placed: Layout, room: Sequence[Sequence[int]]
) -> int | None:
    requests = problem.groups[index].requests
    fitting = [
        n
        for n in problem.groups[index].targets
        if _has_room(problem, room, index, n)
        and placed[index].get(n, 0) < problem.ceiling(index, n)
    ]
    left = {n: sum(room[n][r] / q for r, q in requests.items()) for n in fitting}
    return min(fitting, key=lambda n: (left[n], n), default=None)
