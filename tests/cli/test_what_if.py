"""`--with`: what if this were submitted; said as such, everywhere.

Covers what `plan`, `explain` and `--check` say and write. Leaves out how manifests become pods
(tests/cluster/test_what_if.py) and live clusters (e2e).
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import Json, run, stuck, write_dump
from tests.kube.server import Reply, kubeconfig, serving
from tests.packing.checker_clusters import GPU


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stuck cluster before anybody waits: 1 and 2 GPUs free at the sides and in the middle."""
    objects = [o for o in stuck() if o["metadata"]["name"] != "big-0"]
    return write_dump(tmp_path_factory.mktemp("idle") / "cluster.json", objects)


def job(pods: int, gpus: int, **spec: Any) -> Json:
    resources = {"limits": {"cpu": "1", GPU: str(gpus)}}
    template = {
        "containers": [{"name": "main", "resources": resources}], "restartPolicy": "Never", **spec
    }  # fmt: skip
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "new", "namespace": "team-b"},
        "spec": {"parallelism": pods, "template": {"spec": template}},
    }


def write(path: Path, *manifests: Json) -> str:
    path.write_text("\n---\n".join(map(json.dumps, manifests)))
    return str(path)


def answer(tmp_path: Path, dump: Path, *manifests: Json, command: str = "plan") -> str:
    done = run(command, "-f", str(dump), "--with", write(tmp_path / "new.yaml", *manifests))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


NOW = "would run as things are"
FREED = "by moving 2 running pods (cost 2)."
OUTCOMES: list[tuple[Json, str]] = [
    (job(1, 2), f"team-b/Job/new: it {NOW}, for example on middle."),
    (job(3, 1), f"team-b/Job/new, 3 pods: all 3 {NOW}"),
    (
        job(1, 4, priorityClassName="prod"),
        f"it would not run as things are; with the plan it would, on middle, {FREED}",
    ),
    (
        job(3, 2),
        f"1 of 3 {NOW}, for example on middle; with the plan 2 of 3 would, on middle (2), {FREED}",
    ),
    (
        job(2, 4),
        f"none {NOW}; with the plan 1 of 2 would, on middle, {FREED} Waits: 3 nodes may take it",
    ),
    (job(1, 9), "it would not run as things are, nor would it with the plan. Waits: 3 nodes may"),
]


@pytest.mark.parametrize("command", ["plan", "explain"])
@pytest.mark.parametrize(("made", "says"), OUTCOMES)
def test_whether_it_would_run(
    command: str, made: Json, says: str, idle: Path, tmp_path: Path
) -> None:
    text = answer(tmp_path, idle, made, command=command)
    assert text.startswith(f"WHAT IF {tmp_path / 'new.yaml'} was submitted: ")
    assert "no plan of the cluster as it is" in text
    assert says in text


def test_pods_that_wait_already_are_told_apart(dump: Path, tmp_path: Path) -> None:
    text = answer(tmp_path, dump, job(3, 1))
    assert "Of 1 pod that waits already the plan places 1;" in text
    assert "all 3 would run as things are" in text
    assert "with the plan for the whole cluster none would, for pods that wait already" in text


def test_next_commands_read_the_same(idle: Path, tmp_path: Path) -> None:
    text = answer(tmp_path, idle, job(1, 4))
    assert text.splitlines()[-1].endswith(f"-f {idle} --with {tmp_path / 'new.yaml'}")
    fits = answer(tmp_path, idle, job(1, 1), command="explain")
    assert fits.splitlines()[-1] == f"  kubectl create -f {tmp_path / 'new.yaml'}"
    huge = answer(tmp_path, idle, job(1, 9), command="explain")
    assert huge.splitlines()[-1] == f"  fairstow pools -f {idle}"


def test_a_plan_of_it_is_marked_and_checked_with_the_same_manifests(
    idle: Path, tmp_path: Path
) -> None:
    new = write(tmp_path / "new.yaml", job(1, 4))
    done = run("plan", "-f", str(idle), "--with", new, "-o", "json")
    assert "no plan of the cluster as it is" in done.stderr
    plan = json.loads(done.stdout)
    assert plan["metadata"]["name"].startswith("what-if-")
    assert plan["metadata"]["annotations"] == {"fairstow.dev/what-if": new}
    path = tmp_path / "plan.json"
    path.write_text(done.stdout)
    with_it = run("plan", "-f", str(idle), "--with", new, "--check", str(path))
    assert with_it.returncode == 0
    assert "no plan of the cluster as it is" in with_it.stdout
    without = run("plan", "-f", str(idle), "--check", str(path))
    assert without.returncode == 1
    assert f"it supposes that {new} was submitted" in without.stdout
    plan["spec"]["approval"] = {"decision": "Approved", "by": "jane"}
    path.write_text(json.dumps(plan))
    approved = run("plan", "-f", str(idle), "--with", new, "--check", str(path))
    assert approved.returncode == 1
    assert "NotApprovable" in approved.stdout


def test_a_plan_of_the_cluster_as_it_is_is_no_what_if(
    plan_json: str, dump: Path, tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(plan_json)
    new = write(tmp_path / "new.yaml", job(1, 1))
    done = run("plan", "-f", str(dump), "--with", new, "--check", str(path))
    assert done.returncode == 1
    assert "Leave --with out" in done.stdout


def test_it_may_come_by_standard_input_and_in_several_files(idle: Path, tmp_path: Path) -> None:
    made = json.dumps(job(1, 1)).encode()
    other = job(1, 1)
    other["metadata"]["name"] = "other"
    more = write(tmp_path / "more.yaml", other)
    done = run("plan", "-f", str(idle), "--with", "-", "--with", more, stdin=made)
    assert f"WHAT IF -, {more} were submitted: 2 new pods" in done.stdout
    twice = run("plan", "-f", "-", "--with", "-", stdin=made)
    assert (twice.returncode, twice.stdout) == (2, "")
    assert "both read standard input" in twice.stderr


def test_explain_as_json(idle: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new.yaml", job(2, 2))
    said = json.loads(run("explain", "-f", str(idle), "--with", new, "-o", "json").stdout)
    (workload,) = said["whatIf"]["workloads"]
    assert workload["runNow"] == {"middle": 1}
    assert workload["runWithPlan"] == {"middle": 2}
    assert (workload["moves"], workload["cost"]) == (2, 2)
    assert [e["pod"]["owner"] for e in said["explanations"]] == ["Job/new"]


def test_explain_without_a_plan(idle: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new.yaml", job(1, 4))
    text = run("explain", "-f", str(idle), "--with", new, "--no-plan").stdout
    assert text.startswith("WHAT IF ")
    assert "largest hole is 2 of the 4" in text
    assert "With a plan" not in text


def test_explain_needs_a_pod_or_manifests(idle: Path) -> None:
    done = run("explain", "-f", str(idle))
    assert (done.returncode, done.stdout) == (2, "")
    assert "Write it as pod/NAME" in done.stderr


def test_the_report_says_so(idle: Path, tmp_path: Path) -> None:
    new = write(tmp_path / "new.yaml", job(1, 4))
    report = tmp_path / "plan.html"
    run("plan", "-f", str(idle), "--with", new, "--report", str(report))
    assert f"<h1>What if {new} was submitted</h1>" in report.read_text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty\nGive the manifest of a Pod"),
        ("kind: Pod\n", "field"),
        ("{", "Give the manifest of a Pod"),
        ("a: [", "Give the manifest of a Pod"),
        ("apiVersion: v1\nkind: Widget\nmetadata: {name: x}\n", "Widget makes no pods"),
    ],
)
def test_bad_manifests(text: str, says: str, idle: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    done = run("plan", "-f", str(idle), "--with", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "kubectl get" not in done.stderr, "no hint on how to fetch a dump"


def test_a_running_cluster_is_asked_in_the_same_way(idle: Path, tmp_path: Path) -> None:
    objects = json.loads(idle.read_text())["items"]

    def answer(path: str, _query: dict[str, str]) -> Reply:
        kinds = {"nodes": "Node", "pods": "Pod", "priorityclasses": "PriorityClass"}
        wanted = kinds.get(path.rpartition("/")[2])
        found = [o for o in objects if o["kind"] == wanted]
        return 200, {"kind": "List", "metadata": {}, "items": found}, {}

    new = write(tmp_path / "new.yaml", job(1, 4, priorityClassName="prod"))
    with serving(answer) as server:
        config = tmp_path / "kubeconfig"
        config.write_text(kubeconfig(server))
        done = run("plan", "--kubeconfig", str(config), "--with", new)
        taken = run("plan", "--kubeconfig", str(config), "--with", new, "--with", new)
    assert (done.returncode, done.stderr) == (0, "")
    assert FREED in done.stdout
    assert done.stdout.splitlines()[-1].endswith(f"--kubeconfig {config} --with {new}")
    assert taken.returncode == 2
    assert "give it another name" in taken.stderr
