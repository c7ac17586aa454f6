"""What of the plugin needs no Spark, compiled once; programs that answer about it line by line."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tools import spark_plugin

PLUGIN = spark_plugin.SOURCES / "dev" / "fairstow" / "spark"
OF_SPARK = {"Accounting", "FairBuilder", "FairSchedulingPlugin"}
Asked = Callable[[str], str]


@pytest.fixture(scope="session")
def java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Asked]]:
    """Return what starts a program of this folder and returns how to ask it."""
    try:
        home = spark_plugin.jdk()
    except spark_plugin.NoJdkError as error:
        pytest.skip(str(error))
    classes = tmp_path_factory.mktemp("classes")
    sources = [source for source in PLUGIN.glob("*.java") if source.stem not in OF_SPARK]
    sources += Path(__file__).parent.glob("*.java")
    spark_plugin.compile_java(sources, str(classes), classes)

    with ExitStack() as running:

        def start(name: str) -> Asked:
            command = [
                str(home / "bin" / "java"),
                "-cp",
                str(classes),
                f"dev.fairstow.spark.{name}",
            ]
            program = running.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            assert program.stdin is not None
            running.callback(program.stdin.close)

            def ask(line: str) -> str:
                assert program.stdin is not None
                assert program.stdout is not None
                program.stdin.write(line + "\n")
                program.stdin.flush()
                return program.stdout.readline().rstrip("\n")

            return ask

        yield start
