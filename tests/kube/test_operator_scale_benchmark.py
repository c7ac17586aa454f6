"""The benchmark of the operator's size: what it reads of figures, writes to etcd, and says.

Covered: delays from polls, the metrics page, copies of stored objects, the cluster's shape, bounds
and table. Not covered: the measurements themselves, which need a control plane.
"""

from typing import Any

import pytest
from prometheus_client import generate_latest

from benchmarks.operator_scale import objects, seed
from benchmarks.operator_scale.__main__ import judge
from benchmarks.operator_scale.load import renamed
from benchmarks.operator_scale.meter import Poll, lags, quantile, read
from benchmarks.operator_scale.report import figures, table
from controllers import metrics
from fairstow.cluster.kinds import POD


def size(nodes: int, **other: Any) -> dict[str, Any]:
    measured: dict[str, Any] = {
        "delays": [0.1, 0.2, 0.3],
        "runDelays": [0.5],
        "eventsPerSecond": 50.0,
        "loadCores": 0.1,
        "operatorCores": 0.2,
        "steadyMegabytes": 300.0,
        "peakMegabytes": 310.0,
        "runCpuSeconds": 1.0,
        "runPeakMegabytes": 400.0,
        "solverCpuSeconds": 2.0,
        "solverPeakMegabytes": 200.0,
    }
    base = {"nodes": nodes, "pods": 10 * nodes, "listCpuSeconds": 9.0, "lastRun": "PlanObserved"}
    return base | figures(measured | other)


def test_an_event_is_taken_in_when_a_poll_shows_as_many_more() -> None:
    polls = [Poll(10.0, 100, 0), Poll(10.1, 101, 0), Poll(10.2, 103, 0)]
    # Of four: one before the first poll, one never seen.
    assert lags([9.0, 10.05, 10.15, 10.19], 100, polls) == pytest.approx([0.15, 0.05])


def test_the_page_of_metrics_is_read_as_it_is_written() -> None:
    before = read(generate_latest().decode(), 1.0)
    metrics.count_change(POD, "team/pod")
    metrics.RUNS.labels("some", "ProvedOptimal").inc()
    after = read(generate_latest().decode(), 2.0)
    assert (after.changes - before.changes, after.runs - before.runs, after.at) == (1, 1, 2.0)
    metrics.RUNS.remove("some", "ProvedOptimal")


def test_copies_differ_in_name_uid_and_node() -> None:
    _, pods, _ = objects.cluster(5)
    stored = pods[0] | {"metadata": pods[0]["metadata"] | {"uid": "u", "resourceVersion": "7"}}
    one, other = seed.copies(stored, pods[1:3])
    assert [p["metadata"]["name"] for p in (one, other)] == [
        p["metadata"]["name"] for p in pods[1:3]
    ]
    assert len({p["metadata"]["uid"] for p in (stored, one, other)}) == 3
    assert one["spec"]["nodeName"] == pods[1]["spec"]["nodeName"]
    assert "resourceVersion" not in one["metadata"]
    namespace, name = one["metadata"]["namespace"], one["metadata"]["name"]
    assert seed.key(one) == f"/registry/pods/{namespace}/{name}"


def test_the_cluster_has_ten_pods_a_node_and_some_that_wait() -> None:
    nodes, pods, late = objects.cluster(20)
    assert (len(nodes), len(pods), len(late)) == (20, 196, 4)
    assert all("nodeName" in pod["spec"] for pod in pods)
    assert not any("nodeName" in pod["spec"] for pod in late)


def test_a_replacement_has_a_name_of_its_own_however_often() -> None:
    pod = objects.cluster(1)[1][0]
    again = renamed(renamed(pod, 1), 2)
    assert again["metadata"]["name"] == f"{pod['metadata']['name']}.2"
    assert again["spec"] == pod["spec"]


def test_bounds_hold_at_every_size() -> None:
    assert judge([size(500), size(5000)]) == []
    missed = judge([size(500, operatorCores=0.4), size(5000, delays=[2.0])])
    assert [sentence.partition(", at most")[0] for sentence in missed] == [
        "500 nodes: operatorCores: 0.4",
        "5000 nodes: delay99: 2.0",
    ]


def test_every_size_has_a_column() -> None:
    about = {"date": "d", "commit": "c", "cores": 2, "python": "3", "kubernetes": "1.37"}
    record = {
        "provenance": about, "rate": 50.0, "seconds": 60.0, "sizes": [size(500), size(5000)],
    }  # fmt: skip
    lines = table(record).splitlines()
    assert lines[2] == "| | 500 nodes | 5,000 nodes |"
    assert all(line.count("|") == 4 for line in lines[2:])


def test_a_quantile_is_what_so_many_do_not_exceed() -> None:
    assert quantile([0.0] * 99 + [5.0], 0.99) == 5.0
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
