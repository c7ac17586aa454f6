"""`pools`: accelerators by product, counted.

Covers figures on small clusters and both forms. Leaves out live clusters (e2e).
"""

import json
from pathlib import Path
from typing import Any

from tests.cli.program import run, run_on_terminal, write_dump
from tests.packing.checker_clusters import GPU, node, pod


def product(name: str, label: str, **spec: Any) -> dict[str, Any]:
    made = node(name, **spec)
    made["metadata"]["labels"]["nvidia.com/gpu.product"] = label
    return made


def pools(tmp_path: Path, *objects: dict[str, Any]) -> list[dict[str, Any]]:
    path = write_dump(tmp_path / "x.json", objects)
    found: list[dict[str, Any]] = json.loads(run("pools", "-f", str(path), "-o", "json").stdout)
    return found


def test_figures_by_product(tmp_path: Path) -> None:
    found = pools(
        tmp_path,
        product("h1", "H100"),
        product("h2", "H100"),
        product("l1", "L40S", gpu=4),
        node("plain", gpu=0),
        pod("web-0", "h1", gpu=5),
        pod("web-1", "h2", gpu=6),
        pod("big", gpu=4, nodeSelector={"nvidia.com/gpu.product": "H100"}),
        pod("any", gpu=1),
        pod("none", gpu=0),
    )
    assert found == [
        {
            "product": "H100", "resource": GPU, "nodes": 2, "closedNodes": 0, "total": 16,
            "allocated": 11, "free": 5, "largestFree": 3, "pendingPods": 2, "pendingRequests": 5,
        },
        {
            "product": "L40S", "resource": GPU, "nodes": 1, "closedNodes": 0, "total": 4,
            "allocated": 0, "free": 4, "largestFree": 4, "pendingPods": 1, "pendingRequests": 1,
        },
    ]  # fmt: skip


def test_what_is_free_on_closed_nodes_is_not_free(tmp_path: Path) -> None:
    (found,) = pools(tmp_path, product("a", "H100"), product("b", "H100", unschedulable=True))
    assert (found["total"], found["free"], found["closedNodes"]) == (16, 8, 1)


def test_mig_slices_are_a_pool_of_their_own(tmp_path: Path) -> None:
    sliced = product("a", "A100", gpu=0)
    sliced["status"]["allocatable"]["nvidia.com/mig-1g.5gb"] = "7"
    (found,) = pools(tmp_path, sliced)
    assert (found["resource"], found["total"]) == ("nvidia.com/mig-1g.5gb", 7)


def test_text_is_a_table_and_a_next_command(dump: Path) -> None:
    lines = run("pools", "-f", str(dump)).stdout.splitlines()
    assert lines[0].split()[:3] == ["PRODUCT", "RESOURCE", "NODES"]
    assert lines[1].split() == ["H100", GPU, "3", "24", "20", "4", "2", "1", "4"]
    assert lines[-1] == f"  fairstow plan -f {dump}"


def test_no_accelerator_is_said_with_a_guess_at_why(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "x.json", [node("a", gpu=0)])
    assert "device plugin" in run("pools", "-f", str(path)).stdout


def test_a_narrow_terminal_gets_blocks(dump: Path) -> None:
    _, text = run_on_terminal("pools", "-f", str(dump), columns=50, NO_COLOR="1")
    table, _, _ = text.partition("\n\n")
    assert max(map(len, table.splitlines())) <= 50
    assert "  hole: 2" in table
