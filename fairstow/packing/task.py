"""One question to the search, and its answer from parts searched side by side.

Called by the planner, through a solver: in this process or in the warm one. See `parts` for why
parts may be searched apart and when their bounds add up.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock

from fairstow.packing.effort import WORKERS, Clock, Meter
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.limits import Limits
from fairstow.packing.objective import Level
from fairstow.packing.outcome import Outcome, Report, by_counting
from fairstow.packing.parts import parts, separable, size
from fairstow.packing.problem import Problem, Site, pin


@dataclass(frozen=True, slots=True)
class Task:
    """One search.

    Attributes:
        start: the changes to begin with.
        order: levels, most important first.
        limits: what this search may do.
        proof_limits: what a plan may do at all; bounds are proved under these.
        effort: units of work to spend (see `effort`), or None for all the time there is.
    """

    problem: Problem
    start: dict[Site, int]
    order: tuple[Level, ...]
    limits: Limits
    proof_limits: Limits
    seed: int
    workers: int
    effort: float | None = None

    def begin(self) -> Outcome:
        """Return what is known before any search: the start, and bounds by counting."""
        bounds = tuple(by_counting(level, self.problem) for level in self.order)
        return Outcome(self.start, bounds, complete=False)

    def run(self, now: Clock, deadline: float, report: Report) -> Outcome:
        """Search until the deadline, or until the effort is spent."""
        found = parts(self.problem)
        if len(found) > 1 and separable(self.problem, self.limits):
            return _SideBySide(self, found).run(now, deadline, report)
        return self.only([i for part in found for i in part]).search(now, deadline, report)

    def only(self, groups: Iterable[int]) -> "Task":
        """Return the same question about some groups, the others held as they are."""
        kept = frozenset(groups)
        others = frozenset(range(len(self.problem.groups))) - kept
        start = {site: count for site, count in self.start.items() if site[0] in kept}
        return replace(self, problem=pin(self.problem, others), start=start)

    def search(self, now: Clock, deadline: float, report: Report) -> Outcome:
        """Search as one part."""
        # Here: 90 MB of ortools, which a program that asks its solver process doesn't need.
        from fairstow.packing.search import Search

        if self.effort is None:
            return Search(self, now, deadline, report).run()
        fixed = replace(self, workers=WORKERS)
        return Search(fixed, Meter(), self.effort, report).run()


class _SideBySide:
    """The parts of one task, and what is known of each."""

    def __init__(self, task: Task, found: Sequence[frozenset[int]]) -> None:
        self._task = task
        self._threads = min(task.workers, len(found))
        workers = max(1, task.workers // self._threads)
        self._tasks = [replace(task.only(groups), workers=workers) for groups in found]
        self._sizes = [size(task.problem, groups) for groups in found]
        self._known = [t.begin() for t in self._tasks]
        now = Incumbent(task.problem, {})
        self._now = [now.value(level) for level in task.order]
        self._unstarted = sum(self._sizes)
        self._lock = Lock()

    def run(self, now: Clock, deadline: float, report: Report) -> Outcome:
        """Search all parts, as many at a time as there are workers."""

        def search(number: int) -> None:
            def note(outcome: Outcome) -> None:
                with self._lock:
                    self._known[number] = outcome
                    report(self._together())

            outcome = self._one(number).search(now, self._until(number, now(), deadline), note)
            with self._lock:
                self._known[number] = outcome

        with ThreadPoolExecutor(self._threads) as pool:
            for _ in pool.map(search, range(len(self._tasks))):
                pass
        return self._together()

    def _one(self, number: int) -> Task:
        """Return a part's task with its share of the effort."""
        task, effort = self._tasks[number], self._task.effort
        if effort is None:
            return task
        return replace(task, effort=effort * self._sizes[number] / sum(self._sizes))

    def _until(self, number: int, now: float, deadline: float) -> float:
        """A part's share, by size, of the time that all threads together have left."""
        with self._lock:
            share = self._threads * self._sizes[number] / self._unstarted
            self._unstarted -= self._sizes[number]
        return now + min(1.0, share) * (deadline - now)

    def _together(self) -> Outcome:
        """Add the parts up; called with the lock held, or once all have ended."""
        task = self._task
        changes: dict[Site, int] = {}
        for known in self._known:
            changes |= known.changes
        layout = Incumbent(task.problem, changes)
        bounds: list[int] = []
        met = True
        for index, level in enumerate(task.order):
            # Each part's bound counts all others as they are now, whatever the search began with.
            others = (len(self._known) - 1) * self._now[index]
            bound = sum(known.bounds[index] for known in self._known) - others
            bounds.append(bound if met else by_counting(level, task.problem))
            met = met and layout.value(level) == bound
        return Outcome(changes, tuple(bounds), all(known.complete for known in self._known))
