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


def prepared(job):
    """Return a job's tasks, all but handed in: what Python needs for that is nobody's response."""
    name, seconds = job["name"], job["seconds"]

    def task(_):
        at = time.time()
        time.sleep(seconds)
        with open(path, "a") as file:
            file.write(f"{name} {at} {time.time()}\n")

    return context.parallelize(range(job["tasks"]), job["tasks"]).map(task)._jrdd


def play(job, tasks, began):
    for key, value in job["properties"].items():
        context.setLocalProperty(key, value)
    came = time.time()
    tasks.count()
    with lock:
        ended.append(
            {
                "name": job["name"],
                "user": job["user"],
                "came": came - began,
                "ended": time.time() - began,
            }
        )


def all_of(jobs):
    jobs = [(job, prepared(job)) for job in sorted(jobs, key=lambda job: job["at"])]
    began = time.time()
    threads = []
    for job, tasks in jobs:
        time.sleep(max(0.0, began + job["at"] - time.time()))
        threads.append(InheritableThread(target=play, args=(job, tasks, began)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return began


all_of(told["warm"])
ended.clear()
# Debts of being the first are paid, and the twin has heard of all that ended.
time.sleep(5)
open(path, "w").close()
began = all_of(told["jobs"])
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
