"""A part of a cluster for one test: tainted nodes of its own, and workloads that only they take.

The taint keeps everybody else out, so that a pool of these nodes passes for one on which room can
be kept. Layouts are made, not hoped for: pods are created on their nodes, and a ReplicaSet adopts
them. A pod made with `held` stays terminating until the test lets it go, so a step can be stopped
half-way for as long as it takes. Used by the tests of plans that are carried out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e.controlplane.client import KubectlError, WaitTimeoutError
from e2e.controlplane.kwok import gpu_node
from e2e.execution.work import Work, plural, ready, taint, terminating, unschedulable
from fairstow.cluster.errors import InputError
from fairstow.kube.client import ApiError, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from e2e.installed import Installed

Json = dict[str, Any]

FAIRSTOW = Path(sys.executable).with_name("fairstow")
SOON = 120.0
"""Seconds within which anything happens that is to happen, on a machine with other work."""

TARGET = "fairstow.dev/plan-target"
_SIDE_BY_SIDE = 8


class EndedError(AssertionError):
    """A plan has ended otherwise than a test waits for."""


class Scene:
    """See the module. Attributes: selector: the label of its nodes."""

    def __init__(self, programs: Installed, namespace: str) -> None:
        self.programs, self.namespace = programs, namespace
        self.cluster = programs.cluster
        self.api = connect(str(self.cluster.kubeconfig))
        self.selector = {"scene": namespace}
        self.made: list[str] = []

    @property
    def names(self) -> list[str]:
        """Its nodes."""
        return [name.removeprefix("node/") for name in self.made if name.startswith("node/")]

    # What there is

    def nodes(self, *gpus: int, tainted: bool = True) -> list[str]:
        """Make nodes of so many GPUs each; return their names."""
        first = len(self.names)
        names = [f"{self.namespace}-{first + index}" for index in range(len(gpus))]
        self.made += [f"node/{name}" for name in names]
        taints = [taint(self.namespace)] if tainted else []
        for name, n in zip(names, gpus, strict=True):
            self.put(gpu_node(name, gpus=n, labels=self.selector, taints=taints))
        self.wait(lambda: all(ready(node) for node in self._nodes().values()), "the nodes")
        return names

    def _nodes(self) -> dict[str, Json]:
        query = {"labelSelector": f"scene={self.namespace}"}
        items = json.loads(self.api.get("/api/v1/nodes", query))["items"]
        return {node["metadata"]["name"]: node for node in items}

    def bare(self, name: str, work: Work, node: str = "", *, app: str = "") -> None:
        """Create a pod that nobody owns, on a node or pending."""
        template = work.template(app or name, self.namespace)
        template["metadata"] |= {"name": name, "namespace": self.namespace}
        if node:
            template["spec"]["nodeName"] = node
        self.api.create(self._pods, {"apiVersion": "v1", "kind": "Pod", **template})

    def place(self, name: str, on: Sequence[str], work: Work) -> None:
        """Have a ReplicaSet with one pod on each of these nodes; all run when it returns.

        It may not see all of them at first, and make more: those are never scheduled, so it gives
        them up again.
        """
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            pods = [(f"{name}-{index}", work, node) for index, node in enumerate(on)]
            list(pool.map(lambda pod: self.bare(*pod, app=name), pods))
        gates = [{"name": "e2e.fairstow.dev/surplus"}]
        self.run(name, len(on), replace(work, spec={**work.spec, "schedulingGates": gates}))
        self.wait(lambda: self._adopted(name, len(on)), f"{len(on)} pods of {name}, adopted")
        self.run(name, len(on), work)

    def _adopted(self, name: str, count: int) -> bool:
        self.let_go(name)
        pods = self.pods(name)
        owned = [pod for pod in pods if pod["metadata"].get("ownerReferences")]
        return len(pods) == len(owned) == len(self.where(name)) == count

    def run(self, name: str, replicas: int, work: Work) -> None:
        """Have a ReplicaSet whose new pods are scheduled."""
        spec = {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": work.template(name, self.namespace),
        }
        self.create("apps/v1", "ReplicaSet", name, spec=spec)

    def create(self, version: str, kind: str, name: str, **content: Any) -> None:
        """Create an object of the scene's namespace."""
        metadata = {"name": name, "namespace": self.namespace}
        self.put({"apiVersion": version, "kind": kind, "metadata": metadata, **content})

    def put(self, obj: Json) -> None:
        """Create an object, or change it to be so. Raises InputError."""
        version, meta = obj["apiVersion"], obj["metadata"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        within = f"/namespaces/{meta['namespace']}" if "namespace" in meta else ""
        path = f"{root}{within}/{plural(obj['kind'])}"
        try:
            self.api.create(path, obj)
        except ApiError as error:
            if error.status != 409:
                raise
            self.api.patch(f"{path}/{meta['name']}", obj)

    def stuck(
        self, small: Work | None = None, big: Work | None = None, *, tainted: bool = True
    ) -> set[str]:
        """volcano#3948: nodes with 7, 6 and 7 of 8 GPUs used, and a pod that wants 4 of one.

        Returns:
            The small pods, by uid.
        """
        names = self.nodes(8, 8, 8, tainted=tainted)
        used = [name for name, n in zip(names, (7, 6, 7), strict=True) for _ in range(n)]
        self.place("small", used, small or Work(1))
        self.run("big", 1, big or Work(4))
        self.await_stuck("big")
        return self.uids("small")

    def scale(self, name: str, replicas: int) -> None:
        path = f"/apis/apps/v1/namespaces/{self.namespace}/replicasets/{name}"
        self.api.patch(path, {"spec": {"replicas": replicas}})

    def budget(self, name: str, most: int) -> None:
        """Let so many pods of a workload be down at once; it is known when this returns."""
        spec = {"maxUnavailable": most, "selector": {"matchLabels": {"app": name}}}
        self.create("policy/v1", "PodDisruptionBudget", name, spec=spec)

        def known() -> bool:
            path = f"/apis/policy/v1/namespaces/{self.namespace}/poddisruptionbudgets"
            found = self.get(path)
            status, generation = found[name].get("status", {}), found[name]["metadata"]
            allowed = status.get("disruptionsAllowed", 0)
            fresh = status.get("observedGeneration") == generation.get("generation")
            return bool(fresh) and (allowed > 0) == (most > 0)

        self.wait(known, f"the budget of {name}")

    def priority(self, name: str, value: int, *, preempts: bool = True) -> str:
        """Make a priority class; return its name."""
        policy = "PreemptLowerPriority" if preempts else "Never"
        full = f"{self.namespace}-{name}"
        body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": value,
                "metadata": {"name": full}, "preemptionPolicy": policy}  # fmt: skip
        self.put(body)
        self.made.append(f"priorityclass/{full}")
        return full

    # What is seen

    @property
    def _pods(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"

    def get(self, path: str) -> dict[str, Json]:
        """Return the objects of a collection by name."""
        items = json.loads(self.api.get(path))["items"]
        return {item["metadata"]["name"]: item for item in items}

    def pods(self, name: str = "") -> list[Json]:
        """Return the pods of a workload, or all."""
        query = {"labelSelector": f"app={name}"} if name else {}
        items: list[Json] = json.loads(self.api.get(self._pods, query))["items"]
        return items

    def uids(self, name: str = "") -> set[str]:
        """Return the pods that aren't terminating, by uid."""
        return {p["metadata"]["uid"] for p in self.pods(name) if not terminating(p)}

    def where(self, name: str) -> dict[str, str]:
        """Return where a workload's pods run: node by uid."""
        return {
            pod["metadata"]["uid"]: pod["spec"]["nodeName"]
            for pod in self.pods(name)
            if pod["spec"].get("nodeName")
            and not terminating(pod)
            and pod["status"].get("phase") == "Running"
        }

    def wait(self, check: Callable[[], Any], what: str, seconds: float = SOON) -> Any:
        """Wait for something; while the API server is away it isn't there yet."""

        def tried() -> Any:
            self.programs.check()
            try:
                return check()
            except (ApiError, InputError) as error:
                raise KubectlError(str(error)) from error

        return self.cluster.wait(tried, what, seconds)

    def await_running(self, name: str, count: int) -> list[str]:
        """Wait until so many pods of a workload run and no other is left; return their nodes."""
        self.wait(lambda: len(self.where(name)) == count, f"{count} pods of {name} to run")
        return list(self.where(name).values())

    def await_stuck(self, name: str, count: int = 1) -> None:
        """Wait until the scheduler has found no node for so many pods of a workload."""

        def stuck() -> bool:
            return sum(unschedulable(pod) for pod in self.pods(name)) >= count

        self.wait(stuck, f"{name} to be unschedulable")

    # Pools, policies, plans

    def pool(self) -> str:
        """Make a pool of the scene's nodes."""
        spec = {"nodeSelector": {"matchLabels": self.selector}}
        self._own("GpuPool", self.namespace, spec)
        return self.namespace

    def policy(self, mode: str = "Auto", **spec: Any) -> str:
        """Make a policy for the scene's pool that counts pods from the start; return its name."""
        limits = {"maxMovesPerHour": 100} | spec.pop("limits", {})
        base = {"poolRef": {"name": self.namespace}, "mode": mode, "limits": limits}
        self._own("PackingPolicy", self.namespace,
                  base | {"triggers": {"unschedulableFor": "0s"}} | spec)  # fmt: skip
        return self.namespace

    def change_policy(self, **spec: Any) -> None:
        self._patch("packingpolicies", self.namespace, {"spec": spec})

    def _own(self, kind: str, name: str, spec: Json) -> None:
        body = {"apiVersion": "fairstow.dev/v1alpha1", "kind": kind, "metadata": {"name": name}}
        self.put(body | {"spec": spec})
        self.made.append(f"{kind.lower()}/{name}")

    def policy_status(self) -> Json:
        status: Json = self._get("packingpolicies", self.namespace).get("status", {})
        return status

    def policy_condition(self, kind: str) -> Json:
        """Return a condition of the scene's policy, {} if it has none of that type."""
        conditions = self.policy_status().get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    def plans(self) -> list[Json]:
        """Return the plans of the scene's policy, oldest first."""
        query = {"labelSelector": f"fairstow.dev/policy={self.namespace}"}
        text = self.api.get("/apis/fairstow.dev/v1alpha1/packingplans", query)
        items: list[Json] = json.loads(text)["items"]
        return sorted(items, key=lambda plan: str(plan["metadata"]["creationTimestamp"]))

    def await_plan(self) -> str:
        """Wait for the first plan of the scene's policy."""
        try:
            return str(self.wait(self.plans, "a plan")[0]["metadata"]["name"])
        except WaitTimeoutError as error:
            raise AssertionError(f"no plan: {self.policy_status()}") from error

    def fairstow(self, *arguments: str) -> str:
        """Run the command line and return what it says."""
        environment = os.environ | {"KUBECONFIG": str(self.cluster.kubeconfig)}
        done = subprocess.run(
            [FAIRSTOW, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def plan(self, **limits: Any) -> str:
        """Return the name of a plan that waits for approval, made by a policy."""
        self.pool()
        self.policy("Recommend", limits=limits)
        return self.await_plan()

    def plan_by_hand(self) -> str:
        """Make a plan as a person does, create it, and return its name."""
        text = self.fairstow("plan", "-o", "json")
        plan = json.loads(text)
        assert plan["spec"]["steps"], text
        self.put(plan)
        name = str(plan["metadata"]["name"])
        self.made.append(f"packingplan/{name}")
        return name

    def approve(self, plan: str) -> None:
        decided = {"approval": {"decision": "Approved", "by": "jane"}}
        self._patch("packingplans", plan, {"spec": decided})

    def steps(self, plan: str) -> list[Json]:
        """Return a plan's steps."""
        found: list[Json] = self._get("packingplans", plan)["spec"]["steps"]
        return found

    def done(self, plan: str) -> int:
        """Return how many steps are carried out."""
        return int(self._get("packingplans", plan).get("status", {}).get("stepsDone") or 0)

    def condition(self, plan: str, kind: str) -> Json:
        """Return a condition of a plan, {} if it has none of that type."""
        conditions = self._get("packingplans", plan).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    def ended(self, plan: str) -> str:
        """Return the reason for which a plan has ended, "" if it hasn't."""
        status = self._get("packingplans", plan).get("status", {})
        for each in status.get("conditions", ()):
            if each["type"] in ("Succeeded", "Stale") and each["status"] == "True":
                return str(each["reason"])
        return ""

    def await_end(self, plan: str) -> str:
        """Wait until a plan has ended; return its reason."""
        return str(self.wait(lambda: self.ended(plan), f"the end of {plan}"))

    def await_reason(self, plan: str, reason: str) -> None:
        """Wait until a plan says that it waits for something."""

        def says() -> bool:
            found = self.condition(plan, "Succeeded")
            if found.get("reason") != reason and self.ended(plan):
                raise EndedError(f"{plan}: {found.get('reason')}: {found.get('message')}")
            return found.get("reason") == reason

        self.wait(says, f"{plan} to say {reason}")

    # What happens

    def let_go(self, name: str = "") -> int:
        """Let the held pods that are terminating go; return how many there were."""
        held = [p for p in self.pods(name) if terminating(p) and p["metadata"].get("finalizers")]
        for pod in held:
            with suppress(ApiError):  # it is gone already
                self.api.patch(f"{self._pods}/{pod['metadata']['name']}",
                               {"metadata": {"finalizers": None}})  # fmt: skip
        return len(held)

    def finish(self, plan: str) -> str:
        """Let held pods go as they are evicted until a plan has ended; return its reason."""

        def ended() -> str:
            self.let_go()
            return self.ended(plan)

        return str(self.wait(ended, f"the end of {plan}"))

    def await_terminating(self, name: str, count: int = 1) -> list[Json]:
        """Wait until so many pods of a workload are terminating, held; return them."""

        def leaving() -> list[Json] | None:
            found = [pod for pod in self.pods(name) if terminating(pod)]
            return found if len(found) == count else None

        found: list[Json] = self.wait(leaving, f"{count} pods of {name} to terminate")
        return found

    def unclaimed(self) -> bool:
        """Whether no node is kept for a plan and no room is."""
        nodes = self.get("/api/v1/nodes").values()
        marked = [n for n in nodes if TARGET in n["metadata"].get("labels", {})]
        return not marked and '"plans":[]' in self.programs.own.reservations()

    def clear(self) -> None:
        """Take everything away."""
        first = [n for n in self.made if not n.startswith(("node/", "priorityclass/"))]
        names = {plan["metadata"]["name"] for plan in self.plans()}
        self._delete([*first, *(f"packingplan/{name}" for name in names)])
        self.cluster.kubectl("-n", self.namespace, "delete", "--ignore-not-found",
                             "deployments,replicasets,jobs,daemonsets", "--all")  # fmt: skip
        self._delete([name for name in self.made if name not in first])
        self.cluster.kubectl("-n", self.namespace, "delete", "pods", "--all", "--force",
                             "--grace-period=0", "--wait=false")  # fmt: skip
        self.wait(lambda: self.let_go() == 0 and not self.pods(), "the scene to be empty")
        self.api.close()

    def _delete(self, names: Iterable[str]) -> None:
        if names := list(names):
            self.cluster.kubectl("delete", "--ignore-not-found", *names)

    def _get(self, plural: str, name: str) -> Json:
        found: Json = json.loads(self.api.get(f"/apis/fairstow.dev/v1alpha1/{plural}/{name}"))
        return found

    def _patch(self, plural: str, name: str, change: Json) -> None:
        self.api.patch(f"/apis/fairstow.dev/v1alpha1/{plural}/{name}", change)
