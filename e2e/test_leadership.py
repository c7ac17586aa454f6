"""One leader on a real API server: killed, paused, told to stop or cut off, never two act.

Each replica is a process. What they did is told by lines with times of the machine's one clock.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.leader import DEADLINE, DURATION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parent.parent
Start = "Callable[[str], subprocess.Popen[bytes]]"


class Replicas:
    """Processes that compete for one Lease."""

    def __init__(self, cluster: Cluster, namespace: str, log: Path) -> None:
        self._cluster = cluster
        self._arguments = [str(cluster.kubeconfig), namespace, "the-lease"]
        self._namespace = namespace
        self._log = log
        self.processes: list[subprocess.Popen[bytes]] = []
        log.touch()

    def start(self, identity: str) -> subprocess.Popen[bytes]:
        arguments = [*self._arguments, identity, str(self._log)]
        command = [sys.executable, "-m", "e2e.leader", *arguments]
        process = subprocess.Popen(command, cwd=ROOT)
        self.processes.append(process)
        up = Path(f"{self._log}.{identity}")
        self._cluster.wait(lambda: up.exists() or None, f"{identity} to be up")
        return process

    def acts(self) -> list[tuple[str, float]]:
        lines = [line.split() for line in self._log.read_text().splitlines()]
        return [(who, float(when)) for who, when in lines]

    def acting(self, identity: str) -> float:
        """Wait until a replica acts, and return since when."""

        def first() -> float | None:
            return next((when for who, when in self.acts() if who == identity), None)

        return self._cluster.wait(first, f"{identity} to act")

    def holder(self) -> str:
        found = self._cluster.get("-n", self._namespace, "lease", "the-lease")
        return str(found["spec"]["holderIdentity"])

    def check(self) -> None:
        """Nobody acted before another had ended."""
        order = [who for who, _ in sorted(self.acts(), key=lambda act: act[1])]
        turns = [who for i, who in enumerate(order) if i == 0 or order[i - 1] != who]
        assert len(turns) == len(set(turns)), turns

    def last(self, identity: str) -> float:
        return max(when for who, when in self.acts() if who == identity)


@pytest.fixture
def replicas(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Replicas]:
    made = Replicas(cluster, namespace, tmp_path / "acts")
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


def test_a_leader_that_is_killed_is_followed_once_its_lease_has_run_out(
    replicas: Replicas,
) -> None:
    first = replicas.start("a")
    replicas.acting("a")
    replicas.start("b")
    replicas.start("c")
    time.sleep(DURATION)  # a renewed Lease is nobody else's, however long it lasts
    assert {who for who, _ in replicas.acts()} == {"a"}
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert replicas.holder() == "a"
    replicas._cluster.wait(lambda: {w for w, _ in replicas.acts()} & {"b", "c"}, "a successor")
    (second,) = {who for who, _ in replicas.acts()} - {"a"}
    assert replicas.acting(second) - replicas.last("a") > DURATION - DEADLINE
    replicas.check()


def test_a_leader_that_stops_is_followed_at_once(replicas: Replicas) -> None:
    first = replicas.start("a")
    replicas.acting("a")
    replicas.start("b")
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=30) == 0
    assert replicas.holder() in ("", "b")  # it was given back and didn't run out
    replicas.acting("b")
    replicas.check()


def test_a_leader_that_was_paused_doesnt_act_on(replicas: Replicas) -> None:
    first = replicas.start("a")
    replicas.acting("a")
    replicas.start("b")
    os.kill(first.pid, signal.SIGSTOP)
    replicas.acting("b")
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait(timeout=30) == 0  # it ends by itself, and takes nothing back
    assert replicas.holder() == "b"
    replicas.check()
