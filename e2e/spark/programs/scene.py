"""A Spark application whose jobs wait behind a gate, so that the order they run in can be seen.

Imported by the programs beside it, in Spark's own Python. Every task says its job's name when it
starts; two tasks hold both cores until the gate opens, when all jobs have arrived in a known order.
"""

import importlib.util
import json
import os
import sys
import time

from pyspark import InheritableThread
from pyspark.sql import SparkSession

CORES = 2
DEADLINE_S = 120


def arguments():
    return json.loads(sys.argv[1])


def session(told, master="local[2]"):
    builder = SparkSession.builder.master(told.get("master", master)).appName("scene")
    for key, value in told["conf"].items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def until(true, what):
    end = time.monotonic() + DEADLINE_S
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)


def load(path):
    """Return the twin's module, from its one file."""
    spec = importlib.util.spec_from_file_location("attach", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Scene:
    """Jobs of users in threads of their own; `twin` is what the twin attached, if it did."""

    def __init__(self, spark, folder, twin=None):
        self.twin = twin
        self.spark = spark
        self.context = spark.sparkContext
        self.scheduler = self.context._jsc.sc().taskScheduler()
        self.gate = os.path.join(folder, "gate")
        self.path = os.path.join(folder, "started")
        open(self.path, "w").close()
        self.threads = []
        self.problems = []

    def reweigh(self, user, weight):
        (self.twin or self.plugin).reweigh(user, weight)

    @property
    def plugin(self):
        return self.context._jvm.dev.fairstow.spark.FairSchedulingPlugin

    def explain(self):
        """Jobs in the order decided, once all that ended was heard of."""
        if self.twin:
            return self.twin.explain()
        self.context._jsc.sc().listenerBus().waitUntilEmpty()
        return [line.split("\t") for line in self.plugin.explain()]

    def says(self, name, seconds=0.0):
        """Return what a task runs: it says its job's name, and takes that long."""
        path = self.path

        def say(given=None):
            with open(path, "a") as file:
                file.write(name + "\n")
            time.sleep(seconds)
            return given

        return say

    def started(self):
        """Names of jobs by their first task."""
        with open(self.path) as file:
            return list(dict.fromkeys(file.read().split()))

    def close(self):
        """Hold both cores, and forget what started before."""
        gate, says = self.gate, self.says("plug")

        def hold(_):
            says()
            while not os.path.exists(gate):
                time.sleep(0.02)

        self._begin({"fairstow.user": "plug"}, lambda: self._tasks(CORES, hold))
        until(lambda: self.count("plug") == CORES, "both cores are held")
        open(self.path, "w").close()

    def open(self):
        """Let all run to their end."""
        open(self.gate, "w").close()
        self.done()
        if self.problems:
            raise self.problems[0]

    def count(self, name):
        """How many tasks of a job have started."""
        with open(self.path) as file:
            return file.read().split().count(name)

    def job(self, name, seconds=0.0, **properties):
        """A job of four tasks arrives."""
        self._begin(properties, lambda: self._tasks(4, self.says(name, seconds)))

    def query(self, run, **properties):
        """An SQL query arrives."""
        self._begin(properties, run)

    def done(self):
        """Wait for the jobs that arrived, before the gate was closed."""
        for thread in self.threads:
            thread.join(DEADLINE_S)
        self.threads.clear()

    def _tasks(self, count, run):
        self.context.parallelize(range(count), count).foreach(run)

    def _begin(self, properties, run):
        def body():
            try:
                for key, value in properties.items():
                    self.context.setLocalProperty(key, value)
                run()
            except Exception as problem:  # noqa: BLE001 - told by whoever waits
                self.problems.append(problem)

        before = self.waiting()
        thread = InheritableThread(target=body)
        thread.start()
        self.threads.append(thread)
        until(
            lambda: self.problems or not thread.is_alive() or self.waiting() > before,
            f"{before + 1} stages",
        )

    def waiting(self):
        """How many stages Spark's scheduler has."""
        there = list(self.scheduler.rootPool().schedulableQueue().toArray())
        pools = [one for one in there if one.getClass().getSimpleName() == "Pool"]
        return len(there) - len(pools) + sum(pool.schedulableQueue().size() for pool in pools)
