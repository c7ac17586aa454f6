"""Runs queries of several users on a Connect server, as told line by line on standard input."""

import os
import sys
import threading
import time

from pyspark.sql import SparkSession
from pyspark.sql.functions import udf

url, folder = sys.argv[1:]
sessions, threads = {}, []


def says(name, seconds):
    path = f"{folder}/started"

    def say(given):
        with open(path, "a") as file:
            file.write(name + "\n")
        time.sleep(seconds)
        return given

    return say


def run(user, name, seconds):
    if user not in sessions:
        sessions[user] = SparkSession.builder.remote(f"{url}/;user_id={user}").create()
    rows = sessions[user].range(0, 4, 1, 4)
    rows.select(udf(says(name, seconds), "long")("id")).collect()


for line in sys.stdin:
    user, name, seconds = line.split()
    threads.append(threading.Thread(target=run, args=(user, name, float(seconds))))
    threads[-1].start()
for thread in threads:
    thread.join()
print("all queries are over", file=sys.stderr, flush=True)
# Threads of gRPC may outlive the sessions.
os._exit(0)
