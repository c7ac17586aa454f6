"""The custom resources on a real API server: what it accepts, refuses (and how), and shows.

Covers the CRDs' installation, every rule and the important bounds with their messages, that a plan
can't be changed but approved once, the largest plan, `kubectl get` and `kubectl explain`. The same
objects stand before the models in tests/api. Not covered: controllers that write the statuses.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.client import KubectlError
from e2e.crds import install_crds
from fairstow.api import KINDS, PLAN_MAX_BYTES, PLAN_MAX_ENTRIES, PackingPlan, PackingPlanSpec
from tests.api.objects import BAD, BY_KIND, EXAMPLES, GOOD, TIER, changed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e

ETCD_MAX_BYTES = 1_572_864


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Cluster:
    """The cluster with the CRDs installed."""
    install_crds(cluster)
    return cluster


def create_renamed(api: Cluster, obj: dict[str, Any]) -> str:
    """Create the object under a new name; return it as kind/name."""
    renamed = changed(obj, {"metadata.name": f"e2e-{uuid.uuid4().hex[:8]}"})
    api.kubectl("create", "-f", "-", stdin=json.dumps(renamed))
    return f"{obj['kind'].lower()}/{renamed['metadata']['name']}"


@pytest.fixture
def create(api: Cluster) -> Iterator[Callable[[dict[str, Any]], str]]:
    """A function that creates an object until the test is over and returns its kind/name."""
    made: list[str] = []

    def make(obj: dict[str, Any]) -> str:
        made.append(create_renamed(api, obj))
        return made[-1]

    yield make
    if made:
        api.kubectl("delete", *made)


def refusal(cluster: Cluster, *arguments: str, stdin: str | None = None) -> str:
    """What the API server says against this call; fails if it accepts it."""
    with pytest.raises(KubectlError) as caught:
        cluster.kubectl(*arguments, stdin=stdin)
    return str(caught.value)


def patch(target: str, spec: dict[str, Any], *more: str) -> tuple[str, ...]:
    return ("patch", target, "--type=merge", "-p", json.dumps({"spec": spec}), *more)


@pytest.mark.parametrize("name", GOOD)
def test_good_object_comes_back_as_the_models_read_it(
    api: Cluster, create: Callable[[dict[str, Any]], str], name: str
) -> None:
    model = BY_KIND[GOOD[name]["kind"]]
    stored = model.model_validate(api.get(create(GOOD[name])))
    sent = model.model_validate(GOOD[name])
    assert stored.model_dump(exclude={"metadata"}) == sent.model_dump(exclude={"metadata"})


@pytest.mark.parametrize("name", BAD)
def test_bad_object_is_refused_at_its_field_with_its_message(api: Cluster, name: str) -> None:
    bad = BAD[name]
    text = refusal(api, "create", "--dry-run=server", "-f", "-", stdin=json.dumps(bad.object()))
    field = "" if bad.field == "object" else re.escape(f"{bad.field}: ")
    assert re.search(f"{field}.*{re.escape(bad.server)}", text), text
    assert "rule evaluation error" not in text


def test_unknown_field_is_refused(api: Cluster) -> None:
    typo = changed(EXAMPLES["PackingPolicy"], {"spec.supend": True})
    text = refusal(api, "create", "--dry-run=server", "-f", "-", stdin=json.dumps(typo))
    assert 'unknown field "spec.supend"' in text


CHANGES: dict[str, Any] = {
    "policy": "nightly",
    "pool": "h100",
    "snapshotHash": "f" * 32,
    "rules": "Paper",
    "goal": "Defragment",
    "order": "TierByTier",
    "seed": 1,
    "window": "11s",
    "effort": 11,
    "cost": 2,
    "takenAt": "2026-03-01T12:00:01Z",
    "minimumAge": "1h",
    "stepTimeout": "1h",
    "budgets": "Unknown",
    "tiers": [],
    "blocks": [{"resource": "nvidia.com/gpu", "size": 8, "before": 0, "after": 1, "bound": 1,
                "proof": "Optimal", "gapBlocks": 0}],
    "placements": [],
    "moves": [],
    "evictions": [EXAMPLES["PackingPlan"]["spec"]["moves"][0] | {"to": None}],
    "steps": [],
    "notConsidered": [],
}  # fmt: skip
OPTIONAL = {"effort": 10, "takenAt": "2026-03-01T12:00:00Z", "policy": "hourly", "pool": "a100"}


@pytest.fixture(scope="module")
def plan(api: Cluster) -> Iterator[str]:
    """A plan that no test gets to change."""
    given = {f"spec.{field}": value for field, value in OPTIONAL.items()}
    name = create_renamed(api, changed(EXAMPLES["PackingPlan"], given))
    yield name
    api.kubectl("delete", name)


@pytest.mark.parametrize("field", CHANGES)
def test_a_plan_cannot_be_changed(api: Cluster, plan: str, field: str) -> None:
    text = refusal(api, *patch(plan, {field: CHANGES[field]}))
    assert re.search(rf"spec\.{field}: .*a plan's {field} can't be changed: make a new plan", text)


@pytest.mark.parametrize("field", OPTIONAL)
def test_nothing_is_added_to_a_plan_or_taken_away(
    api: Cluster, plan: str, create: Callable[[dict[str, Any]], str], field: str
) -> None:
    without = create(EXAMPLES["PackingPlan"])
    for target, value in ((plan, None), (without, OPTIONAL[field])):
        text = refusal(api, *patch(target, {field: value}))
        assert "a plan's effort, takenAt, policy and pool can't be added or removed" in text


def test_every_field_of_a_plan_is_tried_above() -> None:
    fields = {field.alias for field in PackingPlanSpec.model_fields.values()}
    assert fields - set(CHANGES) == {"approval", "abort", "summary"}


@pytest.mark.parametrize("decision", ["Approved", "Rejected"])
def test_a_plan_is_decided_once(
    api: Cluster, create: Callable[[dict[str, Any]], str], decision: str
) -> None:
    plan = create(EXAMPLES["PackingPlan"])
    approval = {"decision": decision, "by": "jane"}
    api.kubectl(*patch(plan, {"approval": approval}))
    api.kubectl(*patch(plan, {"approval": approval}))
    other = "Rejected" if decision == "Approved" else "Approved"
    for change in ({"decision": other}, {"by": "joe"}, None):
        text = refusal(api, *patch(plan, {"approval": change}))
        assert "approval can be set once and not changed: make a new plan" in text
    assert api.get(plan)["spec"]["approval"] == approval


def test_a_plan_is_stopped_once(api: Cluster, create: Callable[[dict[str, Any]], str]) -> None:
    plan = create(EXAMPLES["PackingPlan"])
    api.kubectl(*patch(plan, {"abort": {"by": "jane"}}))
    for change in ({"by": "joe"}, None):
        text = refusal(api, *patch(plan, {"abort": change}))
        assert "abort can be set once and not changed" in text


def test_a_plan_without_known_budgets_is_never_approved(
    api: Cluster, create: Callable[[dict[str, Any]], str]
) -> None:
    plan = create(changed(EXAMPLES["PackingPlan"], {"spec.budgets": "Unknown"}))
    text = refusal(api, *patch(plan, {"approval": {"decision": "Approved", "by": "jane"}}))
    assert "a plan with budgets Unknown can't be approved" in text


def big_plan(entries: int, **more: Any) -> dict[str, Any]:
    """A plan with `entries` in every list, its names as short as a cluster may have them."""

    def pods(letter: str, *nodes: str) -> list[dict[str, Any]]:
        return [
            {"namespace": "a", "name": f"{letter}-{n}", "uid": f"{letter}-{n}"}
            | {node: f"n-{n + shift}" for shift, node in enumerate(nodes)}
            for n in range(entries)
        ]

    def pod(entry: dict[str, Any], **node: str) -> dict[str, Any]:
        return {key: entry[key] for key in ("namespace", "name", "uid")} | node

    placements, moves, evictions = pods("p", "node"), pods("m", "from", "to"), pods("e", "from")
    steps = [
        {
            "evict": [pod(move), pod(eviction)],
            "bind": [pod(move, node=move["to"]), pod(placement, node=placement["node"])],
        }
        for placement, move, eviction in zip(placements, moves, evictions, strict=True)
    ]
    spec = {
        "placements": placements,
        "moves": moves,
        "evictions": evictions,
        "steps": steps,
        "summary": dict.fromkeys(("placements", "moves", "evictions"), entries),
        "tiers": [TIER | {"priority": entries - n} for n in range(entries)],
        "notConsidered": [f"pod {n}" for n in range(entries)],
        **more,
    }
    return changed(
        EXAMPLES["PackingPlan"], {f"spec.{field}": value for field, value in spec.items()}
    )


def size(plan: dict[str, Any]) -> int:
    return len(json.dumps(PackingPlan.model_validate(plan).to_object(), separators=(",", ":")))


def test_the_plan_with_most_entries_is_accepted_approved_and_protected(
    api: Cluster, create: Callable[[dict[str, Any]], str]
) -> None:
    plan = create(big_plan(PLAN_MAX_ENTRIES))
    api.kubectl(*patch(plan, {"approval": {"decision": "Approved", "by": "jane"}}))
    assert "a plan's placements can't be changed" in refusal(api, *patch(plan, {"placements": []}))
    stored = PackingPlan.model_validate(api.get(plan)).spec
    assert stored.approved
    assert len(stored.steps) == PLAN_MAX_ENTRIES


def test_a_plan_of_the_largest_size_is_accepted_with_a_long_status(
    api: Cluster, create: Callable[[dict[str, Any]], str]
) -> None:
    small = big_plan(1000, notConsidered=[])
    padding = PLAN_MAX_BYTES - size(small)
    sentences = ["x" * 1000] * (padding // 1003)
    plan = create(changed(small, {"spec.notConsidered": sentences}))
    condition = {
        "status": "False",
        "reason": "Executing",
        "message": "x" * 4096,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {"conditions": [condition | {"type": f"Type{n}"} for n in range(16)]}
    body = json.dumps({"status": status})
    api.kubectl("patch", plan, "--subresource=status", "--type=merge", "-p", body)


def test_a_plan_beyond_the_stores_limit_is_refused(api: Cluster) -> None:
    plan = big_plan(1000, notConsidered=["x" * 1000] * 1500)
    assert size(plan) > ETCD_MAX_BYTES
    assert "too large" in refusal(api, "create", "-f", "-", stdin=json.dumps(plan))


STATUS: dict[str, dict[str, Any]] = {
    "GpuPool": {
        "nodes": 3,
        "gpusTotal": 24,
        "gpusAllocated": 20,
        "gpusFree": 4,
        "largestFreeBlock": 2,
        "fragmentationPermille": 500,
        "pendingPods": 1,
    },
    "PackingPolicy": {
        "lastRun": {"time": "2026-01-01T00:00:00Z", "reason": "PlanCreated", "message": "made"},
        "lastPlan": "plan-3f9a1c07",
    },
    "PackingPlan": {
        "conditions": [
            {
                "type": "Succeeded",
                "status": "False",
                "reason": "WaitingForApproval",
                "message": "Run: kubectl fairstow approve plan-3f9a1c07",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
        "stepsDone": 0,
        "stepsTotal": 1,
    },
    "ServingPool": {
        "instances": 3,
        "ready": 2,
        "draining": 1,
        "running": 40,
        "waiting": 0,
        "freenessSteps": -3,
        "desiredReplicas": 4,
    },
    "InstanceDrain": {
        "remaining": 2,
        "pinned": 1,
        "moved": 14,
        "conditions": [
            {
                "type": "Drained",
                "status": "False",
                "reason": "RequestsRemain",
                "message": "2 requests are on the instance",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
    },
    "SemanticCache": {
        "pods": 3,
        "missed": 1,
        "entries": 120,
        "requests": 4000,
        "hitPermille": 123,
        "hitRate": "12.3%",
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "CacheReady",
                "message": "new pods get the sidecar",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
    },
}
ROWS = {
    "GpuPool": "NAME NODES GPUS FREE LARGEST PENDING AGE | 3 24 4 2 1",
    "PackingPolicy": "NAME POOL MODE SUSPENDED LAST-RUN LAST-PLAN AGE | a100 Auto false "
    "PlanCreated plan-3f9a1c07",
    "PackingPlan": "NAME PLACES MOVES EVICTS APPROVED STATE AGE | 1 1 0 Approved "
    "WaitingForApproval",
    "ServingPool": "NAME INSTANCES READY DRAINING RUNNING WAITING FREENESS DESIRED AGE | "
    "3 2 1 40 0 -3 4",
    "InstanceDrain": "NAME POOL POD CAUSE REMAINING PINNED MOVED DRAINED AGE | llama "
    "llama-7d9c5-x2x4k User 2 1 14 False",
    "SemanticCache": "NAME MODE PLACEMENT PODS MISSED ENTRIES REQUESTS HITS READY SERVING AGE | "
    "Shadow Client 3 1 120 4000 12.3% True",
}


@pytest.mark.parametrize("kind", ROWS)
def test_kubectl_get_shows_the_columns_people_want(
    api: Cluster, create: Callable[[dict[str, Any]], str], kind: str
) -> None:
    approved = {"spec.approval": {"decision": "Approved", "by": "jane"}}
    obj = changed(EXAMPLES[kind], approved if kind == "PackingPlan" else {})
    target = create(obj)
    body = json.dumps({"status": STATUS[kind]})
    api.kubectl("patch", target, "--subresource=status", "--type=merge", "-p", body)

    short_name = f"{BY_KIND[kind].resource.short_name}/{target.partition('/')[2]}"
    header, row = (line.split() for line in api.kubectl("get", short_name).splitlines())
    assert f"{' '.join(header)} | {' '.join(row[1:-1])}" == ROWS[kind]
    assert target.partition("/")[2] in api.kubectl("get", "fairstow")
    read = BY_KIND[kind].model_validate(api.get(target)).to_object()["status"]
    assert {field: read[field] for field in STATUS[kind]} == STATUS[kind]


def test_status_is_apart_from_the_spec(
    api: Cluster, create: Callable[[dict[str, Any]], str]
) -> None:
    pool = create(changed(EXAMPLES["GpuPool"], {"status": {"nodes": 9}}))
    assert "nodes" not in api.get(pool).get("status", {})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
def test_kubectl_explain_describes_every_field(api: Cluster, kind: Any) -> None:
    name = kind.__name__.lower()
    for path, fields in described_objects(name, schema_of(api, kind)):
        text = " ".join(api.kubectl("explain", path).split())
        for field, description in fields.items():
            assert re.search(rf"\b{field} <[^>]+>", text), f"{path}.{field}"
            assert " ".join(description.split()) in text, f"{path}.{field}"


def schema_of(api: Cluster, kind: Any) -> dict[str, Any]:
    (version,) = api.get("crd", f"{kind.resource.plural}.fairstow.dev")["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def described_objects(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each object's path as `kubectl explain` takes it, and its fields' descriptions."""
    below = schema.get("items", schema)
    # The API server documents these three itself.
    standard = ("apiVersion", "kind", "metadata")
    properties = {
        name: each for name, each in below.get("properties", {}).items() if name not in standard
    }
    if properties:
        yield path, {name: each["description"] for name, each in properties.items()}
    for name, each in properties.items():
        yield from described_objects(f"{path}.{name}", each)


def test_kubectl_explain_of_tiers_reads_well(api: Cluster) -> None:
    text = api.kubectl("explain", "packingplan.spec.tiers")
    assert "The outcome by priority, highest first." in text
    assert "enum: Optimal, Gap" in text
    assert "Proved: no plan places more pods than this under these rules." in text
