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
"""

import itertools
from collections import Counter
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass

from fairstow.cluster.model import Pod
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.state import State
from fairstow.packing.cycles import Exchange, arrive_in_turn, few_together
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.model import Eviction, Move, Placement, RuleSet, Step
from fairstow.packing.objective import evictions
from fairstow.packing.problem import Layout, Problem, Roster, Site

MOST_CHANGES = 2_000
"""Pods a plan changes at most: what a PackingPlan may hold (docs/reference/packingplan.md)."""

_SWAP = 2

_STARTS = 64
"""Departures from which a cycle is looked for, those first that most is waiting for."""

Pair = tuple[Site, Site]
"""A move: a departure and its slot."""

Room = MutableMapping[int, list[int]]
"""What is left by node and resource."""


class _Overlay(dict[int, list[int]]):
    """Room that may be changed without changing what it was made from; copied node by node."""

    def __init__(self, room: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self._under = room

    def __missing__(self, node: int) -> list[int]:
        self[node] = copy = list(self._under[node])
        return copy


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
    """What is left to do, and the state after the steps so far."""

    def __init__(
        self, snapshot: Snapshot, problem: Problem, roster: Roster, layout: Layout, most: int
    ) -> None:
        self._problem, self._most = problem, most
        self._nodes = snapshot.nodes
        self.useful = 0
        now = Incumbent(problem, {})
        self._state, self._room, self._ledger = now.at, now.room, now.ledger
        self._leaving: Counter[Site] = Counter()
        self._slots: Counter[Site] = Counter()
        for index, (group, at) in enumerate(zip(problem.groups, layout, strict=True)):
            for node in at.keys() | group.running.keys():
                change = at.get(node, 0) - group.running.get(node, 0)
                (self._slots if change > 0 else self._leaving)[index, node] += abs(change)
        self._leaving, self._slots = +self._leaving, +self._slots
        # Rules between pods and claims are judged by the scheduler's own filters, step by step.
        arriving = {index for index, _ in self._slots}
        claiming = {i for i in arriving if any(p.shape.claims for p in roster.sample(i))}
        self._judged = claiming | now.ledger.groups
        self._judge = State(snapshot) if self._judged else None
        self._of_group: Counter[int] = Counter()
        for (index, _), count in self._leaving.items():
            self._of_group[index] += count
        placed = [sum(at.values()) for at in layout]
        self._lost = [
            evictions(problem, i, count, self._of_group[i]) for i, count in enumerate(placed)
        ]
        self._waiting = [placed[i] - g.placed + self._lost[i] for i, g in enumerate(problem.groups)]
        self._slots_by_group: dict[int, list[Site]] = {}
        for site in sorted(self._slots):
            self._slots_by_group.setdefault(site[0], []).append(site)
        self._pending = [list(pods) for pods in roster.pending]
        self._gangs = list(problem.gangs)
        self._in_gang = {group for gang in self._gangs for group in gang.groups}
        self._left_behind = False
        self._running = {
            (index, node): list(reversed(pods))
            for index, by_node in enumerate(roster.running)
            for node, pods in by_node.items()
        }
        largest = [
            max((f[r] for f in problem.free), default=0) for r in range(len(problem.resources))
        ]
        self._sizes = [
            sum(q / max(largest[r], 1) for r, q in g.requests.items()) for g in problem.groups
        ]
        self._leaving_by_node: dict[int, list[Site]] = {}
        for site in sorted(self._leaving, key=lambda s: (-self._sizes[s[0]], s)):
            self._leaving_by_node.setdefault(site[1], []).append(site)
        self._spent: Counter[int] = Counter()
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
            if placed > useful and self._worthwhile() and self._ledger.keeps_near():
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
            self._state,
            cut or self.cut_short,
        )

    # What changes the state

    def _arrive(self, site: Site, pod: Pod) -> str:
        index, node = site
        if self._judge:
            self._judge.add(pod, self._nodes[node])
        self._slots[site] -= 1
        count = self._state[index].get(node, 0)
        self._state[index][node] = count + 1
        self._ledger.shift(index, node, count, count + 1)
        self._take(site, 1)
        return self._problem.nodes[node]

    def _leave(self, site: Site) -> Pod:
        index, node = site
        self._leaving[site] -= 1
        self._of_group[index] -= 1
        self._state[index][node] -= 1
        count = self._state[index][node]
        self._ledger.shift(index, node, count + 1, count)
        if not self._state[index][node]:
            del self._state[index][node]
        self._take(site, -1)
        pod = self._running[site].pop()
        if self._judge:
            self._judge.remove(pod)
        return pod

    def _take(self, site: Site, pods: int) -> None:
        index, node = site
        for resource, request in self._problem.groups[index].requests.items():
            self._room[node][resource] -= request * pods

    # The kinds of progress, each returns whether it made one

    def _bind_waiting(self) -> bool:
        for index, node in self._by_priority(self._slots):
            if index in self._in_gang:
                continue
            if not self._waiting[index] or not self._fits((index, node)):
                continue
            pod = self._pending[index][0]
            if self._legal(pod, (index, node)):
                self._waiting[index] -= 1
                self._pending[index].remove(pod)
                target = self._arrive((index, node), pod)
                self._placements.append(Placement(pod, target))
                self.steps.append(Step((), ((pod, target),)))
                return True
        return False

    def _bind_gangs(self, *, whole: bool) -> bool:
        """Bind a gang in one step, so that no cut and no fault leaves a part of it: all or enough.

        Whoever is left over of it then is bound like any other pod.
        """
        for gang in list(self._gangs):
            slots = [s for g in gang.groups for s in self._slots_of(g)]
            if whole and not all(self._fits(slot) for slot in slots):
                continue
            every = [slot for slot in slots for _ in range(self._slots[slot])]
            arrivals = self._arrivals(every)
            if len(arrivals) < max(gang.need, len(every) if whole else 0):
                continue
            self._gangs.remove(gang)
            if self._changes + len(arrivals) > self._most:
                self._left_behind = True
                continue
            self._in_gang -= {*gang.groups}
            bound = []
            for slot, pod in arrivals:
                self._waiting[slot[0]] -= 1
                self._pending[slot[0]].remove(pod)
                bound.append((pod, self._arrive(slot, pod)))
            self._placements += [Placement(pod, target) for pod, target in bound]
            self.steps.append(Step((), tuple(bound)))
            return True
        return False

    def _arrivals(self, slots: list[Site]) -> list[tuple[Site, Pod]]:
        """Return those of the slots that can be filled now, in an order that rules allow."""
        room, taken = _Overlay(self._room), Counter[int]()
        found: list[tuple[Site, Pod]] = []
        left = slots
        while True:
            later = []
            for slot in left:
                pod = self._pending[slot[0]][taken[slot[0]]]
                if self._shortage(room, slot) > 0 or not self._legal(pod, slot):
                    later.append(slot)
                    continue
                if self._judge:
                    self._judge.add(pod, self._nodes[slot[1]])
                self._apply(room, slot, 1)
                taken[slot[0]] += 1
                found.append((slot, pod))
            if len(later) == len(left):
                break
            left = later
        if self._judge:
            for _, pod in found:
                self._judge.remove(pod)
        return found

    def _move_one(self) -> bool:
        for site in self._departures():
            for slot in self._slots_of(site[0]):
                if self._fits(slot) and self._within_budgets([site]) and self._may_move(site, slot):
                    self._step([(site, slot)])
                    return True
        return False

    def _move_together(self) -> bool:
        smallest: list[Pair] | None = None
        for site in itertools.islice(self._departures(), _STARTS):
            closure = self._closure(site)
            if closure and (smallest is None or len(closure) < len(smallest)):
                smallest = self._in_order(closure) or smallest
            if smallest and len(smallest) == _SWAP:
                break  # no cycle is shorter
        if smallest is None and self._judge:
            every = self._all_moves()
            smallest = [every[i] for i in few_together(self._judge, self._exchanges(every))]
        if smallest:
            self._step(smallest)
        return bool(smallest)

    def _evict(self) -> bool:
        for site in self._by_need():
            budget = self._problem.groups[site[0]].budget
            if self._lost[site[0]] and self._within_budgets([site]):
                self._lost[site[0]] -= 1
                if budget is not None:
                    self._spent[budget] += 1
                source, pod = self._problem.nodes[site[1]], self._leave(site)
                self._evictions.append(Eviction(pod, source))
                self.steps.append(Step((pod,), ()))
                return True
        return False

    def _step(self, pairs: list[Pair]) -> None:
        """Take pods down together, then bind each in its slot."""
        gone = [(self._problem.nodes[site[1]], self._leave(site)) for site, _ in pairs]
        bound = []
        for (source, pod), (_, slot) in zip(gone, pairs, strict=True):
            target = self._arrive(slot, pod)
            self._moves.append(Move(pod, source, target))
            bound.append((pod, target))
        self.steps.append(Step(tuple(pod for _, pod in gone), tuple(bound)))

    # What may be done

    def _closure(self, start: Site) -> list[Pair] | None:
        """Return departures from `start` on that can all arrive once all are down, or None.

        Each one that finds no slot with room takes, on the slot that lacks least, others that
        are to leave that node down with it; they then need slots in turn.
        """
        down: Counter[Site] = Counter({start: 1})
        used: Counter[Site] = Counter()
        room = _Overlay(self._room)
        self._apply(room, start, -1)
        pairs: list[Pair] = []
        queue = [start]
        while queue:
            site = queue.pop(0)
            open_slots = [s for s in self._slots_of(site[0]) if self._slots[s] > used[s]]
            for slot in sorted(open_slots, key=lambda s: self._shortage(room, s)):
                extra = self._make_room(room, slot, down)
                if extra is None:
                    continue
                for other in extra:
                    self._apply(room, other, -1)
                    down[other] += 1
                queue += extra
                self._apply(room, slot, 1)
                used[slot] += 1
                pairs.append((site, slot))
                break
            else:
                return None
        return pairs if self._within_budgets([site for site, _ in pairs]) else None

    def _make_room(self, room: Room, slot: Site, down: Counter[Site]) -> list[Site] | None:
        """Return departures of a slot's node that make room for it, given what is down already."""
        local: Room = {slot[1]: list(room[slot[1]])}
        extra: list[Site] = []
        leaving = [
            s
            for s in self._leaving_by_node.get(slot[1], ())
            if self._leaving[s] and s != slot
            for _ in range(self._movers(s) - down[s])
        ]
        while self._shortage(local, slot) > 0:
            if not leaving:
                return None
            extra.append(leaving.pop(0))
            self._apply(local, extra[-1], -1)
        return extra

    def _within_budgets(self, sites: list[Site]) -> bool:
        groups = self._problem.groups
        down = Counter(b for index, _ in sites if (b := groups[index].budget) is not None)
        return all(n <= self._problem.allowed[b] - self._spent[b] for b, n in down.items())

    def _legal(self, pod: Pod, slot: Site) -> bool:
        """Whether all rules let a pod without a node arrive; room alone decides without rules."""
        if self._judge is None or slot[0] not in self._judged:
            return True
        return self._judge.refusal(pod, self._nodes[slot[1]]) is None

    def _may_move(self, site: Site, slot: Site) -> bool:
        """Whether all rules let a pod arrive that has just left its node."""
        if self._judge is None or site[0] not in self._judged:
            return True
        pod = self._running[site][-1]
        self._judge.remove(pod)
        legal = self._legal(pod, slot)
        self._judge.add(pod, self._nodes[site[1]])
        return legal

    def _in_order(self, pairs: list[Pair]) -> list[Pair] | None:
        """Return departures that go down together so that all may arrive in turn, or None."""
        if self._judge is None or not any(site[0] in self._judged for site, _ in pairs):
            return pairs
        order, stuck = arrive_in_turn(self._judge, self._exchanges(pairs))
        return None if stuck else [pairs[i] for i in order]

    def _exchanges(self, pairs: list[Pair]) -> list[Exchange]:
        taken = Counter[Site]()
        found = []
        for site, slot in pairs:
            taken[site] += 1
            pod, source = self._running[site][-taken[site]], self._nodes[site[1]]
            found.append(Exchange(pod, source, self._nodes[slot[1]]))
        return found

    def _all_moves(self) -> list[Pair]:
        """Return all moves that are left, as many as budgets let go down at once."""
        found: list[Pair] = []
        moving = Counter({i: self._of_group[i] - self._lost[i] for i in self._of_group})
        slots = {i: [s for s in self._slots_of(i) for _ in range(self._slots[s])] for i in moving}
        for site in self._departures():
            for _ in range(self._leaving[site]):
                pair = (site, slots[site[0]][-1]) if slots[site[0]] else None
                if pair is None or not moving[site[0]]:
                    break
                if self._within_budgets([s for s, _ in found] + [site]):
                    found.append(pair)
                    moving[site[0]] -= 1
                    slots[site[0]].pop()
        return found

    def _fits(self, slot: Site) -> bool:
        return self._shortage({slot[1]: self._room[slot[1]]}, slot) == 0

    def _shortage(self, room: Room, slot: Site) -> float:
        """How much a slot's node lacks, as a sum of shares of the request; 0 means it fits."""
        requests = self._problem.groups[slot[0]].requests.items()
        over = self._problem.over[slot[1]]
        return sum(max(0, q - room[slot[1]][r]) / q for r, q in requests if r not in over)

    def _apply(self, room: Room, site: Site, pods: int) -> None:
        for resource, request in self._problem.groups[site[0]].requests.items():
            room[site[1]][resource] -= request * pods

    # In which order to look

    def _movers(self, site: Site) -> int:
        """Pods of a site that may leave for another node, evictions for good kept back."""
        index = site[0]
        return min(self._leaving[site], self._of_group[index] - self._lost[index])

    def _departures(self) -> Iterator[Site]:
        """Sites with pods to move, those first that the most important arrival waits for."""
        return (s for s in self._by_need() if self._movers(s) > 0)

    def _by_need(self) -> list[Site]:
        need: dict[int, int] = {}
        for (index, node), count in self._slots.items():
            if count and self._waiting[index]:
                priority = self._problem.groups[index].priority
                need[node] = max(need.get(node, priority), priority)
        lowest = min((g.priority for g in self._problem.groups), default=0) - 1
        sites = [s for s, count in self._leaving.items() if count]
        return sorted(sites, key=lambda s: (-need.get(s[1], lowest), self._size(s[0]), s))

    def _slots_of(self, index: int) -> list[Site]:
        return [s for s in self._slots_by_group.get(index, ()) if self._slots[s]]

    def _by_priority(self, sites: Counter[Site]) -> list[Site]:
        groups = self._problem.groups
        left = [s for s, count in sites.items() if count]
        return sorted(left, key=lambda s: (-groups[s[0]].priority, -self._size(s[0]), s))

    def _size(self, index: int) -> float:
        """A group's pod as a share of the largest node, summed over resources."""
        return self._sizes[index]
