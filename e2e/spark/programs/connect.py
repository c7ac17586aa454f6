"""Sessions of two users on one Connect server that has the plugin; prints the order they ran in."""

import functools
import json
import subprocess
import sys
from pathlib import Path

from scene import Scene, arguments, session, until

told = arguments()
spark = session(told)
scene = Scene(spark, told["folder"])
client = subprocess.Popen(
    [sys.executable, Path(__file__).with_name("connect_client.py"), told["url"], told["folder"]],
    stdin=subprocess.PIPE,
    text=True,
)


def query(user, name, seconds):
    print(user, name, seconds, file=client.stdin, flush=True)


def has(stages):
    return scene.waiting() >= stages


def over(user):
    return scene.count(user) == 4 and not scene.waiting()


for user, seconds in (("warm", 0), ("flood", told["flood_s"]), ("ann", 0)):
    query(user, user, seconds)
    until(functools.partial(over, user), f"{user}'s first query is over")
scene.close()
for user, name, seconds in (
    ("flood", "flood1", told["flood_s"]),
    ("flood", "flood2", told["flood_s"]),
    ("flood", "flood3", told["flood_s"]),
    ("ann", "ann1", 0),
):
    more = scene.waiting() + 1
    query(user, name, seconds)
    until(functools.partial(has, more), f"{name} waits")
waiting = scene.explain()
scene.open()
client.stdin.close()
code = client.wait()
spark.stop()
print(json.dumps({"started": scene.started(), "waiting": waiting, "code": code}))
