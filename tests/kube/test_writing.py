"""Writing to an API server: what is sent again, what never is, and what is said then.

Only faults that a healthy API server doesn't produce; e2e/test_verbs.py writes to a real one.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from fairstow.cluster.errors import InputError
from fairstow.kube.client import ApiError, Connection, connect
from tests.kube.server import SILENCE, Reply, kubeconfig, serving

PATH = "/apis/fairstow.dev/v1alpha1/packingplans"
PLAN = {"metadata": {"name": "plan-1"}}


def connected(server: str, tmp_path: Path) -> Connection:
    path = tmp_path / "config"
    path.write_text(kubeconfig(server))
    return connect(str(path))


def write(connection: Connection, method: str) -> bytes:
    if method == "POST":
        return connection.create(PATH, PLAN)
    return connection.patch(f"{PATH}/plan-1", PLAN)


WRITES = pytest.mark.parametrize("method", ["POST", "PATCH"])


@WRITES
def test_a_server_that_is_too_busy_to_look_is_asked_again(method: str, tmp_path: Path) -> None:
    replies: list[Reply] = [(429, {}, {"Retry-After": "0"}), (201, {"ok": True}, {})]
    heard: list[tuple[str, bytes]] = []
    with serving(lambda _path, _query: replies.pop(0), heard) as server:
        assert json.loads(write(connected(server, tmp_path), method)) == {"ok": True}
    assert [m for m, _ in heard] == [method, method]
    assert json.loads(heard[1][1]) == PLAN


@WRITES
@pytest.mark.parametrize("status", [500, 503, 504])
def test_what_may_have_been_done_is_never_sent_again(
    method: str, status: int, tmp_path: Path
) -> None:
    heard: list[tuple[str, bytes]] = []
    busy: Reply = (status, {"message": "no"}, {})
    with serving(lambda _path, _query: busy, heard) as server, pytest.raises(ApiError) as refused:
        write(connected(server, tmp_path), method)
    assert refused.value.status == status
    assert len(heard) == 1


@WRITES
def test_silence_after_sending_is_told_from_never_sent(method: str, tmp_path: Path) -> None:
    heard: list[tuple[str, bytes]] = []
    with serving(lambda _path, _query: (SILENCE, {}, {}), heard) as server:
        connection = connected(server, tmp_path)
        connection._read_seconds = 0.2
        with pytest.raises(InputError, match="whether the change was made isn't known"):
            write(connection, method)
    assert len(heard) == 1
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(InputError, match="refuses connections") as refused:
        write(connected(nobody, tmp_path), method)
    assert "isn't known" not in str(refused.value)


def test_what_the_server_says_beside_is_kept_once(tmp_path: Path) -> None:
    said = {"Warning": '299 - "policy \\"a\\" is\x07 suspended"'}
    with serving(lambda _path, _query: (200, {}, said)) as server:
        connection = connected(server, tmp_path)
        connection.get(PATH)
        connection.get(PATH)
    assert connection.warnings == ['policy "a" is\N{REPLACEMENT CHARACTER} suspended']


def test_a_watch_yields_whole_events_however_they_arrive(tmp_path: Path) -> None:
    events = [{"type": "ADDED", "object": {"n": n, "text": "x" * 70_000}} for n in range(3)]
    body = b"".join(json.dumps(event).encode() + b"\n" for event in events)

    def answer(_path: str, query: dict[str, str]) -> Reply:
        assert query["watch"] == "1"
        return 200, body, {}

    with serving(answer) as server:
        lines = list(connected(server, tmp_path).watch(PATH, {"resourceVersion": "1"}))
    assert [json.loads(line) for line in lines] == events


def test_a_refused_watch_is_an_error(tmp_path: Path) -> None:
    gone: Any = (410, {"message": "too old"}, {})
    with serving(lambda _path, _query: gone) as server, pytest.raises(ApiError, match="too old"):
        list(connected(server, tmp_path).watch(PATH, {}))
