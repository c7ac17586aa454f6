"""Fair queueing among the users of one PySpark application, where no jar can be added.

The plugin's twin: `attach(spark)` does from Python, over py4j, what fairstow/spark/plugin does in
the driver's JVM, and `partitioning` cuts a session's next job into short tasks with either. One
file without dependencies, also for `spark-submit --py-files attach.py`; Python 3.8 or later, Spark
3.5 or 4.

It stands where Spark's own builder of pools stood. Spark calls it for each stage, holding its
scheduler's lock; the stage is always handed on, and gets as its priority the rank of its job in the
order of user-weighted fair queueing, derived in fairstow/spark/fair_queueing.py. What jobs really
got is read from Spark's status store twice a second, so ranks follow it at the next stage. Whatever
fails leaves Spark's own order, with one warning. A stage costs about 2 ms, more while other threads
keep Python's lock: where jars can be added, use the plugin.
"""

from __future__ import annotations

import re
import threading
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

GRACE_S = 3.0
UNKNOWN = 1.0
STREAMING = "(streaming)"
_LOOK_S = 0.5
_NEWEST = 0.3
_MOST = 5000
_REMEMBERED = 101
_UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_CONNECT = re.compile(
    f"(?:^|,)SparkConnect_OperationTag_User_([^,]*)_Session_{_UUID}_Operation_{_UUID}(?:,|$)"
)
_BUILDER = "org.apache.spark.scheduler.SchedulableBuilder"
_SCHEDULER = "org.apache.spark.scheduler.TaskSchedulerImpl"


class _Job:
    def __init__(self, user: _User, work: float, number: int) -> None:
        self.user, self.work, self.number = user, work, number
        self.deadline = user.attained + work
        self.served = self.finish = 0.0
        self.active = True
        self.over = False


class _User:
    def __init__(self, weight: float, seen: float) -> None:
        self.weight, self.seen = weight, seen
        self.attained = self.debt = self.departure = 0.0
        self.left = float("-inf")
        self.active = False
        self.unfinished = 0
        self.jobs: list[_Job] = []

    def put(self, job: _Job) -> None:
        self.jobs.append(job)
        self.jobs.sort(key=lambda each: (each.deadline, each.number))


class Queue:
    """User-weighted fair queueing: fairstow.spark.fair_queueing in brief, compared in tests."""

    def __init__(self, cores: float, now: float = 0.0) -> None:
        self.cores, self.now = cores, now
        self.virtual = self.weights = 0.0
        self.number = 0
        self.jobs: dict[str, _Job] = {}
        self.users: dict[str, _User] = {}

    def advance(self, now: float) -> None:
        """Let the fluid system run until `now`."""
        left, self.now = now - self.now, max(now, self.now)
        while left > 0 and self.cores:
            active = [user for user in self.users.values() if user.active]
            if not active:
                return
            following = min(active, key=lambda user: user.departure)
            needed = max(following.departure - self.virtual, 0.0) * self.weights / self.cores
            if needed > left:
                self.virtual += left * self.cores / self.weights
                return
            left -= needed
            self.virtual = max(self.virtual, following.departure)
            self._depart(following)

    def arrive(self, now: float, job_id: str, name: str, work: float, weight: float) -> None:
        """Add a job of so many core-seconds."""
        self.advance(now)
        user = self._settle(self.users.setdefault(name, _User(weight, self.virtual)))
        self._weigh(user, weight)
        self._activate(user)
        self.number += 1
        job = self.jobs[job_id] = _Job(user, work, self.number)
        user.unfinished += 1
        user.put(job)
        self._chain(user, self.virtual)

    def revise(self, now: float, job_id: str, work: float) -> None:
        """Say anew how much a job needs in all."""
        self.advance(now)
        job = self.jobs[job_id]
        user = self._settle(job.user)
        work, base = max(work, job.served), self.virtual
        if job.active:
            got = job.work - (job.deadline - user.attained)
            user.jobs.remove(job)
            job.deadline = user.attained + max(work - got, 0.0)
        elif work <= job.work:
            return
        else:
            if not user.active and self.virtual - user.left <= GRACE_S * self.cores / 2:
                base = user.left
            self._activate(user)
            job.active, job.deadline = True, user.attained + work - job.work
        job.work = work
        user.put(job)
        self._chain(user, base)

    def serve(self, now: float, job_id: str, core_s: float) -> None:
        """Say how much a job really got so far."""
        self.advance(now)
        job = self.jobs[job_id]
        job.served = max(job.served, core_s)
        excess = job.served - job.work
        if excess > 1e-9 * job.work:
            job.work = job.served
            user = self._settle(job.user)
            self._activate(user)
            user.debt += excess
            self._chain(user, self.virtual)
            paid = self.virtual + user.debt / user.weight
            for late in self.jobs.values():
                if late.user is user and not late.active:
                    late.finish = max(late.finish, paid)

    def end(self, now: float, job_id: str, core_s: float) -> None:
        """Take out a job that is over."""
        self.serve(now, job_id, core_s)
        job = self.jobs[job_id]
        user = self._settle(job.user)
        job.over = True
        user.unfinished -= 1
        given_back = min(job.work - job.served, job.deadline - user.attained)
        if job.active and given_back > 1e-9 * job.work:
            user.jobs.remove(job)
            job.deadline -= given_back
            user.put(job)
            self._chain(user, self.virtual, earlier_only=True)
        if not job.active:
            del self.jobs[job_id]
            self._forget(user)

    def reweigh(self, now: float, name: str, weight: float) -> None:
        """Change a user's weight."""
        self.advance(now)
        if name in self.users:
            user = self._settle(self.users[name])
            self._weigh(user, weight)
            self._chain(user, self.virtual)

    def resize(self, now: float, cores: float) -> None:
        """Change the number of cores."""
        self.advance(now)
        self.cores = cores

    def order(self) -> list[tuple[str, float]]:
        """Return (id, virtual finish) of all jobs that aren't over, the first to run first."""
        waiting = [
            (job.finish, job.number, each) for each, job in self.jobs.items() if not job.over
        ]
        return [(job_id, finish) for finish, _, job_id in sorted(waiting)]

    def _settle(self, user: _User) -> _User:
        service, user.seen = (self.virtual - user.seen) * user.weight, self.virtual
        if user.active and service > 0:
            paid = min(user.debt, service)
            user.debt -= paid
            if user.jobs:
                reached = user.attained + (service - paid) / len(user.jobs)
                user.attained = min(reached, user.jobs[0].deadline)
        return user

    def _weigh(self, user: _User, weight: float) -> None:
        if not 0 < weight < float("inf"):
            raise ValueError(f"weight is {weight}; it has to be a number over 0")
        self.weights += weight - user.weight if user.active else 0.0
        user.weight = weight

    def _activate(self, user: _User) -> None:
        if not user.active:
            others = any(each.active for each in self.users.values())
            user.active = True
            self.weights = self.weights + user.weight if others else user.weight

    def _chain(self, user: _User, base: float, *, earlier_only: bool = False) -> None:
        ahead = user.debt
        for job in user.jobs:
            ahead += job.deadline - user.attained
            finish = base + ahead / user.weight
            job.finish = min(job.finish, finish) if earlier_only else finish
        self._schedule(user)

    def _schedule(self, user: _User) -> None:
        first = (user.jobs[0].deadline - user.attained) * len(user.jobs) if user.jobs else 0.0
        user.departure = user.seen + (user.debt + max(first, 0.0)) / user.weight

    def _depart(self, user: _User) -> None:
        self._settle(user)
        user.debt = 0.0
        if user.jobs:
            user.attained = user.jobs[0].deadline
        gone = [job for job in user.jobs if job.deadline <= user.attained]
        user.jobs = user.jobs[len(gone) :]
        for job in gone:
            job.active = False
        self.jobs = {each: job for each, job in self.jobs.items() if job.active or not job.over}
        if user.jobs:
            self._schedule(user)
            return
        user.active, user.left, user.attained = False, self.virtual, 0.0
        others = any(each.active for each in self.users.values())
        self.weights = self.weights - user.weight if others else 0.0
        self._forget(user)

    def _forget(self, user: _User) -> None:
        if not user.active and not user.unfinished:
            self.users = {name: each for name, each in self.users.items() if each is not user}


def user_of(given: dict[str, str], spark_user: str) -> str:
    """Return whose stage it is, by the properties that came with it (the plugin's Identity)."""
    if "sql.streaming.queryId" in given or "spark.streaming.internal.batchTime" in given:
        return STREAMING
    connect = _CONNECT.search(given.get("spark.job.tags", ""))
    if connect:
        return connect.group(1)
    group = given.get("spark.jobGroup.id")
    broadcast = group and f"(runId {group})" in given.get("spark.job.description", "")
    return given.get("fairstow.user") or (not broadcast and group) or spark_user


_PROPERTIES = (
    "sql.streaming.queryId",
    "spark.streaming.internal.batchTime",
    "spark.job.tags",
    "fairstow.user",
    "fairstow.template",
    "spark.jobGroup.id",
    "spark.job.description",
    "spark.sql.execution.id",
    "spark.sql.execution.root.id",
)


class _Running:
    """A job with stages. Attributes: stages: what each took; managers: of those that run."""

    def __init__(self, queued: str, user: str, names: list[str], now: float) -> None:
        self.queued, self.user, self.names, self.seen = queued, user, names, now
        self.stages: dict[int, float] = {}
        self.bytes: dict[int, tuple[float, float]] = {}
        self.tasks = 0
        self.managers: dict[str, Any] = {}

    @property
    def served(self) -> float:
        return sum(self.stages.values())


class Attached:
    """Fair queueing in one application; made by `attach`."""

    def __init__(self, context: Any, weights: dict[str, float] | None) -> None:
        self._context = context
        self._spark = context._jsc.sc()
        self._scheduler = self._spark.taskScheduler()
        self._weights = dict(weights or {})
        self._queue = Queue(0.0, time.monotonic())
        self._running: dict[str, _Running] = {}
        self._past: dict[tuple[str, str], tuple[float, float, float]] = {}
        self._works: list[tuple[str, float]] = []
        self._number = 0
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._field = context._jvm.java.lang.Class.forName(_SCHEDULER).getDeclaredField(
            "schedulableBuilder"
        )
        self._field.setAccessible(True)
        self._stock = self._field.get(self._scheduler)
        self._user = context.sparkUser()

    def reweigh(self, user: str, weight: float) -> None:
        """Change a user's weight from now on."""
        with self._lock:
            self._queue.reweigh(time.monotonic(), user, weight)
            self._weights[user] = weight

    def explain(self) -> list[tuple[str, str, float]]:
        """Return (user, job, virtual finish from now in core-seconds) in the order they run."""
        with self._lock:
            self._queue.advance(time.monotonic())
            named = {run.queued: (run.user, name) for name, run in self._running.items()}
            virtual = self._queue.virtual
            return [(*named[each], finish - virtual) for each, finish in self._queue.order()]

    def detach(self) -> None:
        """Give Spark its own builder of pools back; stages that are there keep their place."""
        self._stopped.set()
        if self._spark.taskScheduler() is not None:
            self._field.set(self._scheduler, self._stock)

    def settings(self, user: str, template: str, target_s: float) -> dict[str, str]:
        """Return what `partitioning` sets; the plugin's RuntimePartitioning."""
        with self._lock:
            past = self._past.get((user, "template " + template))
            cores = int(self._queue.cores)
        return partition_settings(*past, target_s, cores) if past else {}

    # What Spark calls, as org.apache.spark.scheduler.SchedulableBuilder.

    def rootPool(self) -> Any:  # noqa: N802
        """Return Spark's root pool."""
        return self._stock.rootPool()

    def buildPools(self) -> None:  # noqa: N802
        """Leave it to Spark."""
        self._stock.buildPools()

    def addTaskSetManager(self, manager: Any, properties: Any) -> None:  # noqa: N802
        """Rank a stage, and hand it on whatever happens."""
        try:
            if not self._stopped.is_set():
                self._admit(manager, properties)
        except Exception as problem:  # noqa: BLE001 - Spark's scheduler must never see it
            self._give_up(problem)
        finally:
            self._stock.addTaskSetManager(manager, properties)

    class Java:
        """What py4j makes of it."""

        implements = [_BUILDER]  # noqa: RUF012 - py4j asks for a list

    def watch(self) -> None:
        """Follow what jobs really get, until detached or the application ends."""
        while not self._stopped.wait(_LOOK_S):
            try:
                if self._spark.isStopped():
                    return
                with self._lock:
                    runs = list(self._running.items())
                for name, run in runs:
                    self._look(name, run)
            except Exception as problem:  # noqa: BLE001 - whatever it is, Spark goes on
                if self._context._jsc is not None:
                    self._give_up(problem)
                return

    def _admit(self, manager: Any, properties: Any) -> None:
        given = {}
        for key in _PROPERTIES:
            value = properties.getProperty(key) if properties is not None else None
            if value is not None:
                given[key] = value
        stage, tasks = manager.stageId(), manager.numTasks()
        execution = given.get("spark.sql.execution.root.id", given.get("spark.sql.execution.id"))
        name = f"query {execution}" if execution else f"job {manager.taskSet().priority()}"
        profile = self._spark.resourceProfileManager().defaultResourceProfile()
        cores = self._spark.maxNumConcurrentTasks(profile)
        known = self._running.get(name)
        names = known.names if known else self._names(stage, given, execution)
        with self._lock:
            now = time.monotonic()
            if cores != self._queue.cores:
                self._queue.resize(now, cores)
            run = self._running.get(name)
            if run is None:
                run = self._arrive(now, name, user_of(given, self._user), names)
            elif run.served >= self._queue.jobs[run.queued].work:
                each = run.served / run.tasks if run.tasks else UNKNOWN
                self._queue.revise(now, run.queued, run.served + each * tasks)
            run.seen, run.tasks = now, run.tasks + tasks
            run.stages.setdefault(stage, 0.0)
            run.managers[manager.name()] = manager
            ranks = {queued: rank for rank, (queued, _) in enumerate(self._queue.order())}
            places = [
                (there, ranks[each.queued])
                for each in self._running.values()
                for there in each.managers.values()
            ]
        for there, rank in places:
            getattr(there, "priority_$eq")(rank)

    def _arrive(self, now: float, name: str, user: str, names: list[str]) -> _Running:
        self._number += 1
        run = _Running(f"{self._number} {name}", user, names, now)
        weight = self._weights.get(user, 1.0)
        self._queue.arrive(now, run.queued, user, self._estimate(user, names), weight)
        self._running[name] = run
        return run

    def _names(self, stage: int, given: dict[str, str], execution: str | None) -> list[str]:
        names = []
        if "fairstow.template" in given:
            names.append("template " + given["fairstow.template"])
        found = self._spark.dagScheduler().stageIdToStage().get(stage)
        if found.isDefined() and not execution:
            names.append("site " + found.get().name())
        return names

    def _estimate(self, user: str, names: list[str]) -> float:
        for name in names:
            if (user, name) in self._past:
                return self._past[user, name][0]
        works = [work for whose, work in self._works if whose == user]
        works = sorted(works or [work for _, work in self._works]) or [UNKNOWN]
        middle = len(works) // 2
        return works[middle] if len(works) % 2 else (works[middle - 1] + works[middle]) / 2

    def _look(self, name: str, run: _Running) -> None:
        """Read what a job got; it is over when none of its stages ran for a while."""
        # The JVM is asked before the lock is taken, for which Spark's scheduler may wait.
        with self._lock:
            stages, managers = list(run.stages), list(run.managers.items())
        found = {stage: data for stage in stages for data in self._told_of(stage)}
        took = {stage: data.executorRunTime() / 1e3 for stage, data in found.items()}
        moved = {
            stage: (data.inputBytes(), data.shuffleWriteBytes()) for stage, data in found.items()
        }
        gone = [name for name, each in managers if each.isZombie() and not each.runningTasks()]
        with self._lock:
            now = time.monotonic()
            run.stages.update(took)
            run.bytes.update(moved)
            for each in gone:
                del run.managers[each]
            if run.managers:
                run.seen = now
            self._queue.serve(now, run.queued, run.served)
            if now - run.seen > GRACE_S:
                del self._running[name]
                self._queue.end(now, run.queued, run.served)
                self._learn(run)

    def _told_of(self, stage: int) -> list[Any]:
        """Return what Spark's status store has of a stage; it forgets old ones."""
        try:
            return [self._spark.statusStore().lastStageAttempt(stage)]
        except Exception:  # noqa: BLE001 - py4j has no name for it without being imported
            return []

    def _learn(self, run: _Running) -> None:
        if run.served <= 0:
            return
        found = (run.served, *map(sum, zip(*run.bytes.values())))  # noqa: B905 - Python 3.8
        for name in run.names:
            old = self._past.pop((run.user, name), found)
            mean = tuple(was + _NEWEST * (is_ - was) for was, is_ in zip(old, found))  # noqa: B905 - Python 3.8
            self._past[run.user, name] = mean  # type: ignore[assignment]
        while len(self._past) > _MOST:
            del self._past[next(iter(self._past))]
        self._works = [*self._works, (run.user, run.served)][-_REMEMBERED:]

    def _give_up(self, problem: Exception) -> None:
        if not self._stopped.is_set():
            self._stopped.set()
            warnings.warn(
                "Fairstow can't order this application's stages any more; they run in Spark's own "
                f"order until the application ends: {problem!r}",
                RuntimeWarning,
                stacklevel=2,
            )


def attach(spark: Any, weights: dict[str, float] | None = None) -> Attached | None:
    """Order the stages of a SparkSession's or SparkContext's application by user.

    Args:
        spark: a session or context of classic PySpark, whose driver is this process.
        weights: by user; 1 for those left out.

    Returns: what `detach`es it; None, with a warning, where this Spark can't be had.
    """
    context = getattr(spark, "sparkContext", spark)
    try:
        from pyspark.java_gateway import ensure_callback_server_started

        if context._jsc.sc().conf().get("spark.scheduler.mode", "FIFO").upper() != "FIFO":
            raise ValueError("spark.scheduler.mode isn't FIFO, so Spark ignores priorities")
        ensure_callback_server_started(context._gateway)
        attached = Attached(context, weights)
        attached._field.set(attached._scheduler, attached)
    except Exception as problem:  # noqa: BLE001 - whatever it is, Spark goes on
        warnings.warn(
            "Fairstow can't order the stages of this Spark; they run in its own order: "
            f"{problem!r}",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    threading.Thread(target=attached.watch, name="fairstow", daemon=True).start()
    return attached


def partition_settings(
    work: float, scanned: float, shuffled: float, target_s: float, cores: int
) -> dict[str, str]:
    """Return session settings that cut such a job into tasks of about `target_s` for the cores.

    The formulas of fairstow/spark/partitioning.py, where they are explained.
    """
    if not (work > 0 and scanned > 0 and target_s > 0):
        return {}
    for_cores = min(cores, int(work / 0.1 + 1e-9))
    tasks = min(max(-int(-(work / target_s - 1e-9) // 1), for_cores, 1), 10_000)

    def size(whole: float) -> str:
        return str(max(-int(-whole // tasks), 64 * 1024))

    found = {
        "spark.sql.files.maxPartitionBytes": size(scanned),
        "spark.sql.files.minPartitionNum": str(tasks),
        "spark.sql.files.openCostInBytes": "0",
    }
    if shuffled > 0:
        found["spark.sql.adaptive.advisoryPartitionSizeInBytes"] = size(shuffled)
        found["spark.sql.adaptive.coalescePartitions.minPartitionNum"] = str(tasks)
        found["spark.sql.adaptive.coalescePartitions.parallelismFirst"] = "false"
    return found


@contextmanager
def partitioning(
    spark: Any,
    user: str,
    template: str,
    target_s: float = 0.5,
    attached: Attached | None = None,
) -> Iterator[dict[str, str]]:
    """While in it, a session's jobs of a known template are cut into tasks of about `target_s`.

    What is known comes from `attached`, else from the plugin in the driver. The first run of a
    template finds nothing known and sets nothing. The session's settings come back afterwards.
    """
    if attached is not None:
        found = attached.settings(user, template, target_s)
    else:
        told = spark.sparkContext._jvm.dev.fairstow.spark.FairSchedulingPlugin
        found = dict(told.partitioning(user, template, target_s))
    before = {key: spark.conf.get(key, None) for key in found}
    try:
        for key, value in found.items():
            spark.conf.set(key, value)
        yield found
    finally:
        for key, value in before.items():
            if value is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, value)
