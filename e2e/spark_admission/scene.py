"""What tests of Spark's queues share: people, drivers and executors as Spark makes them, a queue.

Pods run on KWOK's nodes, so nothing computes: tests say when a driver ends. SparkApplication has a
schema written here (an open one), not kubeflow's: what its operator would do, tests do.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from controllers.health import Turns
from controllers.spark.keeping import Keeper
from controllers.spark.objects import SparkObjects
from controllers.spark.queues import SparkLoop
from e2e.loops import drive
from e2e.watching import running
from fairstow.cluster.kinds import NODE, POD
from fairstow.cluster.live import LiveCluster
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.recorder import Recorder
from fairstow.kube.aio.reflector import Reflector
from fairstow.spark.names import ADMITTED, GATE, OPERATOR_GROUP, QUEUE, USER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.controlplane.client import Cluster

Json = dict[str, Any]


class CrashError(BaseException):
    """The controller is no more."""


ANA, BOB, ROBOT, NOBODY = "ana@example.com", "bob@example.com", "airflow", "nobody@example.com"
RBAC = "rbac.authorization.k8s.io"


def application_crd() -> Json:
    """The SparkApplication of these tests: its names are kubeflow's, its schema is open."""
    open_one = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": open_one, "status": open_one}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"sparkapplications.{OPERATOR_GROUP}",
            "annotations": {
                "api-approved.kubernetes.io": "unapproved, for a test",
            },
        },
        "spec": {
            "group": OPERATOR_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": "SparkApplication",
                "plural": "sparkapplications",
                "singular": "sparkapplication",
            },
            "versions": [
                {
                    "name": "v1beta2",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def queue(name: str, **spec: Any) -> Json:
    return {
        "apiVersion": "fairstow.dev/v1alpha1",
        "kind": "SparkQueue",
        "metadata": {"name": name},
        "spec": {"cores": 2} | spec,
    }


def people(namespace: str) -> list[Json]:
    """Ana and Bob may use queues, the robot may submit for others, Nobody may only make pods."""
    role: Json = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole"}
    user: Json = {"apiGroup": RBAC, "kind": "User"}
    # Spark 4.3 makes a NetworkPolicy for each application.
    groups = ["", OPERATOR_GROUP, "networking.k8s.io"]
    every = {"apiGroups": groups, "resources": ["*"], "verbs": ["*"]}
    queues = {"apiGroups": ["fairstow.dev"], "resources": ["sparkqueues"]}
    rules = {
        "submitters": ([every], (ANA, BOB, ROBOT, NOBODY)),
        "users": ([queues | {"verbs": ["use"]}], (ANA, BOB)),
        "delegates": ([queues | {"verbs": ["use", "submit-as"]}], (ROBOT,)),
    }
    made = []
    for part, (granted, whom) in rules.items():
        name = f"{namespace}-{part}"
        made.append(role | {"metadata": {"name": name}, "rules": granted})
        ref = {"apiGroup": RBAC, "kind": "ClusterRole", "name": name}
        subjects = [user | {"name": each} for each in whom]
        binding = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding"}
        made.append(binding | {"metadata": {"name": name}, "roleRef": ref, "subjects": subjects})
    return made


@dataclass
class Scene:
    """A queued namespace and its queue.

    Attributes:
        operator: its rights.
        node: where pods run.
        scheduler: the pods' schedulerName, "" for the default one.
    """

    cluster: Cluster
    operator: Cluster
    namespace: str
    queue: str
    node: str
    began: list[str] = field(default_factory=list)
    latest: tuple[str, int] = ("", 0)
    scheduler: str = ""
    _executors: dict[str, int] = field(default_factory=dict)

    def submit(
        self,
        name: str,
        user: str,
        *,
        instances: int = 1,
        cpu: str = "1",
        dynamic: bool = False,
        **marks: str,
    ) -> None:
        """Make a driver and then its settings, as spark-submit does.

        Users come in different seconds: the API server counts no finer, and then names decide.
        """
        if self.latest[0] != user:
            self.cluster.wait(lambda: int(time.time()) > self.latest[1], "the next second")
        annotations = {f"fairstow.dev/{k.replace('_', '-')}": v for k, v in marks.items()}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": {"spark-role": "driver", "spark-app-selector": f"spark-{name}"},
                "annotations": annotations,
            },
            "spec": self._spec("driver", cpu)
            | {"volumes": [{"name": "spark-conf-volume-driver", "configMap": {"name": name}}]},
        }
        self.create(pod, user)
        conf = f"spark.executor.instances={instances}\nspark.executor.cores=1\n"
        if dynamic:
            least = f"spark.dynamicAllocation.minExecutors={instances}\n"
            conf += f"spark.dynamicAllocation.enabled=true\n{least}"
        self.create(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name},
                "data": {"spark.properties": conf},
            },
            user,
        )
        self.latest = user, int(time.time())

    def executors(self, driver: str, count: int) -> None:
        """Make a driver's executors, as the driver does, or whom it runs for."""
        found = self.pod(driver)
        uid, began = found["metadata"]["uid"], self._executors.get(driver, 0)
        self._executors[driver] = began + count
        owner = {"apiVersion": "v1", "kind": "Pod", "name": driver, "uid": uid, "controller": True}
        pods = [
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{driver}-exec-{number}",
                    "labels": {"spark-role": "executor", "spark-app-selector": f"spark-{driver}"},
                    "ownerReferences": [owner],
                },
                "spec": self._spec("executor", "1"),
            }
            for number in range(began, began + count)
        ]
        self.create({"apiVersion": "v1", "kind": "List", "items": pods}, user_of(found))

    def _spec(self, role: str, cpu: str) -> Json:
        container = {
            "name": f"spark-{role}",
            "image": "example.com/none",
            "args": [role, "--class", "Main"],
            "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}},
        }
        node = {"kubernetes.io/hostname": self.node}
        spec = {"containers": [container], "nodeSelector": node, "restartPolicy": "Never"}
        return spec | ({"schedulerName": self.scheduler} if self.scheduler else {})

    def create(self, obj: Json, user: str = "") -> None:
        whom = [f"--as={user}"] if user else []
        self.kubectl("create", "-f", "-", *whom, stdin=json.dumps(obj))

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.namespace, *args, stdin=stdin)

    def pod(self, name: str) -> Json:
        found: Json = self.cluster.get("-n", self.namespace, "pod", name)
        return found

    def gated(self) -> set[str]:
        """The drivers that wait."""
        pods = self.cluster.items("-n", self.namespace, "pods", "-l", "spark-role=driver")
        return {p["metadata"]["name"] for p in pods if _gated(p)}

    def admitted(self) -> list[str]:
        """The drivers that were let go, in that order."""
        pods = self.cluster.items("-n", self.namespace, "pods", "-l", "spark-role=driver")
        for pod in pods:
            meta = pod["metadata"]
            if ADMITTED in meta["annotations"] and meta["name"] not in self.began:
                self.began.append(meta["name"])
        return self.began

    def await_admitted(self, *names: str) -> None:
        self.cluster.wait(lambda: self.admitted() == list(names), f"{names} to be let go", 40)

    def end(self, *pods: str) -> None:
        """Have pods end well."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        over = {"exitCode": 0, "finishedAt": now}
        for name in pods:
            self.cluster.wait(lambda n=name: self.pod(n)["status"]["phase"] == "Running", name)  # type: ignore[misc]
            found = self.pod(name)["status"]["containerStatuses"][0]
            ended = found | {"state": {"terminated": over}, "ready": False}
            status = {"status": {"phase": "Succeeded", "containerStatuses": [ended]}}
            patch = ("--subresource=status", "--type=merge", "-p", json.dumps(status))
            self.kubectl("patch", f"pod/{name}", *patch)

    def admission(self, name: str) -> Json:
        """The SparkAdmission of an application."""
        found = self.cluster.items("-n", self.namespace, "sparkadmissions")
        return next((each for each in found if each["spec"]["name"] == name), {})

    def standing(self, name: str) -> Json:
        found: Json = self.admission(name).get("status", {})
        return found

    def set_queue(self, **spec: Any) -> None:
        patch = ("--type=merge", "-p", json.dumps({"spec": spec}))
        self.cluster.kubectl("patch", f"sparkqueue/{self.queue}", *patch)

    def fairstow(self, *words: str) -> str:
        """Run the program as its user does, and return what it prints."""
        command = (sys.executable, "-m", "fairstow.cli")
        config = ("--kubeconfig", str(self.cluster.kubeconfig))
        return self.cluster.run("fairstow", command, (*words, *config), timeout=60)

    @contextmanager
    def controller(
        self, through: Callable[[Api], Any] = lambda api: api, skew: float = 0.0
    ) -> Iterator[None]:
        """Run the Spark controller with the operator's rights, as the operator does.

        Args:
            through: what it is given to write with, instead of the connection.
            skew: seconds that its clock is ahead of the API server's.
        """
        started, loop = threading.Event(), asyncio.new_event_loop()

        async def serve() -> None:
            async with Api.connect(str(self.operator.kubeconfig)) as api:
                cluster, objects = LiveCluster(), SparkObjects(api)
                recorder = Recorder(api, "fairstow.dev/operator", "e2e")
                writing = through(api)
                spark = SparkLoop(
                    writing,
                    cluster,
                    objects,
                    Keeper(writing, self.namespace),
                    recorder=recorder,
                    turns=Turns(),
                    fresh=lambda: True,
                    clock=lambda: time.time() + skew,
                )
                watches = [Reflector(api, kind, cluster) for kind in (NODE, POD)]
                fed = [each.run for each in (*watches, *objects.reflectors)]
                async with running(*fed, recorder.run):
                    for each in (*watches, *objects.reflectors):
                        await each.synced.wait()
                    started.set()
                    try:
                        await spark.run()
                    except BaseExceptionGroup as group:
                        if group.split(CrashError)[1] is not None:
                            raise

        main = loop.create_task(serve())
        thread = threading.Thread(target=lambda: drive(loop, main), daemon=True)
        thread.start()
        try:
            assert started.wait(60), "the controller's watches aren't synced"
            yield
        finally:
            with suppress(RuntimeError):  # it has crashed, and its loop is closed
                loop.call_soon_threadsafe(main.cancel)
            thread.join(30)


def _gated(pod: Json) -> bool:
    return any(gate["name"] == GATE for gate in pod["spec"].get("schedulingGates", ()))


def label(namespace: str, queue: str) -> Json:
    """The namespace, opted in."""
    meta = {"name": namespace, "labels": {QUEUE: queue}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}


def user_of(pod: Json) -> str:
    return str(pod["metadata"]["annotations"].get(USER, ""))


def unique(stem: str) -> str:
    return f"{stem}-{uuid.uuid4().hex[:8]}"
