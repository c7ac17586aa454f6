"""From a layout to steps: which pods leave and arrive, in an order whose every step is feasible.

The final layout fits, but the way there may not: between two full nodes nobody can go first.
So, over what is left to do:

1. bind a waiting pod wherever its slot has room now, and a gang in one step once all of it has;
2. else move a pod whose slot has room now, for the highest-priority arrival that waits for it;
3. else take the smallest set of pods down *together* that lets all of them arrive (a cycle);
4. else evict for good one of those that are to be evicted;
5. else bind a gang of which enough has room, though not all.

Departures only make room and every arrival goes to its final slot, so taking all that is left
down at once always works, but for disruption budgets: pods of one budget in one step may not
exceed what it allows, and for rules between pods: the scheduler's own rules (`State`) are asked at
every arrival, and pods whose rules keep each other from going first go down together (`cycles`).
Where that forbids the rest, the rest is left out; what has been scheduled stands on its own, since
each step is legal in the state the ones before it left. So a schedule can be cut after any step
that leaves nobody without the pods it must be near. It is cut where a plan would get too long, and
always after the last placement with which it is worth carrying out: moves that nothing follows
would serve nobody, and an eviction is for a pod of higher priority that does get its place, or
isn't done.

Called by both planners once they have a layout. Here is which step comes next and why; `remaining`
keeps what is left to do, says whether one pod may go or arrive, and changes the state; `cycles`
finds pods for the third kind of step.
"""

from collections import Counter
from dataclasses import dataclass

from fairstow.cluster.model import Pod
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.cycles import Pair, cycle
from fairstow.packing.model import Eviction, Move, Placement, RuleSet, Step
from fairstow.packing.problem import Layout, Problem, Roster, Site
from fairstow.packing.remaining import Overlay, Remaining

MOST_CHANGES = 2_000
"""Pods a plan changes at most: what a PackingPlan may hold (docs/reference/packingplan.md)."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is carried out, in order, and the layout it leads to."""

    steps: tuple[Step, ...]
    placements: tuple[Placement, ...]
    moves: tuple[Move, ...]
    evictions: tuple[Eviction, ...]
    layout: Layout
    cut: bool


def schedule(
    snapshot: Snapshot,
    problem: Problem,
    roster: Roster,
    layout: Layout,
    most: int = MOST_CHANGES,
    *,
    for_placements: bool = True,
) -> Schedule:
    """Return the steps from the current placement to `layout`, as far as budgets allow.

    Args:
        snapshot: the cluster.
        problem: its placement problem.
        roster: its pods.
        layout: where they are to stand in the end.
        most: placements, moves and evictions there may be in all; a longer schedule is cut.
        for_placements: whether steps are worth nothing unless a placement follows.
    """
    whole = _Scheduler(snapshot, problem, roster, layout, most)
    whole.run()
    if not for_placements or whole.useful == len(whole.steps):
        return whole.result()
    cut = _Scheduler(snapshot, problem, roster, layout, most)
    cut.run(whole.useful)
    return cut.result(cut=whole.cut_short)


class _Scheduler:
    """Which step comes next, and the steps so far."""

    def __init__(
        self, snapshot: Snapshot, problem: Problem, roster: Roster, layout: Layout, most: int
    ) -> None:
        self._problem, self._most = problem, most
        self._left = Remaining(snapshot, problem, roster, layout)
        self._gangs = list(problem.gangs)
        self._in_gang = {group for gang in self._gangs for group in gang.groups}
        self._left_behind = False
        self.useful = 0
        self.steps: list[Step] = []
        self._placements: list[Placement] = []
        self._moves: list[Move] = []
        self._evictions: list[Eviction] = []

    @property
    def full(self) -> bool:
        """Whether nothing more may be changed. A step of several pods may go over by those."""
        return self._changes >= self._most

    @property
    def cut_short(self) -> bool:
        """Whether a limit on changes keeps something from being done."""
        return self.full or self._left_behind

    @property
    def _changes(self) -> int:
        return len(self._placements) + len(self._moves) + len(self._evictions)

    def run(self, steps: int | None = None) -> None:
        """Go as far as can be gone, or so many steps."""
        useful = 0
        while (steps is None or len(self.steps) < steps) and not self.full:
            if not (
                self._bind_waiting()
                or self._bind_gangs(whole=True)
                or self._move_one()
                or self._move_together()
                or self._evict()
                or self._bind_gangs(whole=False)
            ):
                break
            placed = len(self._placements)
            if placed > useful and self._worthwhile() and self._left.ledger.keeps_near():
                self.useful, useful = len(self.steps), placed

    def _worthwhile(self) -> bool:
        """Whether the steps so far place more, by tier, and evict nobody without cause."""
        gained = Counter(p.pod.shape.priority for p in self._placements)
        gained.subtract(Counter(e.pod.shape.priority for e in self._evictions))
        if [gained[tier] for tier in sorted(gained, reverse=True)] <= [0] * len(gained):
            return False
        if not self._evictions or self._problem.rules is RuleSet.PAPER:
            return True
        highest = max(e.pod.shape.priority for e in self._evictions)
        return any(
            p.pod.shape.preempts and p.pod.shape.priority > highest for p in self._placements
        )

    def result(self, *, cut: bool = False) -> Schedule:
        """Return what was done."""
        return Schedule(
            tuple(self.steps),
            tuple(self._placements),
            tuple(self._moves),
            tuple(self._evictions),
            self._left.state,
            cut or self.cut_short,
        )

    # The kinds of progress, each returns whether it made one

    def _bind_waiting(self) -> bool:
        left = self._left
        for slot in left.slots_by_priority():
            if slot[0] in self._in_gang or not left.waiting[slot[0]] or not left.fits(slot):
                continue
            pod = left.pending[slot[0]][0]
            if left.legal(pod, slot):
                self._place([(slot, pod)])
                return True
        return False

    def _bind_gangs(self, *, whole: bool) -> bool:
        """Bind a gang in one step, so that no cut and no fault leaves a part of it: all or enough.

        Whoever is left over of it then is bound like any other pod.
        """
        left = self._left
        for gang in list(self._gangs):
            slots = [s for g in gang.groups for s in left.slots_of(g)]
            if whole and not all(left.fits(slot) for slot in slots):
                continue
            every = [slot for slot in slots for _ in range(left.slots[slot])]
            arrivals = self._arrivals(every)
            if len(arrivals) < max(gang.need, len(every) if whole else 0):
                continue
            self._gangs.remove(gang)
            if self._changes + len(arrivals) > self._most:
                self._left_behind = True
                continue
            self._in_gang -= {*gang.groups}
            self._place(arrivals)
            return True
        return False

    def _arrivals(self, slots: list[Site]) -> list[tuple[Site, Pod]]:
        """Return those of the slots that can be filled now, in an order that rules allow."""
        left = self._left
        room, taken = Overlay(left.room), Counter[int]()
        found: list[tuple[Site, Pod]] = []
        again = True
        while again:
            later = []
            for slot in slots:
                pod = left.pending[slot[0]][taken[slot[0]]]
                if left.shortage(room, slot) > 0 or not left.legal(pod, slot):
                    later.append(slot)
                    continue
                if left.judge:
                    left.judge.add(pod, left.nodes[slot[1]])
                left.take(room, slot, 1)
                taken[slot[0]] += 1
                found.append((slot, pod))
            again, slots = len(later) < len(slots), later
        if left.judge:
            for _, pod in found:
                left.judge.remove(pod)
        return found

    def _move_one(self) -> bool:
        left = self._left
        for site in left.departures():
            for slot in left.slots_of(site[0]):
                if left.fits(slot) and left.within_budgets([site]) and left.may_move(site, slot):
                    self._move([(site, slot)])
                    return True
        return False

    def _move_together(self) -> bool:
        pairs = cycle(self._left)
        if pairs:
            self._move(pairs)
        return bool(pairs)

    def _evict(self) -> bool:
        left = self._left
        for site in left.by_need():
            if left.lost[site[0]] and left.within_budgets([site]):
                source, pod = self._problem.nodes[site[1]], left.give_up(site)
                self._evictions.append(Eviction(pod, source))
                self.steps.append(Step((pod,), ()))
                return True
        return False

    # The steps

    def _place(self, arrivals: list[tuple[Site, Pod]]) -> None:
        """Bind pending pods in turn."""
        bound = tuple((pod, self._left.place(slot, pod)) for slot, pod in arrivals)
        self._placements += [Placement(pod, target) for pod, target in bound]
        self.steps.append(Step((), bound))

    def _move(self, pairs: list[Pair]) -> None:
        """Take pods down together, then bind each in its slot."""
        left = self._left
        gone = [(self._problem.nodes[site[1]], left.leave(site)) for site, _ in pairs]
        bound = []
        for (source, pod), (_, slot) in zip(gone, pairs, strict=True):
            target = left.arrive(slot, pod)
            self._moves.append(Move(pod, source, target))
            bound.append((pod, target))
        self.steps.append(Step(tuple(pod for _, pod in gone), tuple(bound)))
