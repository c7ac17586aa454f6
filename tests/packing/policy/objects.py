"""Pools, policies and plans for the tests of policies; what isn't given is the API's default."""

from typing import Any

from fairstow.api import GpuPool, PackingPlan, PackingPolicy
from fairstow.cluster.times import written
from tests.packing.checker_clusters import Json

NOON = 1_772_366_400
"""2026-03-01T12:00:00Z."""


def pool(name: str = "a100", **spec: Any) -> GpuPool:
    return GpuPool.model_validate({"kind": "GpuPool", "metadata": {"name": name}, "spec": spec})


def policy(
    name: str = "pack",
    *,
    on: str = "a100",
    status: Json | None = None,
    annotations: dict[str, str] | None = None,
    made: int = NOON - 86_400,
    **spec: Any,
) -> PackingPolicy:
    """A policy made a day before NOON."""
    body: Json = {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "generation": 3,
            "creationTimestamp": written(made),
            "annotations": annotations or {},
        },
        "spec": {"poolRef": {"name": on}} | spec,
    }
    return PackingPolicy.model_validate(body | ({"status": status} if status else {}))


def past(
    name: str,
    *,
    made: int,
    moves: list[tuple[str, str, str]] | None = None,
    evictions: list[tuple[str, str]] | None = None,
    placed: list[tuple[str, str]] | None = None,
    by: str = "pack",
    pool: str = "a100",
    done: int | None = None,
    ended: tuple[str, int] | None = None,
    approval: str = "",
) -> PackingPlan:
    """A plan of one step per change: (namespace, from, to) or (namespace, node).

    `done` steps are carried out, None if it was never begun; `ended` is how it ended and when.
    """
    gone = [
        _pod(name, f"m{i}", space) | {"from": source, "to": target, "owner": f"ReplicaSet/{i}"}
        for i, (space, source, target) in enumerate(moves or ())
    ]
    lost = [
        _pod(name, f"e{i}", space) | {"from": source, "owner": f"ReplicaSet/e{i}"}
        for i, (space, source) in enumerate(evictions or ())
    ]
    got = [
        _pod(name, f"p{i}", space) | {"node": node} for i, (space, node) in enumerate(placed or ())
    ]
    steps = [{"evict": [_ref(each)]} for each in lost]
    steps += [{"evict": [_ref(m)], "bind": [_ref(m) | {"node": m["to"]}]} for m in gone]
    steps += [{"bind": [_ref(p) | {"node": p["node"]}]} for p in got]
    status: Json = {}
    if done is not None:
        status |= {"stepsDone": done, "startedAt": written(made)}
    status["conditions"] = [
        {"type": kind, "status": "True", "lastTransitionTime": written(at), "reason": "X",
         "message": ""}
        for kind, at in ([ended] if ended else [])
    ]  # fmt: skip
    if done is not None and not ended:
        status["conditions"].append(
            {"type": "Executing", "status": "True", "lastTransitionTime": written(made),
             "reason": "X", "message": ""}
        )  # fmt: skip
    return PackingPlan.model_validate(
        {
            "metadata": {"name": name, "creationTimestamp": written(made)},
            "spec": {
                "policy": by,
                "pool": pool,
                "snapshotHash": "0" * 32,
                "rules": "Product",
                "order": "PlaceFirst",
                "seed": 0,
                "window": "10s",
                "cost": 0,
                "budgets": "Known",
                "moves": gone,
                "evictions": lost,
                "placements": got,
                "steps": steps,
            }
            | ({"approval": {"decision": approval, "by": "ada"}} if approval else {}),
            "status": status,
        }
    )


def _pod(plan: str, name: str, namespace: str) -> Json:
    return {"namespace": namespace, "name": name, "uid": f"{plan}-{name}"}


def _ref(entry: Json) -> Json:
    return {key: entry[key] for key in ("namespace", "name", "uid")}
