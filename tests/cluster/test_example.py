"""The bundled example: up to date, small, and what it claims to show.

That a plan places the waiting pods is checked where plans are made.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from fairstow.cluster import dump, project
from fairstow.cluster.movable import Movability
from fairstow.cluster.rules import Rules, deficits
from fairstow.cluster.snapshot import Snapshot
from tests.cluster.objects import GPU
from tools import example


@pytest.fixture(scope="module")
def cluster() -> Snapshot:
    return project.build(dump.read([str(example.OUTPUT)]))


def test_the_file_is_what_the_generator_writes() -> None:
    done = subprocess.run([sys.executable, example.__file__, "--check"], check=False)
    assert done.returncode == 0


def test_it_is_small_and_holds_every_kind_a_plan_reads(cluster: Snapshot) -> None:
    assert example.OUTPUT.stat().st_size < 60_000
    assert len(cluster.nodes) == 40
    assert 200 <= len(cluster.pods) <= 300
    assert not cluster.unknowns
    assert len(cluster.priority_classes) == 4


def test_no_node_is_over_capacity(cluster: Snapshot) -> None:
    assert all(min(cluster.free(n).values()) >= 0 for n in cluster.nodes)


def test_no_waiting_pod_fits_anywhere_though_its_pool_has_room(cluster: Snapshot) -> None:
    rules = Rules(cluster)
    assert len(cluster.pending) >= 6
    for pod in cluster.pending:
        open_nodes = [n for n in cluster.nodes if rules.static_refusal(pod, n) is None]
        assert all(deficits(pod.shape, cluster.free(n)) for n in open_nodes)
        if not pod.shape.unmodelled:
            gpus = dict(pod.shape.requests)[GPU]
            assert sum(cluster.free(n)[GPU] for n in open_nodes) >= gpus
            assert "Insufficient nvidia.com/gpu" in pod.unschedulable


def test_most_running_pods_may_move_and_some_must_stay(cluster: Snapshot) -> None:
    movability = Movability(cluster)
    reasons = [movability.refusal(p) for p in cluster.pods if p.node]
    assert reasons.count("") > 100
    assert any("disruption budget" in r for r in reasons)
    assert any("belongs to its node" in r for r in reasons)
