"""`snapshot`: dumps put together in one clean file.

Leaves out live clusters (tests/kube, e2e).
"""

import gzip
import json
from pathlib import Path

import pytest

from fairstow.cluster import dump as dumps
from fairstow.cluster.project import build
from tests.cli.program import Json, run, stuck, write_dump
from tests.packing.checker_clusters import node, pod


def hash_of(path: Path) -> str:
    return build(dumps.read([str(path)])).hash


@pytest.mark.parametrize("name", ["out.json", "out.json.gz"])
def test_it_holds_the_same_cluster(name: str, dump: Path, tmp_path: Path) -> None:
    out = tmp_path / name
    done = run("snapshot", "-f", str(dump), "-o", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 nodes" in done.stdout
    assert "1 priorityclass" in done.stdout
    assert f"fairstow plan -f {out}" in done.stdout
    assert hash_of(out) == hash_of(dump)
    assert out.stat().st_mode & 0o077 == 0, "readable by its owner alone"


def test_kinds_that_are_known_to_be_empty_stay_known(tmp_path: Path) -> None:
    whole = write_dump(tmp_path / "a.json", [node("a")])
    part = write_dump(tmp_path / "b.json", [node("a")], unknown=["PodDisruptionBudget"])
    for path in (whole, part):
        run("snapshot", "-f", str(path), "-o", str(tmp_path / "out.json"))
        assert hash_of(tmp_path / "out.json") == hash_of(path)


def test_what_may_be_confidential_is_left_out(tmp_path: Path) -> None:
    secret = pod("web", "a")
    secret["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "hush"
    secret["metadata"]["managedFields"] = [{"manager": "hush"}]
    secret["spec"]["containers"][0]["env"] = [{"name": "PASSWORD", "value": "hush"}]
    hidden = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s"},
        "data": {"a": "hush"},
    }
    path = write_dump(tmp_path / "x.json", [node("a"), secret, hidden])
    done = run("snapshot", "-f", str(path), "-o", "-")
    assert done.returncode == 0
    assert "hush" not in done.stdout
    assert len(json.loads(done.stdout)["items"]) == 4 + 2


def test_what_decides_where_volumes_go_is_kept_without_what_drivers_are_told(
    tmp_path: Path,
) -> None:
    storage: list[Json] = [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "team-a"},
            "spec": {"volumeName": "pv"},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "pv"},
            "spec": {
                "csi": {"driver": "d", "volumeHandle": "1", "volumeAttributes": {"k": "hush"}}
            },
        },
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "disk"},
            "provisioner": "d",
            "parameters": {"k": "hush"},
        },
        {"apiVersion": "storage.k8s.io/v1", "kind": "CSINodeList", "items": []},
    ]
    path = write_dump(tmp_path / "x.json", [node("a"), *storage])
    out = tmp_path / "out.json"
    assert run("snapshot", "-f", str(path), "-o", str(out)).returncode == 0
    assert "hush" not in out.read_text()
    assert hash_of(out) == hash_of(path)


def test_several_parts_become_one(tmp_path: Path) -> None:
    nodes = write_dump(tmp_path / "nodes.json.gz", [node("a")], unknown=["Job"])
    pods = write_dump(tmp_path / "pods.json", [pod("web", "a")])
    out = tmp_path / "out.json.gz"
    assert run("snapshot", "-f", str(nodes), "-f", str(pods), "-o", str(out)).returncode == 0
    assert b'"web"' in gzip.decompress(out.read_bytes())


def test_bad_input_leaves_no_file_and_the_old_one_alone(tmp_path: Path) -> None:
    old = tmp_path / "out.json"
    old.write_text("precious")
    bad = write_dump(tmp_path / "x.json", [pod("web", "gone")])
    assert run("snapshot", "-f", str(bad), "-o", str(old)).returncode == 2
    assert old.read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.json", "x.json"]


def test_a_device_is_written_to_and_not_replaced(dump: Path) -> None:
    done = run("snapshot", "-f", str(dump), "-o", "/dev/null")
    assert done.returncode == 0
    assert Path("/dev/null").is_char_device()


def test_its_own_output_can_be_its_input(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "x.json", stuck())
    before = hash_of(path)
    assert run("snapshot", "-f", str(path), "-o", str(path)).returncode == 0
    assert hash_of(path) == before


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_an_anonymized_dump_decides_the_same_and_names_nobody(
    source: str, dump: Path, tmp_path: Path
) -> None:
    out = tmp_path / "post.json.gz"
    given = ("-f", str(dump)) if source == "file" else ("-f", "-")
    stdin = dump.read_bytes() if source == "stdin" else b""
    done = run("snapshot", *given, "--anonymize", "-o", str(out), stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Look it over before you post it" in done.stdout
    text = gzip.decompress(out.read_bytes()).decode()
    for name in ("left", "middle", "right", "small", "big", "half", "full", "team-", "west"):
        assert name not in text
    assert "H100" in text, "a public product's name is kept"
    plans = [
        json.loads(run("plan", "-f", str(path), "-o", "json").stdout)["spec"]
        for path in (dump, out)
    ]
    for key in ("tiers", "cost", "budgets", "order"):
        assert plans[0][key] == plans[1][key]
    assert [len(plans[0][k]) for k in ("moves", "steps")] == [
        len(plans[1][k]) for k in ("moves", "steps")
    ]


def test_kinds_known_to_be_empty_stay_known_when_anonymized(tmp_path: Path) -> None:
    part = write_dump(tmp_path / "b.json", [node("a")], unknown=["PodDisruptionBudget"])
    run("snapshot", "-f", str(part), "--anonymize", "-o", str(tmp_path / "out.json"))
    known = build(dumps.read([str(tmp_path / "out.json")])).known
    assert "Job" in known
    assert "PodDisruptionBudget" not in known
