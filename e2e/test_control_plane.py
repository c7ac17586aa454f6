"""The cluster that all other end-to-end tests stand on: does it behave like Kubernetes?

Covers access control, scheduling onto fake GPU nodes and the lives of their pods, clusters side
by side, and that no process of ours outlives its owner while none of somebody else's is touched.
Not covered: how fast it is (benchmarks/control_plane.py), real nodes, and kind, which runs these
tests too, but only where Docker exists.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane import launch
from e2e.controlplane.cache import cache_dir
from e2e.controlplane.client import Cluster, KubectlError
from e2e.controlplane.cluster import LocalCluster
from e2e.controlplane.components import Ports
from e2e.controlplane.kwok import GPU, gpu_node
from e2e.controlplane.options import ClusterOptions
from e2e.controlplane.processes import ComponentError, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parent.parent
QUIET_CONTAINER = {"name": "main", "image": "example.com/none"}


def pod(name: str, *, gpus: int = 0, **spec: Any) -> dict[str, Any]:
    """A pod whose container asks for GPUs."""
    resources = {"limits": {GPU: str(gpus)}} if gpus else {}
    containers = [QUIET_CONTAINER | {"resources": resources}]
    metadata = {"name": name, "annotations": spec.pop("annotations", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": containers, **spec},
    }


def create(cluster: Cluster, namespace: str, *objects: dict[str, Any]) -> None:
    for each in objects:
        cluster.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(each))


def test_a_gpu_pod_lands_on_a_gpu_node_and_runs(
    cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]]
) -> None:
    plain = gpu_nodes(2, gpus=0)
    (with_gpus,) = gpu_nodes(1, gpus=4)
    create(cluster, namespace, pod("train", gpus=4))

    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/train")

    found = cluster.get("-n", namespace, "pod", "train")
    assert found["status"]["phase"] == "Running"
    assert found["spec"]["nodeName"] == with_gpus
    assert found["spec"]["nodeName"] not in plain
    # The scheduler's own condition is kept beside those that KWOK adds.
    assert "PodScheduled" in {each["type"] for each in found["status"]["conditions"]}


def test_a_pod_that_fits_nowhere_says_so(
    cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]]
) -> None:
    gpu_nodes(1, gpus=4)
    create(cluster, namespace, pod("huge", gpus=5))

    def scheduled_condition() -> dict[str, Any] | None:
        status = cluster.get("-n", namespace, "pod", "huge")["status"]
        conditions = {each["type"]: each for each in status.get("conditions", [])}
        return conditions.get("PodScheduled")

    condition = cluster.wait(scheduled_condition, "the scheduler's verdict")
    assert condition["status"] == "False"
    assert condition["reason"] == "Unschedulable"
    assert "Insufficient nvidia.com/gpu" in condition["message"]
    assert cluster.get("-n", namespace, "pod", "huge")["status"]["phase"] == "Pending"


def test_a_pods_annotations_say_how_it_ends(
    cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]]
) -> None:
    gpu_nodes(1)
    prefix = "e2e.fairstow.dev"
    ends = {f"{prefix}/run-for": "100ms"}
    create(
        cluster,
        namespace,
        pod("stays", annotations={f"{prefix}/terminate-in": "1500ms"}),
        pod("succeeds", annotations=ends),
        pod("fails", annotations=ends | {f"{prefix}/exit-code": "7"}),
    )

    def wait_for(name: str, phase: str) -> Any:
        test = f"--for=jsonpath={{.status.phase}}={phase}"
        cluster.kubectl("-n", namespace, "wait", test, f"pod/{name}")
        return cluster.get("-n", namespace, "pod", name)

    wait_for("succeeds", "Succeeded")
    (failed,) = wait_for("fails", "Failed")["status"]["containerStatuses"]
    assert failed["state"]["terminated"]["exitCode"] == 7
    wait_for("stays", "Running")

    cluster.kubectl("-n", namespace, "delete", "pod", "stays", "--wait=false")
    assert "deletionTimestamp" in cluster.get("-n", namespace, "pod", "stays")["metadata"]
    cluster.kubectl("-n", namespace, "wait", "--for=delete", "pod/stays")


def test_objects_of_many_kinds_are_applied_in_order(cluster: Cluster, namespace: str) -> None:
    inner = f"{namespace}-inner"
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": inner}}
    maps = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m{i}", "namespace": inner}}
        for i in range(120)
    ]
    try:
        cluster.apply([space, *maps])
        found = {each["metadata"]["name"] for each in cluster.items("-n", inner, "configmaps")}
        assert found >= {f"m{i}" for i in range(120)}
        with pytest.raises(KubectlError, match="Invalid value"):
            cluster.apply([*maps, maps[0] | {"metadata": {"name": "Bad!", "namespace": inner}}])
    finally:
        cluster.kubectl("delete", "namespace", inner, "--wait=false")


def test_anonymous_requests_are_refused(cluster: Cluster, namespace: str) -> None:
    raw = cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json")
    server = json.loads(raw)["clusters"][0]["cluster"]
    authority = base64.b64decode(server["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    url = f"{server['server']}/api/v1/namespaces/{namespace}/pods"
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(url, context=context, timeout=30)
    with refusal.value as reply:
        assert reply.code in (401, 403)  # 401 where a given cluster knows no anonymous user


def test_a_service_account_without_a_role_is_refused(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    nobody = cluster.as_service_account(namespace, "default", tmp_path / "nobody")

    # Discovery is open to anyone who is logged in, objects are not.
    assert "v1" in nobody.kubectl("api-versions")
    with pytest.raises(KubectlError, match="forbidden") as refusal:
        nobody.get("-n", namespace, "pods")
    assert f"system:serviceaccount:{namespace}:default" in str(refusal.value)


@pytest.mark.usefixtures("local_programs")
def test_a_certificate_gives_its_users_rights_and_no_more(tmp_path: Path) -> None:
    local = LocalCluster(tmp_path / "c")
    with local as cluster:
        alice = Cluster(local.kubeconfig_for("alice", ["staff"]), cluster.kubectl_command)
        with pytest.raises(KubectlError, match='User "alice" cannot list'):
            alice.get("configmaps")
        cluster.kubectl("create", "rolebinding", "staff", "--clusterrole=view", "--group=staff")
        alice.wait(lambda: alice.get("configmaps")["items"], "the group's rights")
        with pytest.raises(KubectlError, match='User "alice" cannot list'):
            alice.get("nodes")


def test_a_role_allows_what_it_says_and_no_more(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "reader")
    binding = ("reader", "--clusterrole=view", f"--serviceaccount={namespace}:reader")
    cluster.kubectl("-n", namespace, "create", "rolebinding", *binding)
    reader = cluster.as_service_account(namespace, "reader", tmp_path / "reader")

    assert cluster.wait(lambda: reader.get("-n", namespace, "pods"), "the role")["items"] == []
    with pytest.raises(KubectlError, match="forbidden"):
        reader.get("-n", namespace, "secrets")
    with pytest.raises(KubectlError, match="forbidden"):
        create(reader, namespace, pod("mine"))


@pytest.mark.usefixtures("local_programs")
def test_two_clusters_side_by_side_share_nothing(tmp_path: Path) -> None:
    profiles = [{"schedulerName": "default-scheduler"}, {"schedulerName": "second"}]
    tuned = ClusterOptions(
        scheduler_config={"profiles": profiles},
        feature_gates={"ContainerStopSignals": True},
        apiserver_args=("--disable-admission-plugins=ServiceAccount",),
    )
    one, two = LocalCluster(tmp_path / "one"), LocalCluster(tmp_path / "two", tuned)
    with one as first:
        with two as second:
            for each in (first, second):
                each.apply([gpu_node("node-0")])
            first.kubectl("create", "configmap", "only-here")
            with pytest.raises(KubectlError, match="not found"):
                second.get("configmap", "only-here")

            # The options of the second reached its components, and only its.
            gate = 'kubernetes_feature_enabled{name="ContainerStopSignals",stage="ALPHA"} '
            assert f"{gate}0" in first.kubectl("get", "--raw", "/metrics")
            assert f"{gate}1" in second.kubectl("get", "--raw", "/metrics")
            for each in (first, second):
                create(each, "default", pod("choosy", schedulerName="second"))
            second.kubectl("wait", "--for=condition=Ready", "pod/choosy")
            assert "volumes" not in second.get("pod", "choosy")["spec"]  # no token is mounted
            assert "nodeName" not in first.get("pod", "choosy")["spec"]
            assert "volumes" in first.get("pod", "choosy")["spec"]

            # An administrator of one is nobody on the other, whose CA differs.
            address = first.kubectl(
                "config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"
            )
            with pytest.raises(KubectlError, match="certificate"):
                second.kubectl("--server", address, "get", "nodes")
            with pytest.raises(KubectlError, match=r"nauthorized|logged in"):
                second.kubectl("--server", address, "--insecure-skip-tls-verify", "get", "nodes")
        assert processes_of(two.folder) == []
        assert first.get("configmap", "only-here")


def processes_of(folder: Path) -> list[str]:
    """Every process that names `folder` on its command line, ours and strangers' alike."""
    listing = subprocess.run(
        ["ps", "-axww", "-o", "pid=,stat=,command="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [line for line in listing if str(folder) in line and not line.split()[1].startswith("Z")]


@contextmanager
def started(*command: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed at the end of the block, also when the test has failed."""
    with subprocess.Popen(command, cwd=ROOT, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(predicate: Callable[[], object], what: str, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not predicate():
        assert time.monotonic() < deadline, f"{what}: not within {timeout} s"
        time.sleep(0.05)


@pytest.mark.usefixtures("local_programs")
def test_stop_leaves_no_process_and_no_key(tmp_path: Path) -> None:
    local = LocalCluster(tmp_path / "c")
    with local:
        assert len(processes_of(local.folder)) == 5
    assert processes_of(local.folder) == []
    left = {path.relative_to(local.folder).parts[0] for path in local.folder.rglob("*")}
    # The controller manager makes the folder of volume plugins some time after its start.
    assert left - {"volume-plugins"} == {"logs", "scheduler.json"}


@pytest.mark.usefixtures("local_programs")
def test_children_vanish_when_their_parent_is_killed(tmp_path: Path) -> None:
    """The parent starts the cluster in a thread that ends first: children must survive *that*."""
    folder = tmp_path / "c"
    script = f"""
        import threading, time
        from pathlib import Path
        from e2e.controlplane.cluster import LocalCluster
        cluster = LocalCluster(Path({str(folder)!r}))
        thread = threading.Thread(target=cluster.start)
        thread.start()
        thread.join()
        time.sleep(1)
        cluster.processes.check()
        print("up", flush=True)
        time.sleep(600)
    """
    command = (sys.executable, "-c", textwrap.dedent(script))
    with started(*command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        children = sorted(folder.glob("pids/*.json"))
        assert all(running(record) for record in children)
        parent.kill()
    if not sys.platform.startswith("linux"):  # there, the next start cleans up
        LocalCluster(folder).stop()
    # A process that is on its way out has no command line any more, but still its pid.
    wait_until(lambda: not any(map(running, children)), "the end of all children")
    assert processes_of(folder) == []


@pytest.fixture
def own_cache(tmp_path: Path, local_programs: None) -> dict[str, str]:
    """An environment for `python -m e2e.controlplane` with clusters of its own."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "bin").symlink_to(cache_dir() / "bin")
    return os.environ | {"FAIRSTOW_CACHE": str(tmp_path / "cache")}


def program(*arguments: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "e2e.controlplane", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=180, check=False
    )


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_during_up_leaves_nothing(own_cache: dict[str, str]) -> None:
    folder = Path(own_cache["FAIRSTOW_CACHE"]) / "clusters" / "default"
    command = (sys.executable, "-m", "e2e.controlplane", "up")
    with started(*command, env=own_cache, stderr=subprocess.PIPE) as up:
        wait_until((folder / "logs" / "kube-apiserver.log").exists, "the API server")
        up.send_signal(signal.SIGINT)
        code = up.wait(timeout=60)
    left = processes_of(folder)
    program("down", environ=own_cache)
    assert (code, left) == (1, [])


def test_up_replaces_what_a_crash_left_and_down_ends_it(own_cache: dict[str, str]) -> None:
    folder = Path(own_cache["FAIRSTOW_CACHE"]) / "clusters" / "default"
    try:
        first = program("up", environ=own_cache)
        assert first.returncode == 0, first.stderr
        before = {record.name: running(record) for record in folder.glob("pids/*.json")}
        assert "Already up" in program("up", environ=own_cache).stdout
        api_server = before["01-kube-apiserver.json"]
        assert api_server is not None
        os.kill(api_server, signal.SIGKILL)
        wait_until(lambda: program("status", environ=own_cache).returncode, "the crash")

        assert program("up", environ=own_cache).returncode == 0
        after = {record.name: running(record) for record in folder.glob("pids/*.json")}
        assert after.keys() == before.keys()
        assert not set(after.values()) & set(before.values())
        assert len(processes_of(folder)) == 5
        assert "default" in program("kubectl", "get", "namespaces", environ=own_cache).stdout
    finally:
        assert program("down", environ=own_cache).returncode == 0
    assert processes_of(folder) == []


@pytest.mark.parametrize("reused", [True, False])
def test_down_ends_what_it_started_and_never_a_stranger(
    own_cache: dict[str, str], reused: bool
) -> None:
    """A record whose start time is not the process's own is of an earlier holder of its pid."""
    folder = Path(own_cache["FAIRSTOW_CACHE"]) / "clusters" / "default" / "pids"
    folder.mkdir(parents=True)
    with started("sleep", "600") as earlier:
        identity = launch.identity(earlier.pid)
        time.sleep(0.05)  # the kernel counts start times in hundredths of a second
    with started("sleep", "600") as sleeper:
        if not reused:
            identity = launch.identity(sleeper.pid)
        content = {"pid": sleeper.pid, "identity": identity}
        (folder / "00-etcd.json").write_text(json.dumps(content))

        assert program("down", environ=own_cache).returncode == 0
        assert (sleeper.poll() is None) == reused


@pytest.mark.usefixtures("local_programs")
def test_a_component_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    options = ClusterOptions(apiserver_args=("--no-such-flag",))
    local = LocalCluster(tmp_path / "c", options)
    with pytest.raises(ComponentError, match="no-such-flag") as failure:
        local.start()
    assert str(local.folder / "logs" / "kube-apiserver.log") in str(failure.value)
    assert processes_of(local.folder) == []


@pytest.mark.usefixtures("local_programs")
def test_a_port_that_somebody_took_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pick = Ports.pick
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        choices = iter([replace(pick(), apiserver=port), replace(pick(), etcd=port)])
        monkeypatch.setattr(Ports, "pick", lambda: next(choices, None) or pick())
        with LocalCluster(tmp_path / "c") as cluster:
            assert cluster.get("namespaces")["items"]
    assert next(choices, None) is None


@pytest.mark.usefixtures("local_programs")
def test_a_component_can_be_killed_and_restarted(tmp_path: Path) -> None:
    """What tests of faults need: the data survives the API server and its storage."""
    local = LocalCluster(tmp_path / "c")
    with local as cluster:
        cluster.kubectl("create", "configmap", "kept")
        for name in ("etcd", "kube-apiserver"):
            os.kill(local.processes.pid(name), signal.SIGKILL)
            local.processes.restart(name)
        cluster.wait(lambda: cluster.get("configmap", "kept"), "the API server's return")
        local.processes.check()
