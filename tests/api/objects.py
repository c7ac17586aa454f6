"""Objects that the API's tests share: good ones, and for each rule or bound one that breaks it.

Used by tests/api (pydantic's verdict) and e2e/test_custom_resources.py (the API server's).
"""

import copy
from dataclasses import dataclass
from typing import Any

import yaml

from fairstow.api import KINDS, PLAN_MAX_ENTRIES
from fairstow.api.model import CustomResource
from tools.generate.reference import example

BY_KIND: dict[str, type[CustomResource]] = {kind.__name__: kind for kind in KINDS}
REMOVED = object()
EXAMPLES: dict[str, dict[str, Any]] = {
    kind.__name__: yaml.safe_load(example(kind)) for kind in KINDS
}
for _each in EXAMPLES.values():
    _each["metadata"].pop("namespace", None)  # whichever the tests are in

PLACEMENT = EXAMPLES["PackingPlan"]["spec"]["placements"][0]
POD = {key: PLACEMENT[key] for key in ("namespace", "name", "uid")}
TIER = EXAMPLES["PackingPlan"]["spec"]["tiers"][0]
BLOCK = {
    "resource": "nvidia.com/gpu",
    "size": 8,
    "before": 2,
    "after": 5,
    "bound": 5,
    "proof": "Optimal",
    "gapBlocks": 0,
}
DEFRAGMENTS = {
    **{f"spec.{name}": [] for name in ("placements", "moves", "evictions", "steps")},
    "spec.summary": {"placements": 0, "moves": 0, "evictions": 0},
    "spec.goal": "Defragment",
    "spec.blocks": [BLOCK, BLOCK | {"size": 4, "bound": 7, "proof": "Gap", "gapBlocks": 2}],
}


def changed(obj: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of `obj` with the value at each dotted path (numbers index lists) replaced."""
    result = copy.deepcopy(obj)
    for path, value in changes.items():
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
        below: Any = result
        for part in parents:
            below = below.setdefault(part, {}) if isinstance(part, str) else below[part]
        if value is REMOVED:
            del below[last]
        elif isinstance(below, list) and last == len(below):
            below.append(value)
        else:
            below[last] = value
    return result


@dataclass(frozen=True)
class Bad:
    """An example with changes that make it invalid, and what each judge must say about it.

    `server` and `ours` are parts of the message; without `ours` both say the same.
    """

    kind: str
    changes: dict[str, Any]
    field: str
    server: str
    ours: str = ""

    def object(self) -> dict[str, Any]:
        return changed(EXAMPLES[self.kind], self.changes)


GOOD = {
    "pool": EXAMPLES["GpuPool"],
    "pool, all nodes": changed(EXAMPLES["GpuPool"], {"spec": {}}),
    "pool of MIG slices": changed(
        EXAMPLES["GpuPool"], {"spec.acceleratorResource": "nvidia.com/mig-1g.10gb"}
    ),
    "policy": EXAMPLES["PackingPolicy"],
    "policy, defaults": changed(EXAMPLES["PackingPolicy"], {"spec": {"poolRef": {"name": "a100"}}}),
    "policy, longest times": changed(
        EXAMPLES["PackingPolicy"],
        {
            "spec.window": "5m",
            "spec.coolDown": "168h",
            "spec.triggers.unschedulableFor": "23h59m60s",
            "spec.triggers.schedule": "*/15 8-18/2 1,15 JAN-MAR,12 MON-FRI",
        },
    ),
    "plan": EXAMPLES["PackingPlan"],
    "plan without summary": changed(EXAMPLES["PackingPlan"], {"spec.summary": REMOVED}),
    "plan that changes nothing": changed(
        EXAMPLES["PackingPlan"],
        {
            **{f"spec.{name}": [] for name in ("placements", "moves", "evictions", "steps")},
            "spec.summary": {"placements": 0, "moves": 0, "evictions": 0},
        },
    ),
    "plan to defragment": changed(EXAMPLES["PackingPlan"], DEFRAGMENTS),
    "paper plan, rejected": changed(
        EXAMPLES["PackingPlan"],
        {
            "spec.rules": "Paper",
            "spec.budgets": "Unknown",
            "spec.approval": {"decision": "Rejected", "by": "jane"},
        },
    ),
    "plan with a gap and a negative priority": changed(
        EXAMPLES["PackingPlan"],
        {"spec.tiers.0": TIER | {"priority": -5, "bound": 182, "proof": "Gap", "gapPods": 3}},
    ),
    "serving pool": EXAMPLES["ServingPool"],
    "serving pool, defaults": changed(
        EXAMPLES["ServingPool"],
        {"spec": {"engines": {"selector": {"matchLabels": {"app": "llama"}}}}},
    ),
    "serving pool whose requests move when memory is overdrawn": changed(
        EXAMPLES["ServingPool"], {"spec.rescheduling.belowSteps": -20}
    ),
    "serving pool that is scaled to nothing": changed(
        EXAMPLES["ServingPool"], {"spec.scaling.minReplicas": 0, "spec.scaling.inAfter": "0s"}
    ),
    "drain": EXAMPLES["InstanceDrain"],
    "drain, defaults": changed(
        EXAMPLES["InstanceDrain"], {"spec.cause": REMOVED, "spec.deadline": REMOVED}
    ),
    "spark queue": EXAMPLES["SparkQueue"],
    "spark queue, defaults": changed(EXAMPLES["SparkQueue"], {"spec": {"cores": 8}}),
    "spark admission": EXAMPLES["SparkAdmission"],
    "cache": EXAMPLES["SemanticCache"],
    "cache, defaults": changed(
        EXAMPLES["SemanticCache"], {"spec": {"selector": {"matchLabels": {"app": "web"}}}}
    ),
    "cache in front of an engine": changed(
        EXAMPLES["SemanticCache"],
        {
            "spec.placement": "Server",
            "spec.enginePort": 8000,
            "spec.upstream": REMOVED,
            "spec.upstreamCa": REMOVED,
            "spec.store": {},
            "spec.accounts": {"audience": "llama.chat"},
        },
    ),
    "cache of equal times": changed(
        EXAMPLES["SemanticCache"],
        {"spec.categories.0.ttlMax": "24h", "spec.categories.0.floorPermille": 900},
    ),
}

_POOL_RULES = {
    "pool name": Bad(
        "GpuPool",
        {"metadata.name": "a" * 64},
        "object",
        "a pool's name has at most 63 characters",
    ),
    "label key": Bad(
        "GpuPool",
        {"spec.nodeSelector.matchLabels": {"no spaces": "x"}},
        "spec.nodeSelector.matchLabels",
        "a key of matchLabels isn't a label key: write name or prefix/name",
    ),
    "In without values": Bad(
        "GpuPool",
        {"spec.nodeSelector.matchExpressions.0.values": []},
        "spec.nodeSelector.matchExpressions[0]",
        "values are given with operator In or NotIn, and only then",
    ),
    "Exists with values": Bad(
        "GpuPool",
        {"spec.nodeSelector.matchExpressions.0.operator": "Exists"},
        "spec.nodeSelector.matchExpressions[0]",
        "values are given with operator In or NotIn, and only then",
    ),
}
_POLICY_RULES = {
    "policy name": Bad(
        "PackingPolicy",
        {"metadata.name": "a" * 64},
        "object",
        "a policy's name has at most 63 characters",
    ),
    "Auto without a limit": Bad(
        "PackingPolicy",
        {"spec.limits": {}},
        "spec",
        "mode Auto needs limits.maxMovesPerHour: say how much may be moved unasked",
    ),
    "namespace's limit above the whole": Bad(
        "PackingPolicy",
        {"spec.limits.maxMovesPerNamespacePerHour": 61},
        "spec.limits",
        "maxMovesPerNamespacePerHour is at most maxMovesPerHour",
    ),
    "window too long": Bad(
        "PackingPolicy",
        {"spec.window": "5m1s"},
        "spec.window",
        "window is a duration from 100ms to 5m",
    ),
    "window without unit": Bad(
        "PackingPolicy",
        {"spec.window": "10"},
        "spec.window",
        "window is a duration from 100ms to 5m",
    ),
    "cool-down too long": Bad(
        "PackingPolicy",
        {"spec.coolDown": "168h1s"},
        "spec.coolDown",
        "coolDown is a duration from 0s to 168h",
    ),
    "minimum age without a unit": Bad(
        "PackingPolicy",
        {"spec.minimumAge": "10"},
        "spec.minimumAge",
        "minimumAge is a duration from 0s to 168h",
    ),
    "step that may take days": Bad(
        "PackingPolicy",
        {"spec.limits.stepTimeout": "25h"},
        "spec.limits.stepTimeout",
        "stepTimeout is a duration from 1s to 24h",
    ),
    "delay with a fraction": Bad(
        "PackingPolicy",
        {"spec.triggers.unschedulableFor": "1.5m"},
        "spec.triggers.unschedulableFor",
        "unschedulableFor is a duration from 0s to 24h",
    ),
    "schedule of four fields": Bad(
        "PackingPolicy",
        {"spec.triggers.schedule": "*/5 * * *"},
        "spec.triggers.schedule",
        "not a schedule: write five fields as in cron",
    ),
    "schedule with minute 75": Bad(
        "PackingPolicy",
        {"spec.maintenanceWindows.0.start": "75 2 * * *"},
        "spec.maintenanceWindows[0].start",
        "not a schedule: write five fields as in cron",
    ),
    "maintenance for no time": Bad(
        "PackingPolicy",
        {"spec.maintenanceWindows.0.duration": "0s"},
        "spec.maintenanceWindows[0].duration",
        "duration is a duration from 1m to 168h",
    ),
}
_PLAN_RULES = {
    "approved without budgets": Bad(
        "PackingPlan",
        {"spec.budgets": "Unknown", "spec.approval": {"decision": "Approved", "by": "jane"}},
        "spec",
        "a plan with budgets Unknown can't be approved",
    ),
    "approved under the paper's rules": Bad(
        "PackingPlan",
        {"spec.rules": "Paper", "spec.approval": {"decision": "Approved", "by": "jane"}},
        "spec",
        "a plan under the paper's rules can't be approved",
    ),
    "approved what-if": Bad(
        "PackingPlan",
        {
            "metadata.name": "what-if-1a2b3c4d",
            "spec.approval": {"decision": "Approved", "by": "jane"},
        },
        "object",
        "a what-if plan can't be approved",
    ),
    "wrong summary": Bad(
        "PackingPlan",
        {"spec.summary.moves": 2},
        "spec",
        "summary gives the lengths of placements, moves and evictions",
    ),
    "a move that no step evicts": Bad(
        "PackingPlan",
        {"spec.steps.0.evict": []},
        "spec",
        "steps evict as many pods as moves and evictions name",
    ),
    "a bind too many": Bad(
        "PackingPlan",
        {"spec.steps.0.bind.2": POD | {"node": "gpu-3"}},
        "spec",
        "steps bind as many pods as moves and placements name",
    ),
    "empty step": Bad(
        "PackingPlan",
        {"spec.steps.1": {"evict": [], "bind": []}},
        "spec.steps[1]",
        "a step evicts or binds at least one pod",
    ),
    "blocks of a plan that places": Bad(
        "PackingPlan",
        {"spec.blocks": [BLOCK]},
        "spec",
        "only a plan with the goal Defragment counts blocks",
    ),
    "placements of a plan to defragment": Bad(
        "PackingPlan",
        {"spec.goal": "Defragment"},
        "spec",
        "a plan to defragment only moves pods",
    ),
    "blocks upside down": Bad(
        "PackingPlan",
        DEFRAGMENTS | {"spec.blocks": [BLOCK | {"size": 4}, BLOCK]},
        "spec.blocks",
        "blocks are listed largest first",
    ),
    "wrong gap of blocks": Bad(
        "PackingPlan",
        DEFRAGMENTS | {"spec.blocks": [BLOCK | {"bound": 7, "proof": "Gap", "gapBlocks": 1}]},
        "spec.blocks[0]",
        "gapBlocks is bound minus after",
    ),
    "optimal blocks with a gap": Bad(
        "PackingPlan",
        DEFRAGMENTS | {"spec.blocks": [BLOCK | {"bound": 7, "gapBlocks": 2}]},
        "spec.blocks[0]",
        "proof is Optimal exactly when gapBlocks is 0",
    ),
    "tiers upside down": Bad(
        "PackingPlan",
        {"spec.tiers": [TIER | {"priority": 0}, TIER | {"priority": 10}]},
        "spec.tiers",
        "tiers are listed highest priority first",
    ),
    "wrong gap": Bad(
        "PackingPlan",
        {"spec.tiers.0": TIER | {"bound": 181, "proof": "Gap", "gapPods": 1}},
        "spec.tiers[0]",
        "gapPods is bound minus placedAfter",
    ),
    "optimal with a gap": Bad(
        "PackingPlan",
        {"spec.tiers.0": TIER | {"bound": 181, "gapPods": 2}},
        "spec.tiers[0]",
        "proof is Optimal exactly when gapPods is 0",
    ),
    "window of a plan": Bad(
        "PackingPlan",
        {"spec.window": "soon"},
        "spec.window",
        "window is a duration from 1ms to 24h",
    ),
    "step of no time": Bad(
        "PackingPlan",
        {"spec.stepTimeout": "999ms"},
        "spec.stepTimeout",
        "stepTimeout is a duration from 1s to 24h",
    ),
    "minimum age of a plan": Bad(
        "PackingPlan",
        {"spec.minimumAge": "169h"},
        "spec.minimumAge",
        "minimumAge is a duration from 0s to 168h",
    ),
}

_SERVING_RULES = {
    "serving pool's name": Bad(
        "ServingPool",
        {"metadata.name": "a" * 64},
        "object",
        "a pool's name has at most 63 characters",
    ),
    "engines without a label": Bad(
        "ServingPool",
        {"spec.engines.selector": {}},
        "spec.engines",
        "selector names at least one label",
    ),
    "engines' label key": Bad(
        "ServingPool",
        {"spec.engines.selector.matchLabels": {"no spaces": "x"}},
        "spec.engines.selector.matchLabels",
        "a key of matchLabels isn't a label key: write name or prefix/name",
    ),
    "engines' label without values": Bad(
        "ServingPool",
        {"spec.engines.selector.matchExpressions": [{"key": "a", "operator": "In"}]},
        "spec.engines.selector.matchExpressions[0]",
        "values are given with operator In or NotIn, and only then",
    ),
    "thresholds of moves": Bad(
        "ServingPool",
        {"spec.rescheduling.belowSteps": 60},
        "spec.rescheduling",
        "belowSteps is less than aboveSteps",
    ),
    "bounds of scaling": Bad(
        "ServingPool",
        {"spec.scaling.maxReplicas": 1},
        "spec.scaling",
        "minReplicas is at most maxReplicas",
    ),
    "thresholds of scaling": Bad(
        "ServingPool",
        {"spec.scaling.inAboveSteps": 10},
        "spec.scaling",
        "outBelowSteps is less than inAboveSteps",
    ),
    "a day and more of idleness": Bad(
        "ServingPool",
        {"spec.scaling.inAfter": "25h"},
        "spec.scaling.inAfter",
        "inAfter is a duration from 0s to 24h",
    ),
    "no time to drain": Bad(
        "ServingPool",
        {"spec.drainDeadline": "0s"},
        "spec.drainDeadline",
        "drainDeadline is a duration from 1s to 24h",
    ),
    "a drain's deadline without unit": Bad(
        "InstanceDrain",
        {"spec.deadline": "10"},
        "spec.deadline",
        "deadline is a duration from 1s to 24h",
    ),
}

_SPARK_RULES = {
    "more cores reserved than there are": Bad(
        "SparkQueue",
        {"spec.reservedCores": 401},
        "spec",
        "reservedCores is at most cores",
    ),
    "queue name": Bad(
        "SparkQueue",
        {"metadata.name": "a" * 64},
        "object",
        "a queue's name has at most 63 characters",
    ),
    "no time for pods to come": Bad(
        "SparkQueue",
        {"spec.bindTimeout": "1s"},
        "spec.bindTimeout",
        "bindTimeout is a duration from 10s to 1h",
    ),
    "no time to wait": Bad(
        "SparkQueue",
        {"spec.maxWait": "1s"},
        "spec.maxWait",
        "maxWait is a duration from 1m to 8760h",
    ),
}

_CACHE_RULES = {
    "a cache's name": Bad(
        "SemanticCache", {"metadata.name": "a" * 51}, "object", "at most 50 characters"
    ),
    "a cache of every pod": Bad(
        "SemanticCache", {"spec.selector": {}}, "spec", "selector names at least one label"
    ),
    "a cache's label key": Bad(
        "SemanticCache",
        {"spec.selector.matchLabels": {"-app": "web"}},
        "spec.selector.matchLabels",
        "a key of matchLabels isn't a label key: write name or prefix/name",
    ),
    "a cache's label values": Bad(
        "SemanticCache",
        {"spec.selector.matchExpressions": [{"key": "app", "operator": "In"}]},
        "spec.selector.matchExpressions[0]",
        "values are given with operator In or NotIn",
    ),
    "a cache of nothing": Bad(
        "SemanticCache",
        {"spec.categories": [], "spec.header": REMOVED},
        "spec.categories",
        "categories has at least one entry",
    ),
    "a ttlMax of years": Bad(
        "SemanticCache",
        {"spec.categories.0.ttlMax": "9000h"},
        "spec.categories[0].ttlMax",
        "ttlMax is a duration from 1s to 8760h",
    ),
    "an idle of hours": Bad(
        "SemanticCache", {"spec.load.idle": "2h"}, "spec.load.idle", "idle is a duration from 1ms"
    ),
    "an overload of hours": Bad(
        "SemanticCache",
        {"spec.load.overloaded": "2h"},
        "spec.load.overloaded",
        "overloaded is a duration from 1ms to 1h",
    ),
    "a look-up of minutes": Bad(
        "SemanticCache",
        {"spec.lookupDeadline": "1m"},
        "spec.lookupDeadline",
        "lookupDeadline is a duration from 1ms to 5s",
    ),
    "an upstream beside the engine": Bad(
        "SemanticCache",
        {"spec.placement": "Server", "spec.enginePort": 8000},
        "spec",
        "upstream and upstreamCa are for placement Client",
    ),
    "no engine's port": Bad(
        "SemanticCache",
        {"spec.placement": "Server", "spec.upstream": REMOVED, "spec.upstreamCa": REMOVED},
        "spec",
        "enginePort is given with placement Server",
    ),
    "an engine's port beside an application": Bad(
        "SemanticCache", {"spec.enginePort": 8000}, "spec", "enginePort is given with placement"
    ),
    "accounts beside an application": Bad(
        "SemanticCache",
        {"spec.accounts": {"audience": "llama.chat"}},
        "spec",
        "accounts are for placement Server",
    ),
    "an upstream with a password": Bad(
        "SemanticCache",
        {"spec.upstream": "https://me:secret@llm.example/v1"},
        "spec.upstream",
        "an address that ends in /v1, without a password",
    ),
    "a shared store without upstream": Bad(
        "SemanticCache",
        {"spec.upstream": REMOVED},
        "spec",
        "a shared store needs upstream",
    ),
    "a header's category": Bad(
        "SemanticCache",
        {"spec.header.mapping": {"manual": "manuals"}},
        "spec",
        "header.mapping names a category that isn't among categories",
    ),
    "categories of one name": Bad(
        "SemanticCache",
        {"spec.categories.1.name": "docs"},
        "spec",
        "two categories have the same name",
    ),
    "a floor over the threshold": Bad(
        "SemanticCache",
        {"spec.categories.0.floorPermille": 901},
        "spec.categories[0]",
        "floorPermille is at most thresholdPermille",
    ),
    "a ttl over its maximum": Bad(
        "SemanticCache",
        {"spec.categories.0.ttlMax": "23h"},
        "spec.categories[0]",
        "ttl is at most ttlMax",
    ),
    "a ttl without unit": Bad(
        "SemanticCache",
        {"spec.categories.0.ttl": "60"},
        "spec.categories[0].ttl",
        "ttl is a duration from 1s to 8760h",
    ),
    "idle when overloaded": Bad(
        "SemanticCache", {"spec.load.idle": "5s"}, "spec.load", "idle is less than overloaded"
    ),
    "idle alone": Bad(
        "SemanticCache",
        {"spec.load.overloaded": REMOVED},
        "spec.load",
        "idle and overloaded are given together",
    ),
}

BREAKS_A_RULE = (
    _POOL_RULES | _POLICY_RULES | _PLAN_RULES | _SERVING_RULES | _SPARK_RULES | _CACHE_RULES
)

BREAKS_A_BOUND = {
    "no spec": Bad("GpuPool", {"spec": REMOVED}, "spec", "Required value", "Field required"),
    "resource without domain": Bad(
        "GpuPool",
        {"spec.acceleratorResource": "gpu"},
        "spec.acceleratorResource",
        "should match",
        "should match pattern",
    ),
    "label value": Bad(
        "GpuPool",
        {"spec.nodeSelector.matchLabels": {"a": "no spaces"}},
        "spec.nodeSelector.matchLabels.a",
        "should match",
        "should match pattern",
    ),
    "too many labels": Bad(
        "GpuPool",
        {"spec.nodeSelector.matchLabels": {f"key-{n}": "x" for n in range(33)}},
        "spec.nodeSelector.matchLabels",
        "must have at most 32 items",
        "at most 32 items",
    ),
    "policy without pool": Bad(
        "PackingPolicy", {"spec.poolRef": REMOVED}, "spec.poolRef", "Required", "Field required"
    ),
    "unknown mode": Bad(
        "PackingPolicy",
        {"spec.mode": "Automatic"},
        "spec.mode",
        'supported values: "Observe", "Recommend", "Auto"',
        "should be 'Observe', 'Recommend' or 'Auto'",
    ),
    "suspend as text": Bad(
        "PackingPolicy",
        {"spec.suspend": "true"},
        "spec.suspend",
        'must be of type boolean: "string"',
        "valid boolean",
    ),
    "moves beyond the limit": Bad(
        "PackingPolicy",
        {"spec.limits.maxMovesPerPlan": PLAN_MAX_ENTRIES + 1},
        "spec.limits.maxMovesPerPlan",
        "should be less than or equal to 2000",
        "less than or equal to 2000",
    ),
    "negative limit": Bad(
        "PackingPolicy",
        {"spec.limits.maxEvictionsPerPlan": -1},
        "spec.limits.maxEvictionsPerPlan",
        "should be greater than or equal to 0",
        "greater than or equal to 0",
    ),
    "a fraction": Bad(
        "PackingPolicy",
        {"spec.minimumGainPermille": 0.5},
        "spec.minimumGainPermille",
        "must be of type int32",
        "valid integer",
    ),
    "too many maintenance windows": Bad(
        "PackingPolicy",
        {"spec.maintenanceWindows": [{"start": "0 2 * * *", "duration": "1h"}] * 21},
        "spec.maintenanceWindows",
        "must have at most 20 items",
        "at most 20 items",
    ),
    "no such time zone": Bad(
        "PackingPolicy",
        {"spec.maintenanceWindows.0.timeZone": "Berlin time"},
        "spec.maintenanceWindows[0].timeZone",
        "should match",
        "should match pattern",
    ),
    "odd snapshot hash": Bad(
        "PackingPlan",
        {"spec.snapshotHash": "Z" * 32},
        "spec.snapshotHash",
        "should match",
        "should match pattern",
    ),
    "unknown proof": Bad(
        "PackingPlan",
        {"spec.tiers.0.proof": "Probably"},
        "spec.tiers[0].proof",
        'supported values: "Optimal", "Gap"',
        "should be 'Optimal' or 'Gap'",
    ),
    "priority beyond 32 bits": Bad(
        "PackingPlan",
        {"spec.tiers.0.priority": 2**31},
        "spec.tiers[0].priority",
        "should be less than or equal to 2147483647",
        "less than or equal to 2147483647",
    ),
    "placement without node": Bad(
        "PackingPlan",
        {"spec.placements.0.node": REMOVED},
        "spec.placements[0].node",
        "Required value",
        "Field required",
    ),
    "pod name too long": Bad(
        "PackingPlan",
        {"spec.moves.0.name": "a" * 254},
        "spec.moves[0].name",
        "may not be more than 253",
        "at most 253 characters",
    ),
    "owner without kind": Bad(
        "PackingPlan",
        {"spec.moves.0.owner": "web-5d9"},
        "spec.moves[0].owner",
        "should match",
        "should match pattern",
    ),
    "too many sentences": Bad(
        "PackingPlan",
        {"spec.notConsidered": ["x"] * (PLAN_MAX_ENTRIES + 1)},
        "spec.notConsidered",
        "must have at most 2000 items",
        "at most 2000 items",
    ),
    "approval by nobody": Bad(
        "PackingPlan",
        {"spec.approval": {"decision": "Approved", "by": ""}},
        "spec.approval.by",
        "should be at least 1 chars long",
        "at least 1 character",
    ),
    "half an approval": Bad(
        "PackingPlan",
        {"spec.approval": {"decision": "Approved"}},
        "spec.approval.by",
        "Required value",
        "Field required",
    ),
}

BAD = BREAKS_A_RULE | BREAKS_A_BOUND
