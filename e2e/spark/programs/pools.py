"""Three users' jobs in FAIR mode, in pools of their own or none; prints the order they ran in."""

import json

from scene import Scene, arguments, session

told = arguments()
spark = session(told)
scene = Scene(spark, told["folder"])
scene.close()


def arrive(name, user, **more):
    pool = {"spark.scheduler.pool": user} if told["pools"] else {"fairstow.user": user}
    scene.job(name, told["seconds"], **(pool | more))


for name in ("ann1", "ben1", "ann2", "ben2", "ann3", "ben3", "zoe1"):
    arrive(name, name[:-1])
if not told["pools"]:
    scene.job("own", **{"spark.scheduler.pool": "own"})
pools = {
    pool.name(): pool.schedulableQueue().size()
    for pool in scene.scheduler.rootPool().schedulableQueue().toArray()
}
scene.open()
spark.stop()
print(json.dumps({"started": scene.started(), "pools": pools}))
