"""Reading dumps: the same cluster from every form, encoding and split it may come in.

Damaged and hostile input is in test_bad_input, memory in test_memory.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairstow.cluster import dump, json_items, project
from fairstow.cluster.errors import InputError
from tests.cluster.objects import (
    Object,
    as_json,
    as_yaml,
    budget,
    listed,
    namespace,
    node,
    packed,
    pod,
    read,
    snapshot,
)

OBJECTS = [
    node("node-0"),
    node("node-1"),
    *(pod(f"pod-{i}", nodeName=f"node-{i % 2}", labels={"app": "web"}) for i in range(5)),
    pod("waiting", requests={"cpu": "0.5", "memory": "1e9"}, volumes=[
        {"name": "labels", "downwardAPI": {"items": [{"path": "labels"}]}}
    ]),
    pod("yes", annotations={"fairstow.dev/note": "on: off, ~ & * ! # 1e3 \u00fc\u4e2d"}),
    budget(),
    namespace("team", env="null", year="2026", half="0.5", zero="0E0", day="2026-01-01"),
    namespace("other", size="1_000", on="no"),
]  # fmt: skip
WANTED = snapshot(*OBJECTS)

FORMS = {
    "indented.json": as_json(OBJECTS),
    "compact.json": as_json(OBJECTS, indent=None),
    "kind-first.json": json.dumps({"kind": "List", "items": OBJECTS}).encode(),
    "array.json": json.dumps(OBJECTS).encode(),
    "spaced.json": b" \r\n\t" + as_json(OBJECTS) + b"\n\n",
    "bom.json": "\ufeff".encode() + as_json(OBJECTS),
    "utf16.json": as_json(OBJECTS).decode().encode("utf-16"),
    "utf16be.json": b"\xfe\xff" + as_json(OBJECTS).decode().encode("utf-16-be"),
    "crlf.json": as_json(OBJECTS).replace(b"\n", b"\r\n"),
    "dump.json.gz": packed(as_json(OBJECTS)),
    "no-ending": packed(as_json(OBJECTS)),
    "list.yaml": as_yaml(OBJECTS),
    "documents.yaml": b"---\n".join(
        [b"---\n", *(as_yaml([o]) for o in OBJECTS[:3]), as_yaml(OBJECTS[3:]), b"---\n...\n"]
    ),
    "sequence.yaml": b"".join(
        b"- " + line + b"\n" if n == 0 else b"  " + line + b"\n"
        for o in OBJECTS
        for n, line in enumerate(json.dumps(o, indent=1).encode().splitlines())
    ),
    "crlf.yaml": as_yaml(OBJECTS).replace(b"\n", b"\r\n"),
    "bom.yaml": "\ufeff".encode() + as_yaml(OBJECTS),
    "utf16.yaml": as_yaml(OBJECTS).decode().encode("utf-16"),
    "dump.yaml.gz": packed(as_yaml(OBJECTS)),
    "nested.json": json.dumps(listed([listed(OBJECTS[:4]), listed(OBJECTS[4:])])).encode(),
    "nested.yaml": as_yaml([listed(OBJECTS[:4]), listed(OBJECTS[4:])]),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_snapshot(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, FORMS[name], name)
    assert found == WANTED
    assert found.hash == WANTED.hash


def test_labels_that_look_like_something_else_stay_text() -> None:
    assert dict(WANTED.namespaces["other"])["on"] == "no"
    assert dict(WANTED.namespaces["team"])["zero"] == "0E0"


def test_several_files_and_folders_are_read_together(tmp_path: Path) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "nodes.json").write_bytes(as_json(OBJECTS[:2]))
    (tmp_path / "folder" / "pods.yaml").write_bytes(as_yaml(OBJECTS[2:6]))
    (tmp_path / "folder" / "deep" / "more.json.gz").write_bytes(packed(as_json(OBJECTS[6:])))
    (tmp_path / "folder" / "README.md").write_text("not a dump")
    paths = [str(tmp_path / "nodes.json"), str(tmp_path / "folder")]
    assert project.build(dump.read(paths)) == WANTED


@pytest.mark.parametrize("name", ["indented.json", "dump.json.gz", "list.yaml", "utf16.json"])
def test_standard_input(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(FORMS[name])))
    assert project.build(dump.read(["-"])) == WANTED


def test_a_terminal_is_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(InputError, match="is a terminal"):
        list(dump.read(["-"]))


def test_a_list_of_one_kind_gives_its_items_their_kind(tmp_path: Path) -> None:
    """What `kubectl get --raw` and the API itself answer."""
    for kind, objects in (("NodeList", OBJECTS[:2]), ("PodList", OBJECTS[2:9])):
        bare = [{k: v for k, v in o.items() if k not in ("kind", "apiVersion")} for o in objects]
        whole = {"kind": kind, "apiVersion": "v1", "metadata": {"items": []}, "items": bare}
        (tmp_path / f"{kind}.json").write_text(json.dumps(whole))
    found = project.build(dump.read([str(tmp_path)]))
    assert found.pods == WANTED.pods


@pytest.mark.parametrize("items", [[], None])
@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_an_empty_list_of_a_kind_says_that_there_are_none(
    tmp_path: Path, items: Any, ending: str
) -> None:
    empty = {"apiVersion": "policy/v1", "items": items, "kind": "PodDisruptionBudgetList"}
    (tmp_path / "budgets").with_suffix(f".{ending}").write_text(json.dumps(empty))
    (tmp_path / "nodes.json").write_bytes(as_json([node()]))
    assert project.build(dump.read([str(tmp_path)])).known == {"Node", "PodDisruptionBudget"}


def test_one_object_alone(tmp_path: Path) -> None:
    for name, data in (("a.json", json.dumps(node())), ("b.yaml", json.dumps(node("b"), indent=1))):
        (tmp_path / name).write_text(data)
    assert [n.name for n in project.build(dump.read([str(tmp_path)])).nodes] == ["b", "node-0"]


def test_items_of_an_object_that_is_no_list_are_not_taken_for_one(tmp_path: Path) -> None:
    volume = {"name": "d", "downwardAPI": {"items": [{"path": "labels"}]}}
    (tmp_path / "pod.json").write_text(json.dumps(pod(volumes=[volume])))
    (tmp_path / "node.json").write_text(json.dumps(node()))
    assert len(project.build(dump.read([str(tmp_path)])).pods) == 1


names = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
cluster = st.lists(
    st.tuples(names, st.dictionaries(texts, texts, max_size=3), texts, st.integers(0, 9)),
    max_size=12,
    unique_by=lambda drawn: drawn[0],
)


def build_cluster(drawn: list[tuple[str, dict[str, str], str, int]]) -> list[Object]:
    nasty = [
        pod(name, labels=labels, priority=number, requests={"cpu": str(number)}, volumes=[
            {"name": text, "configMap": {"name": text, "items": [{"key": '"items": ['}]}}
        ])
        for name, labels, text, number in drawn
    ]  # fmt: skip
    return [node(), *nasty]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cluster, st.sampled_from([None, 1, 4]), st.integers(1, 5), st.randoms())
def test_any_cluster_is_the_same_in_every_form_split_and_order(
    tmp_path: Path, drawn: Any, indent: int | None, files: int, rng: Any
) -> None:
    objects = build_cluster(drawn)
    wanted = snapshot(*objects)
    assert read(tmp_path, as_json(objects, indent)) == wanted
    assert read(tmp_path, as_yaml(objects), "dump.yaml") == wanted
    rng.shuffle(objects)
    parts = []
    for index in range(files):
        data = as_json(objects[index::files], indent)
        part = tmp_path / f"part-{index}"
        part.write_bytes(packed(data) if index % 2 else data)
        parts.append(str(part))
    assert project.build(dump.read(parts)).hash == wanted.hash


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cluster, st.sampled_from([None, 1, 4]), st.integers(32, 4000))
def test_where_a_window_ends_changes_nothing(
    tmp_path: Path, drawn: Any, indent: int | None, window: int
) -> None:
    objects = build_cluster(drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_items, "_WINDOW", window)
        patch.setattr(json_items, "_CHUNK", window // 2)
        assert read(tmp_path, as_json(objects, indent)) == snapshot(*objects)


def test_lists_longer_than_a_window_are_split_by_item(tmp_path: Path) -> None:
    data = as_json([node(), *(pod(f"pod-{i}", labels={"x": "y" * 500}) for i in range(4000))])
    assert len(data) > 2 * json_items._WINDOW
    assert len(read(tmp_path, data).pods) == 4000


@pytest.mark.parametrize("name", ["bom.json", "utf16.json", "spaced.json", "dump.json.gz"])
def test_json_is_read_as_json_whatever_stands_before_it(tmp_path: Path, name: str) -> None:
    """As YAML it would be understood too, a hundred times slower."""
    (tmp_path / "dump").write_bytes(FORMS[name])
    assert all(item.raw for item in dump.read([str(tmp_path / "dump")]))
