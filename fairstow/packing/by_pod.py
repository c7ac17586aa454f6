"""A group stated pod by pod, where the whole cluster is small enough for it.

Called by `cpsat`. One integer per group and node (see `problem`) is what finds layouts; but what
CP-SAT proves of a departure d ≥ c − x is weak, since half a pod may leave. With a Boolean y[k,n]
for each pod k of the group and node n, and p[k] for "k has a place",

    Σ_n y[k,n] = p[k]      x[n] = Σ_k y[k,n]      D = Σ_{k runs} 1 − y[k,home(k)]

whoever leaves does so whole, and bounds on the disturbance close that integers leave open. The two
say the same: any x splits into pods, those first that run there, and any y adds up to an x. Under
the paper's rules E = Σ_{k runs} 1 − p[k] is its best value for a given x: a pod that leaves is
rather evicted than moved, as many as there are pods waiting to take its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ortools.sat.python import cp_model

from fairstow.packing.incumbent import Incumbent

Linear = Any


@dataclass
class Pods:
    """What a group's pods add up to.

    Attributes:
        x: pods by node.
        left: departures, to be summed.
        work: what those who depart lose, to be summed.
        lost: evictions under the paper's rules, to be summed.
    """

    x: dict[int, Linear] = field(default_factory=dict)
    left: list[Linear] = field(default_factory=list)
    work: list[Linear] = field(default_factory=list)
    lost: list[Linear] = field(default_factory=list)
    hints: list[tuple[cp_model.IntVar, int]] = field(default_factory=list)


def by_pod(
    model: cp_model.CpModel, incumbent: Incumbent, index: int, nodes: Sequence[int], *, stays: bool
) -> Pods:
    """State the pods of a group on nodes that may take one.

    Args:
        model: gets the variables and that each pod is in one place at most.
        incumbent: what the variables hint at.
        index: the group.
        nodes: those on which the group may have a pod, all that it has one on among them.
        stays: whether running pods keep a place.
    """
    group, found = incumbent.problem.groups[index], Pods()
    # Those who would lose most come first, hence stay first.
    homes = [n for n, count in group.running.items() for _ in range(count)]
    works = [w for n in group.running for w in sorted(group.classes(n).elements(), reverse=True)]
    now = _where(homes, {n: incumbent.count((index, n)) for n in nodes}, group.pending)
    on: dict[int, list[cp_model.IntVar]] = {n: [] for n in nodes}
    for number, at in enumerate(now):
        literals = {n: model.new_bool_var("") for n in nodes}
        found.hints += [(literal, int(n == at)) for n, literal in literals.items()]
        for node, literal in literals.items():
            on[node].append(literal)
        home = homes[number] if number < len(homes) else None
        if home is not None:
            found.left.append(1 - literals[home])
            if works[number]:
                found.work.append(works[number] * (1 - literals[home]))
        if home is not None and stays:
            model.add_exactly_one(literals.values())
            continue
        without = model.new_bool_var("")
        found.hints.append((without, int(at is None)))
        model.add_exactly_one([*literals.values(), without])
        if home is not None:
            found.lost.append(without)
    found.x = {n: cp_model.LinearExpr.sum(list(literals)) for n, literals in on.items()}
    return found


def _where(homes: list[int], counts: dict[int, int], pending: int) -> list[int | None]:
    """Return where each pod stands, running ones first; at home where the counts allow."""
    left = dict(counts)
    found: list[int | None] = []
    for home in homes:
        found.append(home if left.get(home, 0) else None)
        left[home] = max(left.get(home, 0) - 1, 0)
    found += [None] * pending
    places = [n for n, count in left.items() for _ in range(count)]
    for number in (i for i, at in enumerate(found) if at is None):
        if not places:
            break
        found[number] = places.pop()
    return found
