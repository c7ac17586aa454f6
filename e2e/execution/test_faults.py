"""Plans in a cluster that changes under them: nodes, budgets, workloads and the Eviction API.

Whatever happens, nobody is evicted for a plan that can't be finished any more, no pod is lost and
no room stays reserved. Covered at two moments: between plan and act, and half-way, with a pod held
terminating. Marked `full`: variants of the same fault. Not covered: programs that crash
(test_programs.py).
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from e2e.controlplane.components import LOOPBACK
from e2e.execution.work import Work, terminating
from e2e.installed import OPERATOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.execution.scene import Scene

pytestmark = pytest.mark.e2e


def deleted(scene: Scene, node: str) -> None:
    scene.cluster.kubectl("delete", "node", node)


def not_ready(scene: Scene, node: str) -> None:
    """As its kubelet says when containers can't be run; KWOK lets go of it first."""
    scene.cluster.kubectl("annotate", "node", node, "kwok.x-k8s.io/node-")
    status = {"conditions": [{"type": "Ready", "status": "False", "reason": "E2E"}]}
    patch = json.dumps({"status": status})
    scene.cluster.kubectl("patch", "node", node, "--subresource=status", "-p", patch)


def being_removed(scene: Scene, node: str) -> None:
    """As the cluster autoscaler marks it."""
    scene.cluster.kubectl("taint", "node", node, "ToBeDeletedByClusterAutoscaler=1:NoSchedule")


FAULTS = [
    pytest.param(deleted, marks=pytest.mark.full),
    pytest.param(not_ready, marks=pytest.mark.full),
    being_removed,
]


def target(scene: Scene, plan: str) -> str:
    """Return the node that a plan has for the big pod."""
    found = json.loads(scene.api.get(f"/apis/fairstow.dev/v1alpha1/packingplans/{plan}"))
    return str(found["spec"]["placements"][0]["node"])


@pytest.mark.full
@pytest.mark.parametrize("fault", [deleted, not_ready, being_removed])
def test_a_target_node_that_goes_before_the_plan_begins(
    scene: Scene, fault: Callable[[Scene, str], None]
) -> None:
    scene.stuck()
    plan = scene.plan()
    node = target(scene, plan)
    others = {uid for uid, home in scene.where("small").items() if home != node}
    fault(scene, node)
    scene.approve(plan)
    assert scene.await_end(plan) in {"NodeGone", "NodeChanged", "PodGone"}
    assert others <= scene.uids("small")
    assert node in scene.names
    scene.wait(scene.unclaimed, "the room to be released")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_target_node_that_goes_half_way(
    scene: Scene, fault: Callable[[Scene, str], None]
) -> None:
    scene.stuck(Work(1, held=True))
    plan = scene.plan()
    node = target(scene, plan)
    others = {uid for uid, home in scene.where("small").items() if home != node}
    before = scene.uids("small")
    scene.approve(plan)
    scene.await_terminating("small")
    fault(scene, node)
    assert scene.await_end(plan) in {"NodeGone", "NodeChanged", "PodGone"}
    assert others <= scene.uids("small")
    if fault is not deleted:  # then the others of its pods would go too
        assert len(before - scene.uids("small")) == 1
    scene.let_go()
    scene.wait(scene.unclaimed, "the room to be released")
    # Nobody is lost: each runs, or waits for room as any pod does.
    scene.wait(lambda: scene.let_go() == 0 and len(scene.uids("small")) == 20, "all small pods")


@pytest.mark.full
def test_a_budget_that_falls_to_nothing_half_way_is_waited_for_and_then_given_up(
    scene: Scene,
) -> None:
    """Nothing is evicted against it; the step's time-out ends the wait."""
    scene.stuck(Work(1, held=True))
    scene.budget("small", 1)
    plan = scene.plan(stepTimeout="30s")
    scene.approve(plan)
    (first,) = scene.await_terminating("small")
    scene.budget("small", 0)
    scene.let_go()
    scene.await_reason(plan, "BudgetExhausted")
    assert scene.done(plan) == 1
    assert scene.await_end(plan) == "StepTimedOut"
    assert "allows 0" in scene.condition(plan, "Stale")["message"]
    scene.await_running("small", 20)
    assert first["metadata"]["uid"] not in scene.uids("small")
    scene.wait(scene.unclaimed, "the room to be released")


@pytest.mark.full
def test_a_budget_that_allows_again_is_all_it_takes(scene: Scene) -> None:
    scene.stuck()
    plan = scene.plan()
    scene.budget("small", 0)
    scene.approve(plan)
    scene.await_reason(plan, "BudgetExhausted")
    assert not any(map(terminating, scene.pods("small")))
    scene.budget("small", 1)
    assert scene.await_end(plan) == "Succeeded"
    scene.await_running("big", 1)


class Refusing(BaseHTTPRequestHandler):
    """An admission webhook by which the API server answers 429."""

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = {"code": 429, "reason": "TooManyRequests", "message": "not today"}
        answer = {"uid": review["request"]["uid"], "allowed": False, "status": status}
        body = json.dumps({**review, "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def refused_evictions(scene: Scene) -> Iterator[None]:
    """The API server answers every eviction in the scene's namespace with 429."""
    authority = scene.programs.own.authority
    pair = authority.issue("webhook", hosts=[LOOPBACK])
    server = ThreadingHTTPServer((LOOPBACK, 0), Refusing)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    here = {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}}
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["pods/eviction"]}  # fmt: skip
    hook = {
        "name": "refuses.e2e.fairstow.dev",
        "clientConfig": {
            "url": f"https://{LOOPBACK}:{server.server_port}/",
            "caBundle": base64.b64encode(authority.pair.cert.read_bytes()).decode(),
        },
        "rules": [rule],
        "namespaceSelector": here,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    kind, name = "ValidatingWebhookConfiguration", f"{scene.namespace}-refuses"
    version = "admissionregistration.k8s.io/v1"
    scene.put({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "webhooks": [hook]})
    yield
    scene.cluster.kubectl("delete", kind.lower(), name)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.full
@pytest.mark.usefixtures("refused_evictions")
def test_429_forever_ends_the_plan_by_its_timeout(scene: Scene) -> None:
    before = scene.stuck()
    plan = scene.plan(stepTimeout="30s")
    scene.approve(plan)
    assert scene.await_end(plan) == "StepTimedOut"
    assert "is not evicted" in scene.condition(plan, "Stale")["message"]
    assert scene.uids("small") == before
    assert "not today" in scene.programs.log(OPERATOR)
    scene.wait(scene.unclaimed, "the room to be released")


@pytest.mark.full
def test_a_workload_scaled_down_half_way_needs_its_place_no_more(scene: Scene) -> None:
    """The evicted pod isn't recreated: its place stays empty, and the plan goes on."""
    scene.stuck(Work(1, held=True))
    plan = scene.plan()
    scene.cluster.kubectl("-n", scene.namespace, "annotate", "pods", "-l", "app=small",
                          "controller.kubernetes.io/pod-deletion-cost=100")  # fmt: skip
    scene.approve(plan)
    scene.await_terminating("small")
    scene.scale("small", 19)
    assert scene.finish(plan) == "Succeeded"
    scene.await_running("big", 1)
    scene.await_running("small", 19)


def test_a_workload_whose_template_changed_is_not_evicted_further(scene: Scene) -> None:
    """The recreated pod asks for more than the one that was planned, and doesn't fit its place."""
    before = scene.stuck(Work(1, held=True))
    plan = scene.plan()
    container = Work(2).template("small", scene.namespace)["spec"]["containers"][0]
    change = {"spec": {"template": {"spec": {"containers": [container]}}}}
    scene.cluster.kubectl("-n", scene.namespace, "patch", "replicaset", "small", "-p",
                          json.dumps(change))  # fmt: skip
    scene.approve(plan)
    assert scene.finish(plan) == "PodChanged"
    assert len(before - scene.uids("small")) == 1
    scene.await_running("small", 20)
    scene.wait(scene.unclaimed, "the room to be released")
