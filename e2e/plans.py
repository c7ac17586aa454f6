"""A plan for tests that are about plans as objects: it places one pod on one node."""

from __future__ import annotations

from typing import Any

from tests.api.objects import EXAMPLES

_LEFT_OUT = ("approval", "abort", "policy")


def plan_for(node: str, **more: Any) -> dict[str, Any]:
    """Return a valid PackingPlan without a name; `more` is added to its spec."""
    example = EXAMPLES["PackingPlan"]
    placement = example["spec"]["placements"][0] | {"node": node}
    pod = {key: placement[key] for key in ("namespace", "name", "uid", "node")}
    own = {
        "placements": [placement],
        "moves": [],
        "evictions": [],
        "steps": [{"evict": [], "bind": [pod]}],
        "summary": {"placements": 1, "moves": 0, "evictions": 0},
    }
    spec = {key: value for key, value in example["spec"].items() if key not in _LEFT_OUT}
    kept = {key: example[key] for key in ("apiVersion", "kind")}
    return kept | {"spec": spec | own | more}
