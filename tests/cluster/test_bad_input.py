"""Damaged, absurd and hostile dumps: always an InputError that names object and field.

Property: whatever the bytes, reading gives a snapshot or an InputError, and the message can't
steer a terminal. Memory is in test_memory; exit code and layout of messages in tests/cli.
"""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fairstow.cluster import dump, json_items, project, text
from fairstow.cluster.errors import InputError
from tests.cluster.objects import (
    GPU,
    as_json,
    as_yaml,
    budget,
    job,
    listed,
    node,
    packed,
    pod,
    priority_class,
    read,
    snapshot,
)


def problem(path: Path, data: bytes, name: str = "dump.json") -> InputError:
    """The error that a file with this content causes."""
    with pytest.raises(InputError) as refused:
        read(path, data, name)
    said = str(refused.value)
    assert all(line.isprintable() for line in said.splitlines()), said
    return refused.value


def changed(*path: Any, to: Any) -> dict[str, Any]:
    """A pod (path[0] "pod"), node, … with one field replaced."""
    kind, *outer, last = path
    made: dict[str, Any] = {
        "pod": pod(volumes=[], tolerations=[{"key": "a"}], affinity={}),
        "node": node(taints=[{"key": "a", "effect": "NoSchedule"}]),
        "budget": budget(),
        "job": job(),
        "class": priority_class("low", 1),
    }[kind]
    target: Any = made
    for key in outer:
        target = target[key]
    target[last] = to
    return made


FIELDS: list[tuple[tuple[Any, ...], Any, str, str]] = [
    # path, value, how the object is named, what is said of the field
    (("node", "status"), {}, "Node node-0", "field status.allocatable: missing"),
    (("node", "status", "allocatable"), None, "Node node-0", "field status.allocatable: missing"),
    (("node", "status", "allocatable"), {}, "Node node-0", "field status.allocatable: missing"),
    (("node", "status", "allocatable"), [1], "Node node-0", "field status.allocatable: expected"),
    (("node", "status", "allocatable", "cpu"), "-8", "Node node-0",
     "field status.allocatable.cpu: '-8' is negative"),
    (("node", "status", "allocatable", "memory"), "16GB", "Node node-0",
     "field status.allocatable.memory: '16GB' is not a quantity"),
    (("node", "status", "allocatable", GPU), "1e30", "Node node-0", "beyond what Kubernetes"),
    (("node", "status", "allocatable", GPU), 10**30, "Node node-0", "beyond what Kubernetes"),
    (("node", "status", "allocatable", GPU), "HUGE", "Node node-0", "field status.allocatable"),
    (("node", "status", "allocatable", "cpu"), True, "Node node-0", "status.allocatable"),
    (("node", "status", "allocatable", "cpu"), None, "Node node-0", "status.allocatable"),
    (("node", "status", "conditions"), [{"type": "Ready"}], "Node node-0",
     "field status.conditions[0]: object missing required field `status`"),
    (("node", "spec", "taints", 0), "gpu", "Node node-0", "field spec.taints[0]"),
    (("node", "spec", "unschedulable"), "yes", "Node node-0", "field spec.unschedulable"),
    (("node", "metadata", "labels"), {"zone": 7}, "Node node-0",
     "field metadata.labels[...]: expected `str`, got `int`"),
    (("node", "metadata", "labels"), [], "Node node-0", "field metadata.labels"),
    (("node", "metadata", "name"), "", "Node number 1", "field metadata.name"),
    (("node", "metadata", "name"), "a/b", "Node a/b", "field metadata.name"),
    (("node", "metadata", "name"), "a\x1b[2Jb", "Node a", "field metadata.name"),
    (("node", "metadata", "name"), 7, "Node 7", "field metadata.name: expected `str`"),
    (("node", "metadata"), None, "Node number 1", "field metadata"),
    (("node", "metadata"), [], "Node number 1", "field metadata"),
    (("node", "kind"), 7, "item number 1", "field kind: expected"),
    (("node", "kind"), None, "item node-0", "field kind: missing"),
    (("pod", "spec"), None, "Pod team/pod-0", "field spec"),
    (("pod", "spec", "containers"), None, "Pod team/pod-0", "field spec.containers"),
    (("pod", "spec", "containers", 0), [], "Pod team/pod-0", "field spec.containers[0]"),
    (("pod", "spec", "containers", 0, "resources"), "x", "Pod team/pod-0",
     "field spec.containers[0].resources"),
    (("pod", "spec", "containers", 0, "resources", "requests", GPU), "-1", "Pod team/pod-0",
     f"field spec.containers[0].resources.requests.{GPU}: '-1' is negative"),
    (("pod", "spec", "nodeName"), 7, "Pod team/pod-0", "field spec.nodeName"),
    (("pod", "spec", "nodeName"), "gone", "Pod team/pod-0",
     "field spec.nodeName: no Node gone in the input"),
    (("pod", "spec", "priority"), 10**12, "Pod team/pod-0", "field spec.priority"),
    (("pod", "spec", "priority"), 1.5, "Pod team/pod-0", "field spec.priority"),
    (("pod", "spec", "tolerations", 0, "key"), {}, "Pod team/pod-0", "field spec.tolerations"),
    (("pod", "spec", "volumes"), ["d"], "Pod team/pod-0", "field spec.volumes"),
    (("pod", "spec", "volumes"), [{"emptyDir": "x"}], "Pod team/pod-0",
     "field spec.volumes.emptyDir"),
    (("pod", "spec", "affinity"), {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "a", "operator": "Like"}]}]}}},
     "Pod team/pod-0", "field nodeSelectorTerms.matchExpressions.operator: 'Like' is none of"),
    (("pod", "metadata", "namespace"), "a b", "Pod a b/pod-0", "field metadata.namespace"),
    (("pod", "metadata", "annotations"), {"a": []}, "Pod team/pod-0", "field metadata.annotat"),
    (("pod", "metadata", "ownerReferences"), {"kind": "x"}, "Pod team/pod-0",
     "field metadata.ownerReferences"),
    (("budget", "status", "disruptionsAllowed"), "1", "PodDisruptionBudget team/budget",
     "field status.disruptionsAllowed"),
    (("budget", "status", "disruptionsAllowed"), 10**10, "PodDisruptionBudget team/budget",
     "field status.disruptionsAllowed"),
    (("budget", "spec", "selector"), {"matchExpressions": [{"key": "a", "operator": "Gt"}]},
     "PodDisruptionBudget team/budget", "field matchExpressions.operator: 'Gt' is none of"),
    (("class", "value"), "high", "PriorityClass low", "field value"),
    (("job", "spec", "podFailurePolicy"), [], "Job team/train", "field spec.podFailurePolicy"),
]  # fmt: skip


@pytest.mark.parametrize("ending", ["json", "yaml"])
@pytest.mark.parametrize(("path", "value", "named", "said"), FIELDS)
def test_object_and_field_are_named(
    tmp_path: Path, path: tuple[Any, ...], value: Any, named: str, said: str, ending: str
) -> None:
    objects = [changed(*path, to=value), node("another")]
    data = as_json(objects).replace(b'"HUGE"', b"1" + b"0" * 5000)
    name = f"dump.{ending}"
    if ending == "yaml":
        data = b"# JSON is YAML too\n" + data
    error = problem(tmp_path, data, name)
    assert named in error.where.replace("\ufffd", "")
    assert str(tmp_path / name) in error.where
    assert said.lower() in error.problem.lower()


def test_twice_the_same_uid(tmp_path: Path) -> None:
    twin = pod("b", metadata={"uid": "uid-team-a"})
    error = problem(tmp_path, as_json([node(), pod("a"), twin]))
    assert "Pod team/b" in error.where
    assert "field metadata.uid: uid-team-a is also that of" in error.problem
    assert "Pod team/a" in error.problem


@pytest.mark.parametrize("make", [node, pod, budget])
def test_twice_the_same_name(tmp_path: Path, make: Any) -> None:
    first, second = make("same"), make("same")
    second["metadata"]["uid"] = "other"
    error = problem(tmp_path, as_json([node("x"), first, second]))
    assert "field metadata.name: same occurs twice" in error.problem


def test_two_dumps_that_hold_the_same_object(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_bytes(as_json([node()]))
    with pytest.raises(InputError, match=r"b\.json: Node node-0: field metadata\.uid.*a\.json"):
        project.build(dump.read([str(tmp_path)]))


def test_objects_without_uids_are_told_apart_by_name(tmp_path: Path) -> None:
    objects = [node(), pod("a"), pod("a", "other"), budget("a")]
    for each in objects:
        del each["metadata"]["uid"]
    assert len(read(tmp_path, as_json(objects)).pods) == 2


def test_pods_on_unknown_nodes_are_counted(tmp_path: Path) -> None:
    lost = [pod(f"p-{i}", nodeName="gone") for i in range(3)]
    error = problem(tmp_path, as_json([node(), *lost]))
    assert "Pod team/p-0" in error.where
    assert "no Node gone in the input (3 pods are like this)" in error.problem
    assert "kubectl get nodes,pods" in error.hint


@pytest.mark.parametrize("kinds", [[], ["ConfigMap", "Deployment"]])
def test_no_nodes_at_all(tmp_path: Path, kinds: list[str]) -> None:
    error = problem(tmp_path, as_json([{"kind": k, "metadata": {"name": "x"}} for k in kinds]))
    assert f"holds no Node (found: {', '.join(kinds) or 'nothing'})" in error.problem
    assert "kubectl get nodes,pods" in error.hint


def test_a_missing_file_an_unreadable_one_and_an_empty_folder(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "missing.json", "can't be read: No such file"),
        (tmp_path, "the folder holds no file ending in .json"),
    ):
        with pytest.raises(InputError) as refused:
            list(dump.read([str(path)]))
        assert refused.value.where == str(path)
        assert refused.value.problem.startswith(said)
    loop = tmp_path / "loop.json"
    loop.symlink_to(loop)
    with pytest.raises(InputError, match="can't be read"):
        list(dump.read([str(loop)]))


DAMAGE: list[tuple[str, bytes, str]] = [
    ("empty", b"", "is empty"),
    ("white-space", b" \n\t" * 10, "is empty"),
    ("truncated.json", as_json([node()])[:-40], "isn't whole JSON"),
    ("truncated-early.json", b'{"kind": "List", "items": [', "isn't whole JSON"),
    ("half.json", b"{", "isn't whole JSON"),
    ("two.json", as_json([node()]) * 2, "isn't whole JSON"),
    ("trailing.json", as_json([node()]) + b"]", "isn't whole JSON"),
    ("comma.json", b'{"items": [' + json.dumps(node()).encode() + b",]}", "isn't whole JSON"),
    ("nan.json", as_json([node()]).replace(b'"8"', b"NaN"), "isn't whole JSON"),
    ("single-quotes.json", b"{'kind': 'List'}", "isn't whole JSON"),
    ("nul.json", as_json([node()]).replace(b'"8"', b"\x00"), "isn't whole JSON"),
    ("latin1.json", as_json([node("ok", labels={"a": "X"})]).replace(b'"X"', b'"\xfc"'), "utf-8"),
    ("surrogate.json", as_json([node("ok", labels={"a": "X"})]).replace(b'"X"', b'"\\ud800"'),
     "isn't whole JSON"),
    ("deep.json", b'{"items": ' + b"[" * 100_000, "isn't whole JSON"),
    ("deep-item.json", b'{"items": [' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"]}", "JSON"),
    ("items-object.json", b'{"kind": "List", "items": {}}', "field items: expected `array"),
    ("items-object.yaml", b"kind: List\nitems: {}\n", "field items: expected `array"),
    ("null-item.json", b'{"items": [null]}', "is no Kubernetes object"),
    ("null-item.yaml", b"items:\n-\n", "is no Kubernetes object"),
    ("number-item.json", b"[1]", "is no Kubernetes object"),
    ("number.json", b"17", "is no Kubernetes object"),
    ("text.yaml", b"hello world", "is no Kubernetes object"),
    ("html", b"<html><body>Login</body></html>", "is no Kubernetes object"),
    ("table", b"NAME   STATUS   ROLES\nnode-0 Ready    <none>\n", "is no Kubernetes object"),
    ("tab.yaml", b"kind:\tList\n\titems: []\n", "isn't YAML"),
    ("unclosed.yaml", b'kind: "List', "isn't YAML"),
    ("binary", bytes(range(256)), "isn't YAML"),
    ("alias.yaml", b"a: &x [1]\nb: *x\n", "aliases (*name) are refused"),
    ("alias-key.yaml", b"a: &x b\n*x : c\n", "a key is no text"),
    ("tag.yaml", b"a: !!python/object/apply:os.system ['true']\n", "tags (!name) are refused"),
    ("tag-top.yaml", b"!x {a: b}\n", "tags (!name) are refused"),
    ("merge.yaml", b"kind: Node\n<<: {a: 1}\nmetadata: {name: a}\n", "status.allocatable"),
    ("twice.yaml", b"kind: List\nkind: List\n", "the key kind occurs twice"),
    ("twice-items.yaml", b"items: []\nitems: []\n", "the key items occurs twice"),
    ("complex-key.yaml", b"? [a]\n: b\n", "a key is no text"),
    ("deep.yaml", b"a: " + b"[" * 500, "nested deeper"),
    ("surrogate.yaml", b'a: "\\ud800"\n', "isn't YAML"),
    ("cut.gz", packed(as_json([node()]))[:-10], "damaged or cut-off gzip"),
    ("bad-sum.gz", packed(as_json([node()]))[:-8] + bytes(8), "damaged or cut-off gzip"),
    ("cut-head.gz", b"\x1f\x8b", "damaged or cut-off gzip"),
    ("bad-method.gz", b"\x1f\x8b\xff" + bytes(20), "damaged or cut-off gzip"),
    ("cut-yaml.gz", packed(as_yaml([node()]) * 100)[:-10], "damaged or cut-off gzip"),
    ("twice.gz", packed(packed(as_json([node()]))), "isn't YAML"),
    ("cut-utf16", as_json([node()]).decode().encode("utf-16")[:-1], "damaged UTF-16"),
    ("lone-utf16", b"\xff\xfe\x00\xd8", "damaged UTF-16"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "said"), DAMAGE, ids=[d[0] for d in DAMAGE])
def test_damage_is_named(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    error = problem(tmp_path, data, name)
    assert str(tmp_path / name) in str(error)
    assert said in str(error)


def test_how_far_a_cut_off_dump_was_whole_is_said(tmp_path: Path) -> None:
    data = as_json([node(), *(pod(f"pod-{i}", labels={"x": "y" * 900}) for i in range(6000))])
    error = problem(tmp_path, data[: len(data) * 3 // 4])
    count = int(error.problem.partition("; ")[2].partition(" objects were whole")[0])
    assert 2000 < count < 4600


def test_the_bound_on_text_holds_for_every_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "MAX_BYTES", 3 << 20)
    objects = [node(), *(pod(f"pod-{i}", labels={"x": "y" * 900}) for i in range(4000))]
    for data in (as_json(objects), packed(as_json(objects)), as_yaml(objects)):
        assert "holds more than 3 MiB" in problem(tmp_path, data).problem


@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_an_object_larger_than_any_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(json_items, "MAX_ITEM", 1 << 20)
    monkeypatch.setattr("fairstow.cluster.yaml_items.MAX_ITEM", 1 << 20)
    huge = pod("huge", annotations={f"a-{i}": "x" * 1000 for i in range(4000)})
    make = as_json if ending == "json" else as_yaml
    error = problem(tmp_path, make([node(), huge]), f"dump.{ending}")
    assert error.where.endswith(": item number 2")
    assert "longer than 1 MiB" in error.problem


SAMPLE = [
    node(labels={"zone": "a"}, taints=[{"key": "gpu", "effect": "NoSchedule"}]),
    pod("a", nodeName="node-0", labels={"app": "web"}, tolerations=[{"operator": "Exists"}]),
    pod("b", volumes=[{"name": "s", "emptyDir": {}}], requests={"cpu": "0.5", GPU: "1"}),
    budget(),
    job(),
    priority_class("high", 1000),
]
TEXTS = {
    "json": as_json(SAMPLE),
    "compact": as_json(SAMPLE, None),
    "yaml": as_yaml(SAMPLE),
    "json.gz": gzip.compress(as_json(SAMPLE), mtime=0),
    "yaml.gz": gzip.compress(as_yaml(SAMPLE), mtime=0),
}


def read_or_refuse(path: Path, data: bytes) -> None:
    """Read a dump; only an InputError may come out, and a snapshot must be usable."""
    try:
        found = read(path, data, "fuzzed")
    except InputError as error:
        said = str(error)
    else:
        said = found.hash
    assert all(line.isprintable() for line in said.splitlines())


fuzzed = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200
)


@fuzzed
@given(st.sampled_from(sorted(TEXTS)), st.data())
def test_cut_off_anywhere(tmp_path: Path, form: str, data: st.DataObject) -> None:
    whole = TEXTS[form]
    read_or_refuse(tmp_path, whole[: data.draw(st.integers(0, len(whole)))])


@fuzzed
@given(
    st.sampled_from(sorted(TEXTS)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(max_size=6)), max_size=5),
)
def test_bytes_changed_anywhere(
    tmp_path: Path, form: str, edits: list[tuple[float, int, bytes]]
) -> None:
    damaged = bytearray(TEXTS[form])
    for where, removed, added in edits:
        start = int(where * len(damaged))
        damaged[start : start + removed] = added
    read_or_refuse(tmp_path, bytes(damaged))


@fuzzed
@given(st.binary(max_size=300))
def test_random_bytes(tmp_path: Path, data: bytes) -> None:
    read_or_refuse(tmp_path, data)


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested data."""
    found = [path] if path else []
    if isinstance(value, dict):
        inner = list(value.items())
    else:
        inner = list(enumerate(value)) if isinstance(value, list) else []
    return found + [place for key, each in inner for place in paths(each, (*path, key))]


PLACES = paths(SAMPLE)


@fuzzed
@given(st.sampled_from(PLACES), anything, st.sampled_from(["json", "yaml"]))
@example((1, "spec", "nodeName"), "\u200b", "json")
def test_any_field_replaced_by_anything(
    tmp_path: Path, place: tuple[Any, ...], value: Any, form: str
) -> None:
    objects = copy.deepcopy(SAMPLE)
    target: Any = objects
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    try:
        data = as_json(objects) if form == "json" else as_yaml(objects)
    except UnicodeEncodeError:
        return
    read_or_refuse(tmp_path, data)


@fuzzed
@given(anything)
def test_any_json_at_all(tmp_path: Path, value: Any) -> None:
    read_or_refuse(tmp_path, json.dumps(value).encode())
    read_or_refuse(tmp_path, json.dumps(listed([node(), value])).encode())


def test_the_sample_that_is_damaged_above_is_whole(tmp_path: Path) -> None:
    for data in TEXTS.values():
        assert read(tmp_path, data) == snapshot(*SAMPLE)
