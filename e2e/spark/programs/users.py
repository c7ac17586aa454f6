"""Small jobs of several users, and a stream, beside one user's flood; prints the order they ran in.

All arrive while both cores are held, after each kind of job ran once.
"""

import json
import time
from pathlib import Path

from pyspark.sql.functions import count, udf
from scene import Scene, arguments, load, session, until

told = arguments()
spark = session(told)
jvm = spark.sparkContext._jvm
twin = load(told["twin"]).attach(spark) if "twin" in told else None
scene = Scene(spark, told["folder"], twin)
ours = twin or (
    "spark.plugins" in told["conf"] and jvm.dev.fairstow.spark.FairSchedulingPlugin.isActive()
)

GROUP = {"spark.jobGroup.id": "flood"}
FLOOD = GROUP | {"fairstow.template": "flood"}
# A job group is whose it is, unless a user is told.
BOB = GROUP | {"fairstow.user": "bob", "fairstow.template": "small"}


def query():
    says = udf(scene.says("query"), "long")
    rows = spark.range(0, 8, 1, 4).select(says("id").alias("id"))
    assert rows.groupBy((rows.id % 2).alias("half")).agg(count("*")).count() == 2


def builder():
    """What adds stages to Spark's pools."""
    found = jvm.java.lang.Class.forName("org.apache.spark.scheduler.TaskSchedulerImpl")
    field = found.getDeclaredField("schedulableBuilder")
    field.setAccessible(True)
    return field.get(scene.scheduler).getClass().getSimpleName()


# Whoever is first pays for what is started then; that isn't what their jobs take.
scene.job("warm", **{"fairstow.user": "warm"})
scene.query(query, **{"fairstow.user": "warm"})
scene.done()
# What is expected of the small ones is what they take now, more on a busy machine. A flood's job
# is four tasks, a small one takes two cores at most: so this is twice as much, whatever they take.
began = time.monotonic()
scene.job("bob", **BOB)
scene.query(query, **{"fairstow.user": "query"})
scene.done()
task = max(told["flood_s"], time.monotonic() - began)
scene.job("flood", task, **FLOOD)
scene.done()
stream = (
    spark.readStream.format("rate-micro-batch")
    .option("rowsPerBatch", 4)
    .option("numPartitions", 2)
    .load()
    .select(udf(scene.says("stream"), "long")("value"))
    .writeStream.format("noop")
    .option("checkpointLocation", str(Path(told["folder"]) / "checkpoint"))
    .start()
)
until(lambda: scene.count("stream"), "a batch")
scene.close()
until(lambda: scene.waiting() == 2, "the stream waits")
for name in ("flood1", "flood2", "flood3"):
    scene.job(name, task, **FLOOD)
for name in ("bob1", "bob2"):
    scene.job(name, **BOB)
scene.job("application")
scene.query(query, **{"fairstow.user": "query"})
waiting = scene.explain() if ours else []
lighter = []
if ours:
    scene.reweigh("flood", 0.5)
    lighter = scene.explain()
scene.open()
stream.stop()
result = {
    "started": scene.started(),
    "waiting": waiting,
    "lighter": lighter,
    "during": builder(),
}
if ours:
    until(lambda: not scene.explain(), "no job is kept")
if twin:
    twin.detach()
spark.stop()
result["restored"] = builder()
result["left"] = bool(ours and not twin and scene.plugin.isActive())
print(json.dumps(result))
