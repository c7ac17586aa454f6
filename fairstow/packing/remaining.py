"""What of a layout is still to be carried out, and the cluster after the steps so far.

`schedule` decides on the next step and makes it through `place`, `arrive`, `leave` and `give_up`,
which alone change anything; `cycles` looks here for pods that go down together. All else answers
questions: whether one pod may arrive now (room, rules, budgets), and in which order to look.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, MutableMapping

from fairstow.cluster.model import Pod
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.state import State
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.objective import evictions
from fairstow.packing.problem import Layout, Problem, Roster, Site

Room = MutableMapping[int, list[int]]
"""What is left by node and resource."""


class Overlay(dict[int, list[int]]):
    """Room that may be changed without changing what it was made from; copied node by node."""

    def __init__(self, room: Room) -> None:
        super().__init__()
        self._under = room

    def __missing__(self, node: int) -> list[int]:
        self[node] = copy = list(self._under[node])
        return copy


class Remaining:
    """What is left to do, and the state after the steps so far.

    Args:
        snapshot: the cluster.
        problem: its placement problem.
        roster: its pods.
        layout: where they are to stand in the end.

    Attributes:
        leaving: pods that are to leave, by site.
        slots: pods that are to arrive, by site.
        waiting: pending pods that are to get a slot, by group.
        pending: all of a group that have no place, the next one first.
        running: those that would leave a site, the next one last.
        lost: pods of a group that are to lose their place for good.
        state: the layout as it is now.
        room: what it leaves.
        ledger: what the rules between pods add up in it.
        judged: groups that rules between pods, or claims, speak of.
        judge: the scheduler's own rules as of now; None where room alone decides.
        nodes: nodes by index.
    """

    def __init__(
        self, snapshot: Snapshot, problem: Problem, roster: Roster, layout: Layout
    ) -> None:
        self.problem, self.nodes = problem, snapshot.nodes
        now = Incumbent(problem, {})
        self.state, self.ledger = now.at, now.ledger
        self.room: Room = dict(enumerate(now.room))
        self.leaving, self.slots = _differences(problem, layout)
        self._of_group = Counter[int]()
        for (index, _), count in self.leaving.items():
            self._of_group[index] += count
        placed = [sum(at.values()) for at in layout]
        self.lost = [
            evictions(problem, i, count, self._of_group[i]) for i, count in enumerate(placed)
        ]
        self.waiting = [placed[i] - g.placed + self.lost[i] for i, g in enumerate(problem.groups)]
        self.pending = [list(pods) for pods in roster.pending]
        self.running = {
            (index, node): list(reversed(pods))
            for index, by_node in enumerate(roster.running)
            for node, pods in by_node.items()
        }
        claiming = {i for i, _ in self.slots if any(p.shape.claims for p in roster.sample(i))}
        self.judged = claiming | now.ledger.groups
        self.judge = State(snapshot) if self.judged else None
        self._spent = Counter[int]()
        self._sizes = _sizes(problem)
        by_size = sorted(self.leaving, key=lambda s: (-self._sizes[s[0]], s))
        self._leaving_by_node = _by(lambda site: site[1], by_size)
        self._slots_by_group = _by(lambda site: site[0], sorted(self.slots))

    # What changes the state

    def place(self, slot: Site, pod: Pod) -> str:
        """Let a pending pod arrive; return its node's name."""
        self.waiting[slot[0]] -= 1
        self.pending[slot[0]].remove(pod)
        return self.arrive(slot, pod)

    def arrive(self, slot: Site, pod: Pod) -> str:
        """Let a pod that is nowhere arrive; return its node's name."""
        index, node = slot
        if self.judge:
            self.judge.add(pod, self.nodes[node])
        self.slots[slot] -= 1
        count = self.state[index].get(node, 0)
        self.state[index][node] = count + 1
        self.ledger.shift(index, node, count, count + 1)
        self.take(self.room, slot, 1)
        return self.problem.nodes[node]

    def leave(self, site: Site) -> Pod:
        """Take down the next pod of a site; return it."""
        index, node = site
        self.leaving[site] -= 1
        self._of_group[index] -= 1
        self.state[index][node] -= 1
        count = self.state[index][node]
        self.ledger.shift(index, node, count + 1, count)
        if not count:
            del self.state[index][node]
        self.take(self.room, site, -1)
        pod = self.running[site].pop()
        if self.judge:
            self.judge.remove(pod)
        return pod

    def give_up(self, site: Site) -> Pod:
        """Take down the next pod of a site for good; return it."""
        self.lost[site[0]] -= 1
        self._spent.update(self.problem.groups[site[0]].budgets)
        return self.leave(site)

    # Whether a pod may go, or arrive

    def fits(self, slot: Site) -> bool:
        """Whether a slot's node has room for the pod now."""
        return self.shortage(self.room, slot) == 0

    def shortage(self, room: Room, slot: Site) -> float:
        """How much a slot's node lacks, as a sum of shares of the request; 0 means it fits."""
        requests = self.problem.groups[slot[0]].requests.items()
        over, left = self.problem.over[slot[1]], room[slot[1]]
        return sum(max(0, q - left[r]) / q for r, q in requests if r not in over)

    def take(self, room: Room, site: Site, pods: int) -> None:
        """Take so many pods' requests out of some room; negative numbers give it back."""
        for resource, request in self.problem.groups[site[0]].requests.items():
            room[site[1]][resource] -= request * pods

    def within_budgets(self, sites: Iterable[Site]) -> bool:
        """Whether disruption budgets and serving pools let a pod of each site go down at once."""
        groups = self.problem.groups
        down = Counter(b for index, _ in sites for b in groups[index].budgets)
        return all(n <= self.problem.allowed[b] - self._spent[b] for b, n in down.items())

    def legal(self, pod: Pod, slot: Site) -> bool:
        """Whether all rules let a pod without a node arrive; room alone decides without rules."""
        if self.judge is None or slot[0] not in self.judged:
            return True
        return self.judge.refusal(pod, self.nodes[slot[1]]) is None

    def may_move(self, site: Site, slot: Site) -> bool:
        """Whether all rules let a pod arrive that has just left its node."""
        if self.judge is None or site[0] not in self.judged:
            return True
        pod = self.running[site][-1]
        self.judge.remove(pod)
        legal = self.legal(pod, slot)
        self.judge.add(pod, self.nodes[site[1]])
        return legal

    # In which order to look

    def movers(self, site: Site) -> int:
        """Pods of a site that may leave for another node, evictions for good kept back."""
        return min(self.leaving[site], self.moves(site[0]))

    def moves(self, group: int) -> int:
        """Pods of a group that are to leave for another node."""
        return self._of_group[group] - self.lost[group]

    def departures(self) -> Iterator[Site]:
        """Sites with pods to move, those first that the most important arrival waits for."""
        return (s for s in self.by_need() if self.movers(s) > 0)

    def by_need(self) -> list[Site]:
        """Sites with pods that leave, in the order of `departures`."""
        need: dict[int, int] = {}
        for (index, node), count in self.slots.items():
            if count and self.waiting[index]:
                priority = self.problem.groups[index].priority
                need[node] = max(need.get(node, priority), priority)
        lowest = min((g.priority for g in self.problem.groups), default=0) - 1
        sites = [s for s, count in self.leaving.items() if count]
        return sorted(sites, key=lambda s: (-need.get(s[1], lowest), self._sizes[s[0]], s))

    def leaving_from(self, node: int) -> list[Site]:
        """Sites of a node with pods that leave, the largest first."""
        return [s for s in self._leaving_by_node.get(node, ()) if self.leaving[s]]

    def slots_of(self, group: int) -> list[Site]:
        """Open slots of a group."""
        return [s for s in self._slots_by_group.get(group, ()) if self.slots[s]]

    def slots_by_priority(self) -> list[Site]:
        """Open slots, the most important and largest first."""
        groups = self.problem.groups
        left = [s for s, count in self.slots.items() if count]
        return sorted(left, key=lambda s: (-groups[s[0]].priority, -self._sizes[s[0]], s))


def _differences(problem: Problem, layout: Layout) -> tuple[Counter[Site], Counter[Site]]:
    """Return how many pods are to leave, and to arrive, by site."""
    leaving, slots = Counter[Site](), Counter[Site]()
    for index, (group, at) in enumerate(zip(problem.groups, layout, strict=True)):
        for node in at.keys() | group.running.keys():
            change = at.get(node, 0) - group.running.get(node, 0)
            (slots if change > 0 else leaving)[index, node] += abs(change)
    return +leaving, +slots


def _sizes(problem: Problem) -> list[float]:
    """Return each group's pod as a share of the largest node, summed over resources."""
    largest = [max((f[r] for f in problem.free), default=0) for r in range(len(problem.resources))]
    return [sum(q / max(largest[r], 1) for r, q in g.requests.items()) for g in problem.groups]


def _by(key: Callable[[Site], int], sites: Iterable[Site]) -> dict[int, list[Site]]:
    found: dict[int, list[Site]] = {}
    for site in sites:
        found.setdefault(key(site), []).append(site)
    return found
