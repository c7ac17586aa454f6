"""A layout with everything asked of it kept up to date, so that a change costs what it changes.

The search asks thousands of times for room, counts and the score; recomputing them would cost the
whole cluster each time. Invariants, for every group g and node n (see `problem`):

    room[n][r] = free[n][r] − Σ_g request[g,r] · at[g][n]
    placed[g]  = Σ_n at[g][n] (pinned pods included)       left[g] = Σ_n max(0, c[g,n] − at[g][n])
    work[g]    = work that those who left lose
"""

from collections.abc import Mapping, Sequence

from fairstow.packing.claims import Claims
from fairstow.packing.ledger import Ledger
from fairstow.packing.objective import Level, disturbance, evictions
from fairstow.packing.problem import Gang, Layout, Problem, Site

Changes = Mapping[Site, int]
"""Pods of a group on a node at the end, where that differs from now."""


class Incumbent:
    """The best layout so far; starts as the current placement with `changes` made."""

    def __init__(self, problem: Problem, changes: Changes) -> None:
        self.problem = problem
        self.at: Layout = problem.current()
        self.placed = [g.placed for g in problem.groups]
        self.left = [0] * len(problem.groups)
        self.work = [0] * len(problem.groups)
        self.room = [list(free) for free in problem.free]
        for index, group in enumerate(problem.groups):
            if index not in problem.pinned:
                for node, count in group.running.items():
                    self._take(index, node, count)
        self._changed: set[Site] = set()
        self.ledger = Ledger(problem.between, [g.running for g in problem.groups], self.at)
        self._claims = Claims(problem.claims, self.at)
        self.apply(changes)

    def count(self, site: Site) -> int:
        """Pods of a group on a node."""
        return self.at[site[0]].get(site[1], 0)

    def waiting(self, index: int) -> int:
        """Pods of a group that have no place."""
        return self.problem.groups[index].most - self.placed[index]

    def apply(self, changes: Changes) -> None:
        """Set counts."""
        for (index, node), count in changes.items():
            group = self.problem.groups[index]
            now = group.running.get(node, 0)
            before = self.count((index, node))
            gone, was_gone = max(0, now - count), max(0, now - before)
            self.placed[index] += count - before
            self.left[index] += gone - was_gone
            self.work[index] += group.work_lost(node, gone) - group.work_lost(node, was_gone)
            self._take(index, node, count - before)
            self.ledger.shift(index, node, before, count)
            if count:
                self.at[index][node] = count
            else:
                self.at[index].pop(node, None)
            (self._changed.discard if count == now else self._changed.add)((index, node))

    def changes(self) -> dict[Site, int]:
        """What differs from now."""
        return {site: self.count(site) for site in sorted(self._changed)}

    def difference(self, other: "Incumbent") -> dict[Site, int]:
        """Changes that make `other` equal to this layout."""
        sites = sorted(self._changed | other._changed)
        return {s: self.count(s) for s in sites if self.count(s) != other.count(s)}

    def touched(self) -> list[int]:
        """Nodes on which something differs from now."""
        return sorted({node for _, node in self._changed})

    def fits(self, site: Site) -> bool:
        """Whether a node has room for one more pod of a group."""
        index, node = site
        return all(self.room[node][r] >= q for r, q in self.problem.groups[index].requests.items())

    def holds(self, node: int) -> bool:
        """Whether a node has room for what stands on it, but for what it is short of already."""
        over = self.problem.over[node]
        return all(left >= 0 or r in over for r, left in enumerate(self.room[node]))

    def keeps_apart(self, index: int) -> bool:
        """Whether the rules between pods that touch a group hold."""
        group = self.problem.groups[index]
        if group.alone and any(
            count > max(1, group.running.get(node, 0)) for node, count in self.at[index].items()
        ):
            return False
        return self.ledger.hold(index) and self._claims.hold(index)

    def welcomes(self, site: Site) -> bool:
        """Whether the rules between pods let one more pod of a group onto a node, as things are."""
        count = self.count(site)
        if self.problem.groups[site[0]].alone and count:
            return False
        return self.ledger.allow(*site, count) and self._claims.allow(*site)

    def whole(self, gang: Gang) -> bool:
        """Whether a gang has no pod placed, or enough."""
        placed = sum(self.placed[i] for i in gang.groups)
        return placed == 0 or placed >= gang.need

    def slack(self, node: int) -> float:
        """A node's free shares summed over resources, a little above 0 at least."""
        shares = zip(self.room[node], self.problem.free[node], strict=True)
        return sum(max(left, 0) / max(whole, 1) for left, whole in shares) + 0.01

    def value(self, level: Level) -> int:
        """A level's value in its own direction: placed pods, or disruption units."""
        covered = (i for i, g in enumerate(self.problem.groups) if level.covers(g.priority))
        if level.places:
            return sum(self.placed[i] for i in covered)
        return sum(self.disturbance(i) for i in covered)

    def score(self, order: Sequence[Level]) -> tuple[int, ...]:
        """What layouts are compared by: larger is better."""
        return tuple(self.value(lv) if lv.places else -self.value(lv) for lv in order)

    def evictions(self, index: int) -> int:
        """Pods of a group that lose their place for good."""
        return evictions(self.problem, index, self.placed[index], self.left[index])

    def disturbance(self, index: int) -> int:
        """Disruption units of a group."""
        placed, left, work = self.placed[index], self.left[index], self.work[index]
        return disturbance(self.problem, index, placed, left, work)

    def undo(self) -> None:
        """Take back every departure whose old node still has room for the pod.

        Never worse: a pod that stays needs no move, and no other pod is touched.
        """
        running = [g.running for g in self.problem.groups]
        gone = [s for s in sorted(self._changed) if self.count(s) < running[s[0]].get(s[1], 0)]
        for index, home in sorted(gone, key=self._last_work, reverse=True):
            while self.count((index, home)) < running[index][home] and self.fits((index, home)):
                away = max(
                    (n for g, n in self._changed if g == index and n != home
                     and self.count((g, n)) > running[g].get(n, 0)),
                    default=None,
                )  # fmt: skip
                if away is None:
                    break
                here, there = self.count((index, home)), self.count((index, away))
                self.apply({(index, home): here + 1, (index, away): there - 1})
                if not self.keeps_apart(index):
                    self.apply({(index, home): here, (index, away): there})
                    break

    def _last_work(self, site: Site) -> int:
        """The work that is saved by one pod's going back."""
        group, node = self.problem.groups[site[0]], site[1]
        left = group.running[node] - self.count(site)
        return group.work_lost(node, left) - group.work_lost(node, left - 1)

    def _take(self, index: int, node: int, pods: int) -> None:
        for resource, request in self.problem.groups[index].requests.items():
            self.room[node][resource] -= request * pods
