"""GpuPools and PackingPolicies on a real API server and scheduler: what is described and planned.

Covers a pool's status as the cluster changes, plans made once after the delay, the three modes,
suspension, overlap, runs on request, plans as objects. Not covered: carrying plans out, the
operator as a process and its rights; rules and limits one by one, which tests/packing/policy has.
"""

from __future__ import annotations

import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from e2e.crds import install_crds
from e2e.loops import IDENTITY, running
from fairstow.packing.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.controlplane.client import Cluster
    from fairstow.packing.announce import Announcement

pytestmark = pytest.mark.e2e
Json = dict[str, Any]
GPU = "nvidia.com/gpu"
ON = '{"spec": {"suspend": false}}'


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Cluster:
    """The cluster with the CRDs installed."""
    install_crds(cluster)
    return cluster


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """A solver process for all tests."""
    with Worker() as warm:
        yield warm


@pytest.fixture
def told(api: Cluster, worker: Worker) -> Iterator[list[Announcement]]:
    """The controllers at work, and what they announce."""
    with running(api.kubeconfig, worker, enforced=frozenset({"fairstow"})) as said:
        yield said


class Site:
    """A pool of nodes with a pod that no node has room for, and policies for it."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, nodes: list[str]) -> None:
        self.cluster, self.namespace, self.name, self.nodes = cluster, namespace, name, nodes
        self.made: list[str] = []

    def create(self, kind: str, name: str, spec: Json) -> None:
        self.cluster.apply(
            [
                {
                    "apiVersion": "fairstow.dev/v1alpha1",
                    "kind": kind,
                    "metadata": {"name": name},
                    "spec": spec,
                }
            ]
        )
        self.made.append(f"{kind.lower()}/{name}")

    def pool(self, name: str = "") -> str:
        """Make a pool of the site's nodes."""
        pool = name or self.name
        self.create("GpuPool", pool, {"nodeSelector": {"matchLabels": {"site": self.name}}})
        return pool

    def policy(self, name: str, *, pool: str = "", **spec: Any) -> str:
        """Make a policy that counts pods from the start, unless `spec` says otherwise."""
        triggers = {"triggers": {"unschedulableFor": "0s"}}
        self.create(
            "PackingPolicy", name, triggers | {"poolRef": {"name": pool or self.name}} | spec
        )
        return name

    def deploy(self, name: str, replicas: int, gpus: int, **pod_spec: Any) -> None:
        """Run pods of so many GPUs on the site's nodes, spread where nothing else is said."""
        container = {
            "name": "main",
            "image": "registry.k8s.io/pause:3.10",
            "resources": {"requests": {"cpu": "1"}, "limits": {GPU: str(gpus)}},
        }
        spec = {"nodeSelector": {"site": self.name}, "containers": [container]} | pod_spec
        template = {"metadata": {"labels": {"app": name}}, "spec": spec}
        self.cluster.apply(
            [
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "metadata": {"name": name, "namespace": self.namespace},
                    "spec": {
                        "replicas": replicas,
                        "selector": {"matchLabels": {"app": name}},
                        "template": template,
                    },
                }
            ]
        )

    def fragment(self) -> None:
        """Put one small pod on every node, each time with the others cordoned."""
        for index, node in enumerate(self.nodes):
            others = [f"node/{other}" for other in self.nodes if other != node]
            self.cluster.kubectl("cordon", *others)
            self.deploy(f"small-{index}", 1, 2)
            self.cluster.wait(partial(self._is_on, f"small-{index}", node), f"a pod on {node}")
            self.cluster.kubectl("uncordon", *others)

    def _is_on(self, app: str, node: str) -> bool:
        return [p["spec"].get("nodeName") for p in self.pods(app)] == [node]

    def pods(self, app: str) -> list[Json]:
        return self.cluster.items("pods", "-n", self.namespace, "-l", f"app={app}")

    def status(self, kind: str, name: str = "") -> Json:
        found: Json = self.cluster.get(kind, name or self.name).get("status", {})
        return found

    def condition(self, kind: str, name: str, wanted: str) -> Json:
        found = self.status(kind, name).get("conditions", [])
        return next((c for c in found if c["type"] == wanted), {})

    def last_run(self, policy: str) -> str:
        return str(self.status("ppol", policy).get("lastRun", {}).get("reason", ""))

    def plans(self, policy: str = "") -> list[Json]:
        label = f"fairstow.dev/pool={self.name}" if not policy else f"fairstow.dev/policy={policy}"
        return self.cluster.items("pplan", "-l", label)


@pytest.fixture
def site(api: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]]) -> Iterator[Site]:
    """Two nodes of 4 GPUs each."""
    name = f"site-{uuid.uuid4().hex[:6]}"
    made = Site(api, namespace, name, gpu_nodes(2, gpus=4, labels={"site": name}))
    yield made
    for each in reversed(made.made):
        api.kubectl("delete", "--ignore-not-found", each)


def stuck(site: Site) -> None:
    """Leave 2 of 4 GPUs free on both nodes and ask for 4."""
    site.fragment()
    site.deploy("big", 1, 4)


def test_a_pools_status_follows_the_cluster(site: Site, told: list[Announcement]) -> None:
    pool = site.pool()
    site.cluster.wait(
        lambda: site.condition("gpool", pool, "Ready").get("status") == "True", "a ready pool"
    )
    first = site.status("gpool")
    assert (first["nodes"], first["gpusTotal"], first["gpusFree"]) == (2, 8, 8)
    assert (first["largestFreeBlock"], first["pendingPods"]) == (4, 0)
    stuck(site)
    site.cluster.wait(lambda: site.status("gpool").get("pendingPods") == 1, "a pending pod")
    then = site.status("gpool")
    assert then["pendingByReason"] == [{"reason": "Fragmented", "pods": 1}]
    assert (then["gpusAllocated"], then["gpusFree"], then["largestFreeBlock"]) == (4, 4, 2)
    assert then["fragmentationPermille"] > 0
    assert then["schedulers"] == ["default-scheduler"]
    site.cluster.kubectl("cordon", site.nodes[0])
    site.cluster.wait(lambda: site.status("gpool").get("nodesClosed") == 1, "a closed node")
    assert site.status("gpool")["gpusFree"] == 2
    since = site.condition("gpool", pool, "Ready")["lastTransitionTime"]
    assert since == first["conditions"][0]["lastTransitionTime"]


def test_recommend_makes_one_plan_once(site: Site, api: Cluster, worker: Worker) -> None:
    with running(api.kubeconfig, worker) as told:
        site.pool()
        name = site.policy(f"{site.name}-rec", mode="Recommend")
        stuck(site)
        site.cluster.wait(site.plans, "a plan")
        plan = site.plans()[0]
        spec, meta = plan["spec"], plan["metadata"]
        assert [p["namespace"] for p in spec["placements"]] == [site.namespace]
        assert spec["summary"] == {"placements": 1, "moves": 1, "evictions": 0}
        assert (spec["policy"], spec["pool"], spec["stepTimeout"]) == (name, site.name, "10m")
        assert (spec["budgets"], "approval" in spec) == ("Known", False)
        assert meta["labels"]["fairstow.dev/policy"] == name
        assert [(o["kind"], o["name"]) for o in meta["ownerReferences"]] == [
            ("PackingPolicy", name)
        ]
        site.cluster.wait(lambda: site.last_run(name) == "PlanCreated", "the run in the status")
        assert site.status("ppol", name)["lastPlan"] == meta["name"]
        site.cluster.wait(
            lambda: site.condition("ppol", name, "Held").get("reason") == "PlanUnfinished",
            "that it waits for the plan",
        )
        assert any("waits for approval" in each.message for each in told)
    # Asked again, by another process, it makes no second one.
    with running(api.kubeconfig, worker):
        request(site, name, "again")
        site.cluster.wait(lambda: site.last_run(name) == "PlanUnfinished", "the answer")
    assert [p["metadata"]["name"] for p in site.plans()] == [meta["name"]]


def request(site: Site, policy: str, text: str) -> None:
    site.cluster.kubectl(
        "annotate", "--overwrite", f"ppol/{policy}", f"fairstow.dev/run-requested-at={text}"
    )


def test_the_delay_is_waited_for(site: Site, told: list[Announcement]) -> None:
    site.pool()
    name = site.policy(f"{site.name}-slow", mode="Recommend", triggers={"unschedulableFor": "1h"})
    stuck(site)
    site.cluster.wait(lambda: site.status("gpool").get("pendingPods") == 1, "a pending pod")
    site.cluster.wait(lambda: site.condition("ppol", name, "Ready"), "its conditions")
    time.sleep(3)  # nothing happens: there is nothing to wait for
    assert (site.plans(), site.last_run(name)) == ([], "")
    # A person needn't wait.
    request(site, name, "2026-03-01T12:00:00Z")
    site.cluster.wait(site.plans, "a plan")
    site.cluster.wait(
        lambda: site.status("ppol", name).get("lastHandledRequest") == "2026-03-01T12:00:00Z",
        "the request to be noted",
    )


def test_observe_makes_no_plan(site: Site, told: list[Announcement]) -> None:
    site.pool()
    name = site.policy(f"{site.name}-obs")
    stuck(site)
    site.cluster.wait(lambda: site.last_run(name) == "PlanObserved", "a run")
    assert "places 1 pod with 1 move" in site.status("ppol", name)["lastRun"]["message"]
    assert site.plans() == []


def test_auto_approves_only_where_room_is_kept(site: Site, told: list[Announcement]) -> None:
    site.pool()
    name = site.policy(f"{site.name}-auto", mode="Auto", limits={"maxMovesPerHour": 9})
    stuck(site)
    site.cluster.wait(site.plans, "a plan")
    assert "approval" not in site.plans()[0]["spec"]
    condition = site.condition("ppol", name, "ReservationNotEnforced")
    assert condition["status"] == "True"
    assert "no NoSchedule taint" in condition["message"]


def test_auto_approves_its_plans(site: Site, api: Cluster, worker: Worker) -> None:
    site.pool()
    name = site.policy(f"{site.name}-auto", mode="Auto", limits={"maxMovesPerHour": 9})
    with running(api.kubeconfig, worker, enforced=frozenset({"default-scheduler"})):
        stuck(site)
        site.cluster.wait(site.plans, "a plan")
    assert site.plans()[0]["spec"]["approval"] == {"decision": "Approved", "by": IDENTITY}
    condition = site.condition("ppol", name, "ReservationNotEnforced")
    assert (condition["status"], condition["reason"]) == ("False", "ReservationEnforced")


def test_of_two_policies_the_older_acts(site: Site, told: list[Announcement]) -> None:
    pool = site.pool()
    older = site.policy(f"{site.name}-older", mode="Recommend")
    site.cluster.wait(lambda: site.condition("ppol", older, "Ready"), "the older one's conditions")
    time.sleep(1.1)  # creation times have whole seconds
    also = site.pool(f"{site.name}-also")
    younger = site.policy(f"{site.name}-a-younger", mode="Recommend", pool=also)
    site.cluster.wait(
        lambda: site.condition("ppol", younger, "PolicyOverlap").get("status") == "True",
        "the overlap",
    )
    assert site.condition("ppol", younger, "Ready")["reason"] == "PolicyOverlap"
    assert f"policy {older} is older" in site.condition("ppol", younger, "Ready")["message"]
    stuck(site)
    site.cluster.wait(lambda: site.plans(older), "a plan of the older")
    assert site.plans(younger) == []
    site.cluster.kubectl("delete", f"ppol/{older}")
    site.cluster.wait(lambda: site.plans(younger), "a plan of the younger", timeout=90)
    assert pool != also


def test_a_suspended_policy_makes_no_plan(site: Site, told: list[Announcement]) -> None:
    site.pool()
    name = site.policy(f"{site.name}-off", mode="Recommend", suspend=True)
    stuck(site)
    site.cluster.wait(lambda: site.status("gpool").get("pendingPods") == 1, "a pending pod")
    request(site, name, "now")
    site.cluster.wait(lambda: site.last_run(name) == "Suspended", "the answer")
    assert site.plans() == []
    site.cluster.kubectl(
        "patch", f"ppol/{name}", "--type=merge", "-p", '{"spec":{"suspend":false}}'
    )
    request(site, name, "and now")
    site.cluster.wait(site.plans, "a plan")


def test_without_its_pool_a_policy_says_so(site: Site, told: list[Announcement]) -> None:
    name = site.policy(f"{site.name}-lost", mode="Recommend")
    site.cluster.wait(
        lambda: site.condition("ppol", name, "Ready").get("reason") == "PoolNotFound", "the reason"
    )
    site.pool()
    site.cluster.wait(
        lambda: site.condition("ppol", name, "Ready").get("status") == "True", "the pool"
    )


def test_a_schedule_that_never_fires_is_told(site: Site, told: list[Announcement]) -> None:
    site.pool()
    name = site.policy(f"{site.name}-never", triggers={"schedule": "0 0 30 2 *"})
    site.cluster.wait(
        lambda: site.condition("ppol", name, "Ready").get("reason") == "ScheduleInvalid", "it"
    )
    assert "never fires" in site.condition("ppol", name, "Ready")["message"]
