"""`pools --serving` and `migrations`: tables, the picture, what is printed while watching.

Golden text; objects as an API server has them. Not covered: a real one (e2e/serving).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pytest

from fairstow.cli import serving_pools
from fairstow.cli.objects import read
from fairstow.cli.serving_pools import Pool, drawn, engine_table, migration_table
from tests.cli.program import run

ENGINES = """\
POOL        ENGINE  STATE     RUN  WAIT  MEMORY  FREENESS  CLASS
chat/llama  pod-a   Serving     3     1    42 %        87  w1
chat/llama  pod-b   Starting    0     0       -         -  -"""
MOVES = """\
POOL        REQUEST  FROM   TO     HOW         WHY    TOKENS  PAUSE  WHEN
chat/llama  r1       pod-a  pod-b  copied      Drain     512  21 ms  60s ago
chat/llama  r2       -      pod-b  recomputed  -           0      -  59s ago
chat/llama  r3       pod-a  pod-b  under way   -         700      -  0s ago"""
NOW = 1_767_225_660.0


def raw(*more: dict[str, Any]) -> msgspec.Raw:
    pool = {
        "metadata": {"name": "llama", "namespace": "chat", "resourceVersion": "7"},
        "spec": {"engines": {}},
        "status": {
            "engines": [
                {"pod": "pod-a", "state": "Serving", "running": 3, "waiting": 1,
                 "memoryPermille": 420, "freenessSteps": 87, "compatibility": "w1"},
                {"pod": "pod-b", "state": "Starting", "running": 0, "waiting": 0},
            ],
            "migrations": [
                {"time": "2026-01-01T00:00:00.250Z", "request": "r1", "from": "pod-a",
                 "to": "pod-b", "outcome": "Copied", "reason": "Drain", "tokens": 512,
                 "pauseMilliseconds": 21},
                {"time": "2026-01-01T00:00:01.000Z", "request": "r2", "to": "pod-b",
                 "outcome": "Recomputed"},
                {"time": "2026-01-01T00:01:00.000Z", "request": "r3", "from": "pod-a",
                 "to": "pod-b", "outcome": "UnderWay", "tokens": 700},
                *more,
            ],
        },
    }  # fmt: skip
    return msgspec.Raw(msgspec.json.encode(pool))


POOL = read(raw(), Pool)


def test_engines_and_moves_as_tables() -> None:
    assert "\n".join(engine_table([POOL], None)) == ENGINES
    assert "\n".join(migration_table([POOL], NOW, None)) == MOVES


def test_a_picture_of_moves() -> None:
    picture = ET.fromstring(drawn([POOL]))
    titles = [each.text or "" for each in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert "r1: pod-a → pod-b, copied, Drain, 512, 21 ms" in titles
    assert "r1 on pod-a" in titles
    assert "r1 on pod-b" in titles
    assert "r3 on pod-b" not in titles, "it isn't there yet"
    assert ET.fromstring(drawn([])) is not None


class Server:
    """A list, then one event; then the user presses Ctrl-C."""

    def listed(self, _kind: str, namespace: str | None) -> tuple[list[msgspec.Raw], str]:
        assert namespace == "chat"
        return [raw()], "7"

    def watch(self, _kind: str, version: str, *_: Any) -> Iterator[bytes]:
        assert version == "7"
        new = {"time": "2026-01-01T00:00:02.000Z", "request": "r4", "from": "pod-b",
               "to": "pod-a", "outcome": "Stayed", "reason": "Withdrawn"}  # fmt: skip
        yield msgspec.json.encode({"type": "MODIFIED", "object": raw(new)})
        raise KeyboardInterrupt


def test_watching_prints_each_move_once(capsys: pytest.CaptureFixture[str]) -> None:
    api: Any = Server()
    heads, widths = serving_pools._MOVE_HEADS, serving_pools._MOVE_WIDTHS
    with pytest.raises(KeyboardInterrupt):
        serving_pools.follow(
            cast(Any, api), None, "chat", ("POOL", *heads), widths, serving_pools._move_rows
        )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["TIME", "POOL", *heads]
    assert [line.split()[2] for line in lines[1:]] == ["r1", "r2", "r4"]
    assert "stayed" in lines[-1]


def test_flags_that_mean_nothing_are_refused() -> None:
    for words in (["pools", "llama"], ["pools", "-w"], ["pools", "--serving", "-f", "x"],
                  ["pools", "--serving", "-w", "-o", "json"]):  # fmt: skip
        assert run(*words).returncode == 2
