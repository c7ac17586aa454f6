"""`kubectl fairstow`'s verbs on plans and policies, as people type them, on a real API server.

Covers creating a plan from the live cluster, tables, watching, decisions (asked back, dry run, two
people at once, without permission), policies, and a cluster without the custom resources. Who does
what a plan says isn't covered: no operator runs here, the tests write the statuses.
"""

from __future__ import annotations

import json
import signal
import subprocess
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.crds import CRDS, install_crds
from e2e.test_snapshot import pod
from fairstow.api import KINDS
from tests.api.objects import EXAMPLES, changed
from tests.cli.program import FAIRSTOW, environment, run, run_on_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.controlplane.client import Cluster

    Fairstow = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.e2e

KINDS_OF_OURS = [f"crd/{kind.resource.plural}.fairstow.dev" for kind in KINDS]


def install(cluster: Cluster) -> None:
    install_crds(cluster)
    cluster.wait(lambda: cluster.get("pplan,ppol,gpool"), "discovery of the custom resources")


@pytest.fixture
def api(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with the CRDs; the test's plans and policies are removed afterwards."""
    install(cluster)
    yield cluster
    cluster.kubectl("delete", "--all", "pplan,ppol")


@pytest.fixture
def fairstow(api: Cluster) -> Fairstow:
    """A function that runs the program on the cluster."""
    return lambda *words: run(*words, "--kubeconfig", str(api.kubeconfig))


def create(api: Cluster, kind: str = "PackingPlan", **changes: Any) -> str:
    """Create the example plan or policy under a new name."""
    name = f"{'plan' if kind == 'PackingPlan' else 'policy'}-{uuid.uuid4().hex[:8]}"
    paths = {path.replace("__", "."): value for path, value in changes.items()}
    obj = changed(EXAMPLES[kind], {"metadata.name": name} | paths)
    api.kubectl("create", "-f", "-", stdin=json.dumps(obj))
    return name


def tell(api: Cluster, name: str, type_: str, status: str, reason: str, **more: Any) -> None:
    """Write a plan's status, as the operator would."""
    said = {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": f"It is {reason}.",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    body = json.dumps({"status": {"conditions": [said], **more}})
    api.kubectl("patch", "pplan", name, "--subresource=status", "--type=merge", "-p", body)


# Making a plan


@pytest.fixture
def stuck(cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]]) -> tuple[str, str]:
    """A pod of 5 GPUs that no node of 8 has room for until a small one moves; its namespace."""
    left, right = gpu_nodes(2)
    for node in (left, right):
        small = pod("x", namespace, gpus=4, nodeName=node)["spec"]
        replicaset = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": f"small-{node}", "namespace": namespace},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": node}},
                "template": {"metadata": {"labels": {"app": node}}, "spec": _anywhere(small)},
            },
        }
        cluster.apply([replicaset])
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod", "--all")
    cluster.apply([pod("big", namespace, gpus=5, tolerations=TOLERATE)])
    cluster.kubectl("-n", namespace, "wait", "--for=condition=PodScheduled=false", "pod/big")
    return namespace, "big"


TOLERATE = [{"key": "nvidia.com/gpu", "operator": "Exists"}]


def _anywhere(spec: dict[str, Any]) -> dict[str, Any]:
    """What starts on a node and may run elsewhere."""
    node = spec.pop("nodeName")
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In",
                                  "values": [node]}]}  # fmt: skip
    prefer = [{"weight": 100, "preference": term}]
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": prefer}}
    return spec | {"affinity": affinity, "tolerations": TOLERATE}


def test_a_plan_of_the_live_cluster_is_created_once_and_approved(
    api: Cluster, fairstow: Fairstow, stuck: tuple[str, str]
) -> None:
    dry = fairstow("plan", "--apply", "--dry-run")
    assert "would be created (dry run" in dry.stderr
    assert api.items("pplan") == []

    done = fairstow("plan", "--apply", "-o", "json")
    assert done.returncode == 0, done.stderr
    wire = json.loads(done.stdout)
    name = wire["metadata"]["name"]
    assert f"plan/{name} created" in done.stderr
    assert f"fairstow approve plan/{name}" in done.stderr

    again = fairstow("plan", "--apply")
    assert f"plan/{name} was there already" in again.stderr
    (stored,) = api.items("pplan")
    assert [p["name"] for p in stored["spec"]["placements"]] == ["big"]
    assert len(stored["spec"]["moves"]) == 1

    explained = fairstow("explain", "pod/big", "-n", stuck[0], "--no-plan").stdout
    assert "What Fairstow does about it\n" in explained
    assert "after moving 1 running pod; the operator hasn't looked at it yet" in explained
    assert explained.endswith(f"  fairstow approve plan/{name}\n")

    approved = fairstow("approve", f"plan/{name}")
    assert approved.returncode == 0, approved.stderr
    assert "1 running pod evicted and started on other nodes" in approved.stdout
    assert api.get("pplan", name)["spec"]["approval"]["decision"] == "Approved"


def test_a_dump_is_never_applied(fairstow: Fairstow) -> None:
    done = run("plan", "--apply", "-f", "x.json")
    assert done.returncode == 2
    assert "contradicts -f" in done.stderr


# Looking


def test_plans_are_listed_filtered_and_given_whole(api: Cluster, fairstow: Fairstow) -> None:
    waiting, over = create(api), create(api)
    tell(api, waiting, "Succeeded", "False", "WaitingForApproval")
    tell(api, over, "Stale", "True", "PodGone")
    lines = fairstow("plans").stdout.splitlines()
    rows = {line.split()[0]: line.split()[1:3] for line in lines[1:]}
    assert rows == {waiting: ["Waiting", "WaitingForApproval"], over: ["Stale", "PodGone"]}
    assert [line.split()[0] for line in fairstow("history").stdout.splitlines()[1:]] == [over]
    assert len(fairstow("plans", "-n", "team-a").stdout.splitlines()) == 3
    assert fairstow("plans", "-n", "team-z").stdout == ""

    listed = json.loads(fairstow("plans", "-o", "json").stdout)
    assert {item["metadata"]["name"] for item in listed["items"]} == {waiting, over}
    assert listed["items"][0]["spec"]["steps"]
    assert "kind: PackingPlan" in fairstow("plans", "-o", "yaml").stdout
    assert "It is PodGone." in fairstow("plans", "-o", "wide").stdout

    page = fairstow("describe", f"plan/{waiting}").stdout
    assert page.startswith(f"plan/{waiting}: Waiting (WaitingForApproval)\nIt is ")
    assert page.rstrip().endswith(f"fairstow approve plan/{waiting}")


def test_a_watch_shows_each_change_until_ctrl_c(api: Cluster, ctrl_c: None) -> None:
    name = create(api)
    process = subprocess.Popen(
        [FAIRSTOW, "plans", "-w", "--kubeconfig", str(api.kubeconfig)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    try:
        assert "STATE" in process.stdout.readline()
        assert process.stdout.readline().split()[1:3] == [name, "New"]
        tell(api, name, "Executing", "True", "Executing")
        assert process.stdout.readline().split()[1:3] == [name, "Executing"]
        tell(api, name, "Succeeded", "True", "Succeeded", stepsDone=1)
        assert process.stdout.readline().split()[1:5] == [name, "Succeeded", "Succeeded", "1/1"]
        other = create(api)
        assert process.stdout.readline().split()[1:3] == [other, "New"]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# Deciding


def test_on_a_terminal_a_decision_is_asked_back(api: Cluster) -> None:
    name = create(api)
    flags = ("--kubeconfig", str(api.kubeconfig))
    code, shown = run_on_terminal("approve", f"plan/{name}", *flags, typed="n\n")
    assert code == 1
    assert f"Approve plan/{name}? [y/N]" in shown
    assert "Nothing was changed." in shown
    assert "approval" not in api.get("pplan", name)["spec"]

    code, shown = run_on_terminal("approve", f"plan/{name}", *flags, typed="y\n")
    assert code == 0, shown
    by = api.get("pplan", name)["spec"]["approval"]["by"]
    assert f"plan/{name} approved by {by}" in shown
    assert (
        by
        == json.loads(api.kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    )


def test_a_dry_run_decides_nothing(api: Cluster, fairstow: Fairstow) -> None:
    name = create(api)
    for verb, word in (("approve", "approved"), ("reject", "rejected"), ("abort", "aborted")):
        done = fairstow(verb, f"plan/{name}", "--dry-run")
        assert done.returncode == 0, done.stderr
        assert f"would be {word}" in done.stdout
    assert {"approval", "abort"}.isdisjoint(api.get("pplan", name)["spec"])


def test_a_decision_stands(api: Cluster, fairstow: Fairstow) -> None:
    name = create(api)
    assert fairstow("reject", f"plan/{name}").returncode == 0
    again = fairstow("reject", f"plan/{name}")
    assert (again.returncode, "rejected it already" in again.stderr) == (0, True)
    other = fairstow("approve", f"plan/{name}")
    assert other.returncode == 1
    assert "has rejected it. A decision stands" in other.stderr
    assert api.get("pplan", name)["spec"]["approval"]["decision"] == "Rejected"


def test_of_two_people_at_once_one_decides_and_the_other_is_told(api: Cluster) -> None:
    for _ in range(3):
        name = create(api)
        both = [
            subprocess.Popen(
                [FAIRSTOW, verb, f"plan/{name}", "--kubeconfig", str(api.kubeconfig)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment(),
            )
            for verb in ("approve", "reject")
        ]
        said = [process.communicate(timeout=120) for process in both]
        codes = [process.returncode for process in both]
        assert sorted(codes) == [0, 1], said
        first = ("Approved", "Rejected")[codes.index(0)]
        assert api.get("pplan", name)["spec"]["approval"]["decision"] == first
        assert f"has {first.lower()} it" in said[codes.index(1)][1]


def test_progress_between_reading_and_deciding_is_no_obstacle(
    api: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fairstow.cli import deciding
    from fairstow.cli.live import Live

    name = create(api)
    send = deciding._send

    def after_progress(*args: Any, **kwargs: Any) -> Any:
        tell(api, name, "Succeeded", "False", "WaitingForApproval")
        return send(*args, **kwargs)

    monkeypatch.setattr(deciding, "_send", after_progress)
    live = Live(str(api.kubeconfig))
    deciding.decide(deciding.Verb.APPROVE, [name], live, yes=True, dry_run=False)
    assert api.get("pplan", name)["spec"]["approval"]["decision"] == "Approved"


def test_a_plan_that_is_over_is_refused_with_what_to_do(api: Cluster, fairstow: Fairstow) -> None:
    name = create(api)
    tell(api, name, "Stale", "True", "PodGone")
    for verb, said in (("approve", "plan --apply"), ("reject", "it is over"), ("abort", "is over")):
        done = fairstow(verb, f"plan/{name}")
        assert done.returncode == 1
        assert "Stale, PodGone: It is PodGone." in done.stderr
        assert said in done.stderr


def test_a_running_plan_is_aborted(api: Cluster, fairstow: Fairstow) -> None:
    name = create(api, spec__approval={"decision": "Approved", "by": "jane"})
    tell(api, name, "Executing", "True", "Executing")
    done = fairstow("abort", f"plan/{name}")
    assert done.returncode == 0, done.stderr
    assert "Nothing further is evicted" in done.stdout
    assert api.get("pplan", name)["spec"]["abort"]["by"]


def test_without_permission_the_missing_verb_is_named(
    api: Cluster, namespace: str, tmp_path: Path
) -> None:
    name = create(api)
    role = f"reader-{uuid.uuid4().hex[:6]}"
    api.kubectl("-n", namespace, "create", "serviceaccount", "reader")
    reader = api.as_service_account(namespace, "reader", tmp_path / "reader.kubeconfig")
    flags = ("--kubeconfig", str(reader.kubeconfig))
    nothing = run("plans", *flags)
    assert nothing.returncode == 3
    assert "kubectl auth can-i list packingplans.fairstow.dev" in nothing.stderr

    resources = "--resource=packingplans.fairstow.dev"
    api.kubectl("create", "clusterrole", role, "--verb=get,list", resources)
    subject = f"--serviceaccount={namespace}:reader"
    api.kubectl("create", "clusterrolebinding", role, f"--clusterrole={role}", subject)
    try:
        api.wait(lambda: run("plans", *flags).returncode == 0, "the reader's rights")
        done = run("approve", f"plan/{name}", *flags)
        assert done.returncode == 3
        assert "you may not patch it (403 Forbidden)" in done.stderr
        assert "kubectl auth can-i patch packingplans.fairstow.dev" in done.stderr
    finally:
        api.kubectl("delete", "clusterrolebinding,clusterrole", role)


def test_an_unknown_name_is_answered_with_the_nearest(api: Cluster, fairstow: Fairstow) -> None:
    name = create(api)
    done = fairstow("approve", f"plan/{name[:-1]}")
    assert done.returncode == 2
    assert f"Did you mean:\n  plan/{name}" in done.stderr


# Policies


def test_a_policy_is_run_suspended_and_resumed(api: Cluster, fairstow: Fairstow) -> None:
    name = create(api, "PackingPolicy")
    (row,) = fairstow("policies").stdout.splitlines()[1:]
    assert row.split()[:4] == [name, "a100", "Auto", "no"]

    done = fairstow("run", f"policy/{name}")
    assert done.returncode == 0, done.stderr
    assert "fairstow.dev/run-requested-at" in api.get("ppol", name)["metadata"]["annotations"]

    assert "would be suspended" in fairstow("suspend", f"policy/{name}", "--dry-run").stdout
    assert "suspended: no new plan" in fairstow("suspend", f"ppol/{name}").stdout
    assert api.get("ppol", name)["spec"]["suspend"] is True
    assert "is suspended already" in fairstow("suspend", name).stdout
    assert "It is suspended: fairstow resume" in " ".join(fairstow("run", name).stdout.split())
    assert "resumed" in fairstow("resume", f"policy/{name}").stdout
    assert api.get("ppol", name)["spec"]["suspend"] is False


# Examining an installation


def found(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {each["check"]: each["level"] for each in json.loads(done.stdout)}


def test_doctor_tells_what_is_missing_and_what_is_well(
    api: Cluster, fairstow: Fairstow, namespace: str
) -> None:
    # In a namespace of its own: other tests leave Leases and endpoints in the installation's.
    done = fairstow("doctor", "-n", namespace, "-o", "json")
    assert done.returncode == 1, done.stderr
    assert found(done) == {
        "Kubernetes": "ok",
        "clock": "ok",
        **{f"crd/{kind.resource.plural}": "ok" for kind in KINDS},
        "validatingwebhookconfiguration": "fail",
        "mutatingwebhookconfiguration": "fail",
        "operator": "fail",
        "extender": "warn",
        "scheduler": "warn",
        "your rights": "ok",
    }
    assert "broken" in fairstow("doctor").stdout

    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "fairstow-operator", "namespace": namespace},
        "spec": {"holderIdentity": "a", "leaseDurationSeconds": 60, "renewTime": now},
    }
    api.apply([lease])
    crd = "crd/packingplans.fairstow.dev"
    api.kubectl("label", crd, "fairstow.dev/schema=older", "--overwrite")
    try:
        again = found(fairstow("doctor", "-n", namespace, "-o", "json"))
        assert (again["operator"], again["crd/packingplans"]) == ("ok", "warn")
    finally:
        api.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))


# Without the custom resources


def test_a_cluster_without_fairstow_is_told_apart(cluster: Cluster) -> None:
    cluster.kubectl("delete", "--ignore-not-found", *KINDS_OF_OURS)
    flags = ("--kubeconfig", str(cluster.kubeconfig))
    try:
        for words in (("plans",), ("approve", "plan/x"), ("policies",), ("run", "policy/x")):
            done = run(*words, *flags)
            assert done.returncode == 2, done.stderr
            assert "Fairstow's custom resources aren't installed" in done.stderr
            assert "kubectl apply --server-side -f crds/" in done.stderr
    finally:
        install(cluster)
