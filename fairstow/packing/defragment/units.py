"""Finer units: a problem in which what a block takes is a whole number.

A problem counts each resource in the greatest common divisor of what its pods request. Blocks take
other amounts, and rounding them would make a bound wrong. So the divisor is taken over both.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import gcd

from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.formulate import amounts
from fairstow.packing.problem import Problem, Roster


def refine(
    snapshot: Snapshot, problem: Problem, roster: Roster, taken: Iterable[Mapping[str, int]]
) -> tuple[Problem, dict[str, int]]:
    """Return the same problem in units that measure what is taken too, and these units by name."""
    coarse = _units(problem, roster)
    fine: dict[str, int] = {}
    for wanted in taken:
        for name, amount in wanted.items():
            fine[name] = gcd(fine.get(name, coarse.get(name, 0)), amount)
    names = (*problem.resources, *sorted(fine.keys() - set(problem.resources)))
    factors = [coarse.get(n, 0) // fine[n] if n in fine else 1 for n in names]
    groups = tuple(
        replace(g, requests={r: q * factors[r] for r, q in g.requests.items()})
        for g in problem.groups
    )
    free = []
    for n, node in enumerate(snapshot.nodes):
        now = snapshot.free(node)
        held = [0] * len(names)
        for g in groups:
            for r, q in g.requests.items():
                held[r] += q * g.running.get(n, 0)
        free.append(
            tuple(
                now.get(name, 0) // fine[name] + held[r] if name in fine else problem.free[n][r]
                for r, name in enumerate(names)
            )
        )
    over = tuple(
        frozenset(r for r, name in enumerate(names)
                  if (snapshot.free(node).get(name, 0) < 0 if name in fine else r in was))
        for node, was in zip(snapshot.nodes, problem.over, strict=True)
    )  # fmt: skip
    return replace(problem, resources=names, free=tuple(free), groups=groups, over=over), fine


def _units(problem: Problem, roster: Roster) -> dict[str, int]:
    """Return how much of each resource is one in a problem."""
    found: dict[str, int] = {}
    for group, running in zip(problem.groups, roster.running, strict=True):
        for pods in running.values():
            wanted = amounts(pods[0])
            for r, request in group.requests.items():
                found[problem.resources[r]] = wanted[problem.resources[r]] // request
            break
    return found
