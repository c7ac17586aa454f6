"""A queue's account of its users: the fair queue, fed with what applications really are.

Kept by the Spark controller, one for each SparkQueue, between turns and, as `state`, for longer.
Applications come when they are first seen, however long they wait; what they have used is told each
turn; when they end or vanish, their user is charged and the estimator learns. Those that never end
and those that the webhook missed don't queue: they are charged as they go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fairstow.api import SparkQueueSpec
from fairstow.spark.applications import Application, Phase
from fairstow.spark.estimates import Estimate, Estimates
from fairstow.spark.fair_queueing import FairQueue, Job
from fairstow.spark.standings import Expected, weight_of
from fairstow.spark.usage import Usage

UNKNOWN_SECONDS = 600.0
"""How long an application is taken to run on its first cores where nothing is known of any."""


class Account:
    """See the module."""

    def __init__(self, fair: FairQueue, estimates: Estimates) -> None:
        self.fair, self.estimates = fair, estimates
        self.weights: dict[str, int] = {}
        self._apps: dict[str, Application] = {}
        self._first: Mapping[str, int] = {}
        self._guesses: dict[tuple[str, str, int], Estimate] = {}
        self._came: dict[str, float] = {}
        self._charged: dict[str, float] = {}
        self._held: dict[str, float] = {}
        self._queue_held = 0.0

    def look(
        self,
        now: float,
        spec: SparkQueueSpec,
        there: Iterable[Application],
        usage: Usage,
        first: Mapping[str, int],
    ) -> list[tuple[Application, Expected]]:
        """Take in the queue's applications as they are now; return those that ended since.

        With each comes what it was expected to be.

        Args:
            now: seconds since 1970.
            spec: the queue's.
            there: its applications.
            usage: what they have used.
            first: by application, what is let go together, in milli-CPU.
        """
        self._first = first
        self.fair.resize(now, spec.cores - spec.reserved_cores)
        apps = {each.id: each for each in there}
        whose = {app.user: app.groups for app in apps.values()}
        self.weights = {user: weight_of(spec, user, groups) for user, groups in whose.items()}
        for user in self.fair.users():
            standing, weight = self.fair.standing(user), self.weights.get(user)
            if standing is not None and weight is not None and standing.weight != weight:
                self.fair.reweigh(now, user, weight)
        if spec.hold:
            self._queue_held = _minute(now)
        for app in sorted(apps.values(), key=lambda each: (each.created, each.name, each.id)):
            held = app.phase is Phase.WAITING and (app.held or app.own_suspend)
            if held:
                self._held[app.id] = _minute(now)
            if app.missed or app.lasting:
                self._charge(now, app, usage.of(app.id))
            elif app.id in self.fair and held and not usage.of(app.id):
                self._leave(now, app.id)
            elif app.id in self.fair:
                self._apps[app.id] = app
                if used := usage.of(app.id):
                    self.fair.served(now, app.id, used)
            elif app.phase is not Phase.ENDED and not held:
                self._arrive(now, app)
        for table in (self._charged, self._came, self._held):
            for app_id in [each for each in table if each not in apps]:
                del table[app_id]
        ended = [
            app_id
            for app_id, _ in self.fair.order()
            if app_id not in apps or apps[app_id].phase is Phase.ENDED
        ]
        return [found for app_id in ended if (found := self._end(now, app_id, apps, usage))]

    def waited(self, app: Application, now: float) -> float:
        """Return how long an application has waited that nobody held, since then."""
        return now - max(app.created, self._held.get(app.id, 0.0), self._queue_held)

    def order(self) -> list[str]:
        """Return the applications that are due, the first first."""
        return [app_id for app_id, _ in self.fair.order()]

    def expected(self, app: Application) -> Expected:
        """Return what an application is expected to be."""
        guess = self._guess(app)
        due = self.fair.virtual_finish(app.id) if app.id in self.fair else None
        return Expected(
            work=guess.work, low=guess.low, high=guess.high, due=due, came=self._came.get(app.id)
        )

    def _guess(self, app: Application) -> Estimate:
        first = self._first.get(app.id, 1000)
        key = app.user, app.template, first
        if key not in self._guesses:
            default = UNKNOWN_SECONDS * first / 1000
            self._guesses[key] = self.estimates.estimate(app.user, app.template, default)
        return self._guesses[key]

    def slack(self, due: float) -> float:
        """Return the seconds until virtual time reaches `due`, at its present pace."""
        pace = self.fair.cores / max(self.fair.weights, 1e-9)
        return (due - self.fair.virtual) / pace if pace else 0.0

    def _arrive(self, now: float, app: Application) -> None:
        job = Job(app.id, app.user, self._guess(app).work)
        try:
            self.fair.arrive(now, job, self.weights[app.user])
        except ValueError:  # it ran before, and what it owes isn't paid yet: it comes after that
            return
        self._apps[app.id] = app
        self._came[app.id] = self.fair.virtual

    def _leave(self, now: float, app_id: str) -> None:
        """Take out one that is held: it gathers no credit meanwhile."""
        self.fair.finish(now, app_id, 0.0)
        self._apps.pop(app_id, None)
        self._came.pop(app_id, None)

    def _charge(self, now: float, app: Application, used: float) -> None:
        more = used - self._charged.get(app.id, 0.0)
        self._charged[app.id] = used
        if more > 0:
            self.fair.charge(now, app.user, more, self.weights[app.user])

    def _end(
        self, now: float, app_id: str, apps: Mapping[str, Application], usage: Usage
    ) -> tuple[Application, Expected] | None:
        served = usage.of(app_id)
        app = apps.get(app_id) or self._apps.get(app_id)
        expected = self.expected(app) if app is not None else Expected()
        self.fair.finish(now, app_id, served)
        self._apps.pop(app_id, None)
        self._came.pop(app_id, None)
        if app is not None and served > 0:
            self.estimates = self.estimates.learned(app.user, app.template, served)
            self._guesses.clear()
        return (app, expected) if app is not None else None

    def state(self) -> dict[str, Any]:
        """Return all that has to outlive the program, as plain data."""
        return {
            "fair": self.fair.state(),
            "estimates": self.estimates.as_data(),
            "came": self._came,
            "charged": self._charged,
            "held": self._held,
            "queue_held": self._queue_held,
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Account:
        """Return the account that gave this state."""
        found = cls(FairQueue.restored(state["fair"]), Estimates.from_data(state["estimates"]))
        found._came = dict(state["came"])
        found._charged = dict(state["charged"])
        found._held = dict(state.get("held", {}))
        found._queue_held = state.get("queue_held", 0.0)
        return found


def _minute(now: float) -> float:
    """Return the present minute: the account isn't to be written for every second."""
    return now // 60 * 60
