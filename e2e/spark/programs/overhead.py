"""Runs tiny jobs in turns with the plugin's builder and Spark's own; prints what they took."""

import json
import statistics
import time

from scene import Scene, arguments, session

told = arguments()
spark = session(told)
context = spark.sparkContext
scene = Scene(spark, told["folder"])
found = context._jvm.java.lang.Class.forName("org.apache.spark.scheduler.TaskSchedulerImpl")
field = found.getDeclaredField("schedulableBuilder")
field.setAccessible(True)
ours = field.get(scene.scheduler)
inner = ours.getClass().getDeclaredField("stock")
inner.setAccessible(True)
builders = {"plugin": ours, "stock": inner.get(ours)}
data = context._jsc.parallelize([1, 2], 2)


def tiny(name):
    """Run one job by a builder; return its seconds."""
    field.set(scene.scheduler, builders[name])
    began = time.perf_counter()
    data.count()
    return time.perf_counter() - began


def turns(count):
    took = {name: [] for name in builders}
    for number in range(count):
        for name in list(builders)[:: 1 if number % 2 else -1]:
            took[name].append(tiny(name))
    return took


turns(told["jobs"] // 2)
before = scene.plugin.decisions().getCount()
took = turns(told["jobs"])
field.set(scene.scheduler, ours)
timer = scene.plugin.decisions()
snapshot = timer.getSnapshot()
few = {
    "stages": timer.getCount() - before,
    "mean_ms": snapshot.getMean() / 1e6,
    "median_ms": snapshot.getMedian() / 1e6,
    "p99_ms": snapshot.get99thPercentile() / 1e6,
}
scene.close()
for number in range(told["waiting"]):
    scene.job(f"job{number}", **{"fairstow.user": f"user{number % 10}"})
slowest = timer.getSnapshot().getMax() / 1e6
scene.open()
spark.stop()
tiny_ms = {name: 1e3 * statistics.median(each) for name, each in took.items()}
print(json.dumps({"tiny_ms": tiny_ms, "jobs": told["jobs"], "few": few, "slowest_ms": slowest}))
