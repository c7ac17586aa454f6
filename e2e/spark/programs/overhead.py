"""Runs tiny jobs in turns with the plugin's builder and Spark's own; prints what blocks took."""

import json
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


def block(builder):
    field.set(scene.scheduler, builder)
    began = time.perf_counter()
    for _ in range(told["jobs"]):
        data.count()
    return time.perf_counter() - began


for builder in builders.values():
    block(builder)
before = scene.plugin.decisions().getCount()
blocks = {name: [] for name in builders}
for number in range(told["blocks"]):
    order = list(builders) if number % 2 else list(builders)[::-1]
    for name in order:
        blocks[name].append(block(builders[name]))
field.set(scene.scheduler, ours)
timer = scene.plugin.decisions()
snapshot = timer.getSnapshot()
few = {
    "stages": timer.getCount() - before,
    "mean_ms": snapshot.getMean() / 1e6,
    "p99_ms": snapshot.get99thPercentile() / 1e6,
}
scene.close()
for number in range(told["waiting"]):
    scene.job(f"job{number}", **{"fairstow.user": f"user{number % 10}"})
many = timer.getSnapshot()
scene.open()
spark.stop()
print(json.dumps({"blocks": blocks, "few": few, "many": {"slowest_ms": many.getMax() / 1e6}}))
