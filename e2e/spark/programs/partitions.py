"""Runs a query over a file, then asks into how many tasks the same would be cut; prints both."""

import json
import time
from pathlib import Path

from pyspark.sql.functions import udf
from scene import arguments, load, session, until

told = arguments()
spark = session(told)
module = load(told["attach"])
attached = module.attach(spark) if told["twin"] else None
lines = Path(told["folder"]) / "lines"
lines.write_text(("x" * 199 + "\n") * 3000)
SETTING = "spark.sql.files.maxPartitionBytes"


def slow(text):
    time.sleep(0.001)
    return len(text)


def rows():
    return spark.read.text(str(lines)).select(udf(slow, "long")("value"))


def cut():
    with module.partitioning(spark, "ann", "slow", 0.5, attached) as settings:
        return settings, rows().rdd.getNumPartitions()


spark.sparkContext.setLocalProperty("fairstow.user", "ann")
spark.sparkContext.setLocalProperty("fairstow.template", "slow")
before = spark.conf.get(SETTING)
unknown, whole = cut()
rows().write.format("noop").mode("overwrite").save()
until(lambda: cut()[0], "the query is known")
settings, parts = cut()
result = {"unknown": unknown, "whole": whole, "settings": settings, "parts": parts}
result["restored"] = spark.conf.get(SETTING) == before
spark.stop()
print(json.dumps(result))
