"""Gangs in the placement problem: of a gang's waiting pods a plan places none, or enough.

Called by `formulate`. A gang that needs k more of its pods to run is the set G of groups that its
waiting pods form; its members that run stay where they are (`movable`), so of these groups all
that is placed is placed by the plan, and

    Σ_{g∈G} Σ_n x[g,n]  is 0 or at least k.

CP-SAT has a Boolean per gang. The linear relaxation has 0 ≤ y ≤ 1 with Σ x ≥ k·y over the gang
and Σ_n x[g,n] ≤ pending[g]·y for each of its groups: exact for y ∈ {0, 1}. A gang that has all it
needs (k ≤ 0) is none here: whoever else waits of it is placed like any other pod.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fairstow.cluster.gangs import gangs
from fairstow.cluster.model import Pod
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.problem import Gang, Problem


@dataclass(frozen=True)
class Gangs:
    """The gangs with waiting pods.

    Attributes:
        needs: how many more pods a gang needs to run, for those that the planner tries.
        short: why the others aren't tried, as a phrase about their pods.
    """

    needs: Mapping[str, int] = field(default_factory=dict)
    short: Mapping[str, str] = field(default_factory=dict)

    def of(self, pod: Pod) -> str:
        """Return the gang that a pod is placed with, or ""."""
        return pod.gang if pod.gang in self.needs else ""


def waiting_gangs(snapshot: Snapshot, tried: Iterable[Pod]) -> Gangs:
    """Return the gangs of which pods wait, given the waiting pods that could be tried."""
    candidates: dict[str, int] = {}
    for pod in tried:
        if pod.gang:
            candidates[pod.gang] = candidates.get(pod.gang, 0) + 1
    if not candidates:
        return Gangs()
    needs: dict[str, int] = {}
    short: dict[str, str] = {}
    for name, gang in gangs(snapshot).items():
        there, need = candidates.get(name, 0), gang.needed - gang.running
        if there < need:
            run = "runs" if gang.running == 1 else "run"
            short[name] = (
                f"of gang {name}: {gang.needed} of its pods must run ({gang.why}), {gang.running} "
                f"{run} and {there} can be tried"
            )
        elif there and need > 0:
            needs[name] = need
    return Gangs(needs, short)


def gangs_of(found: Gangs, samples: Sequence[Pod]) -> tuple[Gang, ...]:
    """Return the gangs of a problem whose groups have these samples."""
    groups: dict[str, list[int]] = {}
    for index, pod in enumerate(samples):
        if name := found.of(pod):
            groups.setdefault(name, []).append(index)
    return tuple(Gang(tuple(members), found.needs[name]) for name, members in groups.items())


def without_hopeless(problem: Problem) -> Problem:
    """Close all nodes to the gangs that can't have enough pods anywhere, by what nodes hold."""
    hopeless = {
        group
        for gang in problem.gangs
        if sum(_most(problem, group) for group in gang.groups) < gang.need
        for group in gang.groups
    }
    closed = (
        replace(group, targets=frozenset()) if index in hopeless else group
        for index, group in enumerate(problem.groups)
    )
    return replace(problem, groups=tuple(closed)) if hopeless else problem


def _most(problem: Problem, group: int) -> int:
    """The most pods of a waiting group that the nodes hold, other pods set aside."""
    there = sum(problem.ceiling(group, node) for node in problem.groups[group].targets)
    return min(there, problem.groups[group].most)
