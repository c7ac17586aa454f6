"""The operator's second port on a real API server: who may read metrics, and what readiness says.

On a cluster of its own, whose API server ends. Covered: metrics without a token, without the right
and with it; logs are JSON; with `make e2e-full`, a replica that waits for the Lease is not ready
while the API server is gone for long, and is again afterwards. Not covered: the replica that acts,
which ends when it can't renew its Lease (e2e/test_leadership.py); stuck loops
(tests/controllers/test_health.py).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from e2e.controlplane.cluster import LocalCluster
from e2e.installed import OPERATOR, Installed, installed
from e2e.own_scheduler import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e

STANDBY = "standby"
SILENCE = 90
"""Seconds: the API server sends a bookmark every minute."""
APISERVER = "kube-apiserver"


@pytest.fixture(scope="module")
def programs(
    own_cluster: tuple[LocalCluster, Cluster], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installed]:
    with installed(own_cluster[1], tmp_path_factory.mktemp("installed")) as running:
        ready(running, OPERATOR)
        yield running


def ready(programs: Installed, name: str) -> None:
    programs.cluster.wait(
        lambda: programs.admin("/readyz", of=name) == (200, "ok"), f"{name} to be ready", 120
    )


def unready(programs: Installed) -> str:
    status, said = programs.admin("/readyz", of=STANDBY)
    return said if status == 503 else ""


def test_metrics_are_for_whom_the_api_server_lets_read_them(programs: Installed) -> None:
    assert programs.admin("/healthz") == (200, "ok")
    assert programs.admin("/metrics")[0] == 401
    assert programs.admin("/metrics", "no.such.token")[0] == 401
    status, said = programs.admin("/metrics", programs.own.token("stranger"))
    user = f"system:serviceaccount:{NAMESPACE}:stranger"
    assert (status, f"{user} may not get /metrics" in said) == (403, True)
    status, text = programs.admin("/metrics", programs.own.token("monitor"))
    assert status == 200
    assert "\nfairstow_packing_snapshot_age_seconds " in text
    assert "\nprocess_resident_memory_bytes " in text


def test_each_line_of_the_log_is_json(programs: Installed) -> None:
    programs.cluster.wait(lambda: "acting" in programs.log(), "the Lease")
    lines = [json.loads(line) for line in programs.log().splitlines(keepends=True) if "\n" in line]
    assert all({"level", "logger", "timestamp"} <= line.keys() for line in lines)


@pytest.mark.full
def test_a_replica_is_not_ready_while_the_api_server_is_gone_for_long(
    own_cluster: tuple[LocalCluster, Cluster], programs: Installed
) -> None:
    programs.start_operator(STANDBY, f"--max-watch-age={SILENCE}")
    ready(programs, STANDBY)
    own_cluster[0].processes.stop_one(APISERVER)
    said = programs.cluster.wait(lambda: unready(programs), "the replica to notice", 3 * SILENCE)
    assert said.startswith("nothing was heard of ")
    assert programs.admin("/healthz", of=STANDBY) == (200, "ok")
    assert programs.admin("/metrics", "some.token", of=STANDBY)[0] == 503
    own_cluster[0].processes.restart(APISERVER)
    ready(programs, STANDBY)
