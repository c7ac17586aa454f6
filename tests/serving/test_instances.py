"""What pods tell of engines: who drains, whose requests may go on where, selectors as queries.

Not covered: that the API server reads the queries as meant (e2e/serving/test_pool_watch.py).
"""

from __future__ import annotations

from typing import Any, get_args

import pytest

from fairstow.api import LabelSelector, ServingPoolSpec
from fairstow.serving.instances import instances, query
from fairstow.serving.policies import POLICIES, policy
from tests.serving.test_drains import drain


def pod(name: str, *, args: list[str] | None = None, **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": f"pod-{name}", "uid": name} | meta,
        "spec": {"nodeName": "n", "containers": [{"name": "engine", "args": args or []}]},
        "status": {
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def test_who_is_asked_to_or_terminates_drains() -> None:
    pods = [pod("c", deletionTimestamp="2026-01-01T00:00:00Z"), pod("b"), pod("a")]
    found = instances(pods, [drain("a")])
    assert [(i.name, i.draining, i.terminating) for i in found] == [
        ("a", True, False),
        ("b", False, False),
        ("c", True, True),
    ]


def test_pods_that_have_ended_are_none() -> None:
    ended = [pod(phase) | {"status": {"phase": phase}} for phase in ("Succeeded", "Failed")]
    assert instances(ended, []) == ()


@pytest.mark.parametrize(
    ("labels", "weights"),
    [
        ({}, ""),
        ({"pod-template-hash": "7d9"}, "7d9"),
        ({"controller-revision-hash": "web-1"}, "web-1"),
        ({"pod-template-hash": "7d9", "fairstow.dev/weights": "llama-3.1-8b"}, "llama-3.1-8b"),
    ],
)
def test_what_pods_of_the_same_model_share(labels: dict[str, str], weights: str) -> None:
    (found,) = instances([pod("a", labels=labels)], [])
    assert found.weights == weights


@pytest.mark.parametrize(
    ("args", "by_priority"),
    [
        ([], False),
        (["serve", "--scheduling-policy", "priority"], True),
        (["--scheduling-policy=priority"], True),
        (["vllm serve m --scheduling-policy priority --port 1"], True),
        (["--scheduling-policy", "fcfs"], False),
        (["--scheduling-policy"], False),
    ],
)
def test_whether_an_engine_orders_its_queue_by_priority(args: list[str], by_priority: bool) -> None:
    (found,) = instances([pod("a", args=args)], [])
    assert found.priorities == by_priority


def test_what_carries_slots_is_found_by_its_ports_name() -> None:
    engine = {"name": "engine", "ports": [{"name": "http", "containerPort": 8080}]}
    carrier = {"name": "slots", "ports": [{"name": "fairstow-slots", "containerPort": 8448}]}
    for containers, port in (([engine, carrier], 8448), ([engine, {"name": "other"}], 0)):
        (found,) = instances([pod("a") | {"spec": {"containers": containers}}], [])
        assert found.carrier == port


def test_addresses_of_both_families() -> None:
    six = pod("a")
    six["status"]["podIP"] = "fd00::1"
    (found,) = instances([six], [])
    assert found.url(8000) == "http://[fd00::1]:8000"


def test_a_selector_as_a_query() -> None:
    selector = LabelSelector.model_validate(
        {
            "matchLabels": {"app": "llama", "a/b": "c"},
            "matchExpressions": [
                {"key": "x", "operator": "In", "values": ["1", "2"]},
                {"key": "y", "operator": "NotIn", "values": ["3"]},
                {"key": "z", "operator": "Exists"},
                {"key": "w", "operator": "DoesNotExist"},
            ],
        }
    )
    assert query(selector) == "a/b=c,app=llama,x in (1,2),y notin (3),z,!w"


def test_a_pool_names_policies_as_the_table_does() -> None:
    names = get_args(ServingPoolSpec.model_fields["dispatch"].annotation)
    assert {policy(name).name for name in names} == set(POLICIES)
