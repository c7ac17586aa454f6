"""Plays jobs of users at their times; prints when each came and ended, and when its tasks ran.

A task holds its slot by sleeping, so that what is measured is who gets a slot, on any machine.
"""

import json
import os
import threading
import time

from pyspark import InheritableThread
from scene import arguments, load, session

told = arguments()
spark = session(told)
context = spark.sparkContext
if "twin" in told:
    load(told["twin"]).attach(spark)
path = os.path.join(told["folder"], "tasks")
open(path, "w").close()
ended, lock = [], threading.Lock()


def play(job, began):
    for key, value in job["properties"].items():
        context.setLocalProperty(key, value)
    name, seconds = job["name"], job["seconds"]

    def task(_):
        at = time.time()
        time.sleep(seconds)
        with open(path, "a") as file:
            file.write(f"{name} {at} {time.time()}\n")

    came = time.time()
    context.parallelize(range(job["tasks"]), job["tasks"]).foreach(task)
    with lock:
        ended.append(
            {"name": name, "user": job["user"], "came": came - began, "ended": time.time() - began}
        )


def all_of(jobs, began):
    threads = []
    for job in sorted(jobs, key=lambda job: job["at"]):
        time.sleep(max(0.0, began + job["at"] - time.time()))
        threads.append(InheritableThread(target=play, args=(job, began)))
        threads[-1].start()
    for thread in threads:
        thread.join()


all_of(told["warm"], time.time())
ended.clear()
# Debts of being the first are paid, and the twin has heard of all that ended.
time.sleep(5)
open(path, "w").close()
began = time.time()
all_of(told["jobs"], began)
with open(path) as file:
    tasks = [line.split() for line in file]
spark.stop()
print(
    json.dumps(
        {
            "jobs": ended,
            "tasks": [
                {"name": name, "from": float(start) - began, "to": float(end) - began}
                for name, start, end in tasks
            ],
        }
    )
)
