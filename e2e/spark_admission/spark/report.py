"""A job with a shuffle, again and again until as many executors as asked have had a part in it.

Run in a driver's pod; prints one line of JSON. Standard library and PySpark only.
"""

import json
import os
import sys
import time
from operator import add

from pyspark.sql import SparkSession

TASKS = 8
LIMIT_S = 120


def part(number: int) -> tuple[str, int]:
    """Compute for a moment, and say where."""
    time.sleep(0.5)
    return os.environ["SPARK_EXECUTOR_ID"], number


def main() -> None:
    """See the module."""
    wanted, deadline = int(sys.argv[1]), time.monotonic() + LIMIT_S
    spark = SparkSession.builder.getOrCreate()
    context = spark.sparkContext
    seen: set[str] = set()
    rounds = 0
    while not rounds or (len(seen) < wanted and time.monotonic() < deadline):
        rounds += 1
        numbers = context.parallelize(range(TASKS), TASKS)
        counts = dict(numbers.map(part).reduceByKey(add, 2).collect())
        assert sum(counts.values()) == sum(range(TASKS)), counts
        seen |= counts.keys()
    builder = context._jsc.sc().taskScheduler().schedulableBuilder().getClass().getName()
    found = {"executors": len(seen), "rounds": rounds, "builder": builder}
    print("FOUND", json.dumps(found), flush=True)
    spark.stop()


main()
