"""Runs a program of programs/ as a Spark driver with stock PySpark, and returns what it printed.

Called by the tests here, the benchmark of Spark and its demo. A program gets its arguments as one
JSON object and prints its result as the last line.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from e2e.engines import environments
from tools import spark_plugin

PROGRAMS = Path(__file__).parent / "programs"
CLASS = "dev.fairstow.spark.FairSchedulingPlugin"
LIMIT_S = 240.0


class FailedError(Exception):
    """A driver ended with an error; the message has what it said."""


def with_plugin(*more: Path, plugin: str = CLASS) -> dict[str, str]:
    """Return the settings by which Spark loads the plugin, and jars besides."""
    jars = ",".join(map(str, (spark_plugin.plugin(), *more)))
    return {"spark.jars": jars, "spark.plugins": plugin}


def run(
    program: str,
    folder: Path,
    line: str = "4",
    conf: dict[str, str] | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """Run a program to its end and return its result; its log, in `folder`, under "log"."""
    log = folder / f"{program}.log"
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
    }
    told = json.dumps({"folder": str(folder), "conf": settings | (conf or {}), **arguments})
    python = environments.spark(line)
    environ = os.environ | {
        "JAVA_HOME": str(spark_plugin.jdk()),
        "PYSPARK_PYTHON": str(python),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    environ.pop("SPARK_HOME", None)
    with log.open("w") as errors:
        done = subprocess.run(
            [str(python), str(PROGRAMS / f"{program}.py"), told],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            timeout=LIMIT_S,
            check=False,
            env=environ,
            cwd=folder,
        )
    said = log.read_text()
    if done.returncode:
        raise FailedError(f"{program} ended with {done.returncode}:\n{said[-5000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result | {"log": said}


def needed(*lines: str) -> None:
    """Install Spark, build the plugin; skip the test where that can't be, and say why."""
    try:
        spark_plugin.jdk()
        for line in lines or ("4",):
            environments.spark(line)
        spark_plugin.plugin()
    except (spark_plugin.NoJdkError, environments.InstallError) as error:
        pytest.skip(f"no Spark: {error}")
