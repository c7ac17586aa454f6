"""Fair queueing inside Spark, all other cases: both lines of Spark, the twin, FAIR mode, Connect.

Covered, all in the full suite: Spark 3.5 and 4, with the plugin's one jar and with the Python twin;
executors in processes of their own; users of a Connect server; a plugin that can't be had: Spark's
own order and one warning; FAIR mode with the trap of stock pools (ties go by the pool's name, so
that who comes last in the alphabet starves), users' own pools left alone; short tasks for a query
that is known. Not covered: YARN; Connect behind an authenticating proxy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e.engines.environments import SPARKS, spark
from e2e.engines.ports import free_ports
from e2e.spark import application
from fairstow.spark import attach
from tools import spark_plugin

pytestmark = pytest.mark.full

# A task of the flood, at the least: longer where the small ones' first runs took longer.
FLOOD_S = 2.0
SMALL = ("bob1", "bob2", "application", "query", "stream")


def before_the_flood(ran: dict[str, Any]) -> bool:
    started = ran["started"]
    return all(started.index(small) < started.index("flood3") for small in SMALL)


@pytest.mark.parametrize("line", SPARKS)
@pytest.mark.parametrize("master", ["local[2]", "local-cluster[2,1,1024]"])
def test_the_plugin_on_every_line(tmp_path: Path, line: str, master: str) -> None:
    application.needed(line)
    conf = application.with_plugin()
    ran = application.run("users", tmp_path, line, conf, master=master, flood_s=FLOOD_S)
    assert before_the_flood(ran)
    assert (ran["during"], ran["left"]) == ("FairBuilder", False)


@pytest.mark.parametrize("line", SPARKS)
def test_the_twin_on_every_line(tmp_path: Path, line: str) -> None:
    application.needed(line)
    ran = application.run("users", tmp_path, line, twin=attach.__file__, flood_s=FLOOD_S)
    assert before_the_flood(ran)
    assert "Proxy" in ran["during"]
    assert ran["restored"] == "FIFOSchedulableBuilder"


@pytest.mark.parametrize("line", SPARKS)
def test_without_either_the_flood_goes_first(tmp_path: Path, line: str) -> None:
    application.needed(line)
    started = application.run("users", tmp_path, line, flood_s=FLOOD_S)["started"]
    assert started.index("flood3") < started.index("bob1")


def test_a_spark_that_cannot_be_had_keeps_its_own_order(tmp_path: Path) -> None:
    application.needed()
    classes = tmp_path / "classes"
    classes.mkdir()
    renamed = Path(__file__).with_name("java") / "Renamed.java"
    classpath = f"{spark_plugin.plugin()}:{spark_plugin.jars(spark())}/*"
    spark_plugin.compile_java([renamed], classpath, classes)
    spark_plugin.pack(classes, tmp_path / "renamed.jar")
    conf = application.with_plugin(
        tmp_path / "renamed.jar", plugin="dev.fairstow.spark.test.Renamed"
    )
    ran = application.run("users", tmp_path, conf=conf, flood_s=FLOOD_S)
    assert ran["started"].index("flood3") < ran["started"].index("bob1")
    assert ran["log"].count("Fairstow can't order the stages of this Spark") == 1
    assert ran["during"] == "FIFOSchedulableBuilder"


def test_users_of_a_connect_server(tmp_path: Path) -> None:
    application.needed()
    (port,) = free_ports(1)
    conf = application.with_plugin(
        plugin=f"org.apache.spark.sql.connect.SparkConnectPlugin,{application.CLASS}"
    )
    conf |= {"spark.connect.grpc.binding.port": str(port)}
    ran = application.run(
        "connect", tmp_path, conf=conf, url=f"sc://127.0.0.1:{port}", flood_s=FLOOD_S
    )
    assert {user for user, *_ in ran["waiting"]} == {"plug", "flood", "ann"}
    assert ran["started"].index("ann1") < ran["started"].index("flood2")
    assert ran["code"] == 0


def test_in_fair_mode_stock_pools_starve_the_last_of_the_alphabet(tmp_path: Path) -> None:
    application.needed()
    conf = {"spark.scheduler.mode": "FAIR"}
    ran = application.run("pools", tmp_path, conf=conf, pools=True, seconds=0.2)
    assert ran["started"][-1] == "zoe1"


def test_in_fair_mode_stages_without_a_pool_share_one(tmp_path: Path) -> None:
    application.needed()
    conf = application.with_plugin() | {"spark.scheduler.mode": "FAIR"}
    ran = application.run("pools", tmp_path, conf=conf, pools=False, seconds=0.2)
    assert ran["started"].index("zoe1") < ran["started"].index("ann3")
    assert ran["pools"] == {"default": 0, "fairstow": 8, "own": 1}


@pytest.mark.parametrize("twin", [False, True], ids=["plugin", "twin"])
def test_a_known_query_is_cut_into_short_tasks(tmp_path: Path, twin: bool) -> None:
    application.needed()
    conf = {} if twin else application.with_plugin()
    ran = application.run("partitions", tmp_path, conf=conf, attach=attach.__file__, twin=twin)
    assert (ran["unknown"], ran["whole"]) == ({}, 1)
    # Three seconds of sleep at the least, in tasks of half a second.
    tasks = int(ran["settings"]["spark.sql.files.minPartitionNum"])
    assert tasks >= 6
    assert ran["parts"] in (tasks, tasks + 1)
    assert ran["restored"]
