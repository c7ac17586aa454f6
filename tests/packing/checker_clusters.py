"""Small clusters and plans for the checker's tests: builders, and a naive planner.

The naive planner knows direct placements, chains of one move and swaps of two pods. It exists to
make legal plans that the tests then break, and tells with `replays` whether a step order is still
feasible. It looks at room, budgets and traits: a trait is one rule in its simplest form, a node
being the topology domain, which a pod has by label and the planner judges in a line.
"""

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from fairstow.cluster.quantity import exact
from fairstow.packing.checker import Rule, Verdict, check
from fairstow.packing.checker.fields import Fields
from fairstow.packing.checker.pods import read_pod

Json = dict[str, Any]
GPU = "nvidia.com/gpu"


def node(name: str = "a", *, gpu: int = 8, cpu: str = "64", pods: int = 110, **spec: Any) -> Json:
    """A Ready node; further keywords go into its spec."""
    allocatable = {"cpu": cpu, "memory": "256Gi", "pods": str(pods), GPU: str(gpu)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"node-{name}", "labels": {"host": name}},
        "spec": spec,
        "status": {
            "allocatable": allocatable,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(
    name: str,
    on: str = "",
    *,
    gpu: int = 1,
    priority: int = 0,
    namespace: str = "team-a",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    owner: str = "ReplicaSet/web",
    hours: float | None = 0,
    **spec: Any,
) -> Json:
    """A pod, running if `on` names a node; `owner` is Kind/name; keywords go into its spec.

    One that runs started so many `hours` before `NOW`, which a node of `beating` makes the present;
    None leaves that out.
    """
    kind, _, owner_name = owner.partition("/")
    api = "batch/v1" if kind == "Job" else "apps/v1"
    reference = {"apiVersion": api, "kind": kind, "name": owner_name, "uid": f"uid-{owner}"}
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{namespace}-{name}",
        "labels": dict(labels or {}),
        "annotations": dict(annotations or {}),
        "ownerReferences": [reference | {"controller": True}] if owner else [],
    }
    container = {"name": "main", "resources": {"requests": {"cpu": "1", GPU: str(gpu)}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], "priority": priority}
        | ({"nodeName": on} if on else {})
        | spec,
        "status": {"phase": "Running" if on else "Pending"}
        | ({"startTime": ago(hours)} if on and hours is not None else {}),
    }


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ago(hours: float) -> str:
    """The time so many hours before NOW, as Kubernetes writes it."""
    return (NOW - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def beating(item: Json) -> Json:
    """Give a node a heartbeat at NOW."""
    item["status"]["conditions"][0]["lastHeartbeatTime"] = ago(0)
    return item


def work(item: Json) -> int:
    """GPU-hours since a pod started, down to a power of two and at most 64; 0 for what serves."""
    started = item["status"].get("startTime")
    if not started or _owner(item).startswith("ReplicaSet/"):
        return 0
    hours = (NOW - datetime.fromisoformat(started)) / timedelta(hours=1)
    gpus = int(item["spec"]["containers"][0]["resources"]["requests"][GPU])
    return max((u for u in (1, 2, 4, 8, 16, 32, 64) if u <= hours * gpus), default=0)


TRAITS = ("port", "apart", "near", "spread", "disk")
DISK: list[Json] = [
    {
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "disk",
            "namespace": "team-a",
            "annotations": {"pv.kubernetes.io/bind-completed": "yes"},
        },
        "spec": {"volumeName": "disk"},
    },
    {
        "kind": "PersistentVolume",
        "metadata": {"name": "disk"},
        "spec": {
            "nfs": {"server": "s", "path": "/"},
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "host", "operator": "In", "values": ["a"]}]}
                    ]
                }
            },
        },
    },
]
"""The claim of pods with the trait "disk", had on node a only."""


def with_trait(item: Json, trait: str) -> Json:
    """Give a pod one of TRAITS."""
    item["metadata"]["labels"]["trait"] = trait
    selector = {"labelSelector": {"matchLabels": {"trait": trait}}, "topologyKey": "host"}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": [selector]}
    match trait:
        case "port":
            item["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 80}]
        case "apart":
            item["spec"]["affinity"] = {"podAntiAffinity": required}
        case "near":
            item["spec"]["affinity"] = {"podAffinity": required}
        case "spread":
            constraint = selector | {"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
            item["spec"]["topologySpreadConstraints"] = [constraint]
        case _:
            item["spec"]["volumes"] = [{"persistentVolumeClaim": {"claimName": "disk"}}]
    return item


def budget(name: str, labels: Mapping[str, str], allowed: int, **status: Any) -> Json:
    """A PodDisruptionBudget of team-a."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": "team-a", "uid": f"pdb-{name}", "generation": 1},
        "spec": {"selector": {"matchLabels": dict(labels)}, "maxUnavailable": 1},
        "status": {"disruptionsAllowed": allowed, "observedGeneration": 1} | status,
    }


def ref(item: Json) -> Json:
    """A pod as plans refer to it."""
    metadata = item["metadata"]
    return {key: metadata[key] for key in ("namespace", "name", "uid")}


def place(item: Json, on: str) -> Json:
    """A bind, and the placement if the pod isn't also evicted in the step."""
    return ref(item) | {"node": on}


def step(evict: Iterable[Json] = (), bind: Iterable[tuple[Json, str]] = ()) -> Json:
    """A step from pods and (pod, node)."""
    return {"evict": [ref(p) for p in evict], "bind": [place(p, n) for p, n in bind]}


def _owner(item: Json) -> str:
    references = item["metadata"]["ownerReferences"]
    return f"{references[0]['kind']}/{references[0]['name']}" if references else ""


def plan(objects: Sequence[Json], *steps: Json, **spec: Any) -> Json:
    """A plan of steps, with lists, cost and tiers to match; keywords replace fields of the spec."""
    by_uid = {o["metadata"]["uid"]: o for o in objects if o["kind"] == "Pod"}
    placements, moves, evictions = [], [], []
    for each in steps:
        targets = {b["uid"]: b["node"] for b in each["bind"]}
        gone = {e["uid"] for e in each["evict"]}
        for entry in each["evict"]:
            item = by_uid[entry["uid"]]
            change = entry | {"from": item["spec"].get("nodeName", "none"), "owner": _owner(item)}
            if entry["uid"] in targets:
                kept = {"to": targets[entry["uid"]], "requests": _requests(item)}
                moves.append(change | kept)
            else:
                evictions.append(change)
        placements += [
            b | {"owner": _owner(by_uid[b["uid"]]), "requests": _requests(by_uid[b["uid"]])}
            for b in each["bind"]
            if b["uid"] not in gone
        ]
    body: Json = {
        "snapshotHash": "0123456789abcdef" * 2,
        "rules": "Product",
        "order": "PlaceFirst",
        "seed": 0,
        "window": "10s",
        "budgets": "Known",
        "placements": placements,
        "moves": moves,
        "evictions": evictions,
        "steps": list(steps),
        "notConsidered": [],
    } | spec
    weights = (2, 1) if body["rules"] == "Paper" else (1, 100)
    lost = 0 if body["rules"] == "Paper" else sum(work(by_uid[c["uid"]]) for c in moves + evictions)
    body.setdefault("cost", weights[0] * len(moves) + weights[1] * len(evictions) + lost)
    body.setdefault("tiers", _tiers(by_uid.values(), placements, evictions))
    return {
        "apiVersion": "fairstow.dev/v1alpha1",
        "kind": "PackingPlan",
        "metadata": {"name": "plan-01234567"},
        "spec": copy.deepcopy(body),
    }


def _requests(item: Json) -> Json:
    """What a pod asks for in effect, as a plan says it."""
    asked = {**read_pod(Fields.of("test", "", item)).requests, "pods": 1}
    return {name: exact(name, amount) for name, amount in asked.items()}


def _tiers(pods: Iterable[Json], placed: list[Json], evicted: list[Json]) -> list[Json]:
    up, down = {e["uid"] for e in placed}, {e["uid"] for e in evicted}
    tiers: dict[int, list[int]] = {}
    for item in pods:
        if item["status"].get("phase") in ("Succeeded", "Failed"):
            continue
        if "deletionTimestamp" in item["metadata"] or item["spec"].get("schedulingGates"):
            continue
        uid = item["metadata"]["uid"]
        before = bool(item["spec"].get("nodeName") or item["status"].get("nominatedNodeName"))
        counts = tiers.setdefault(item["spec"].get("priority", 0), [0, 0, 0])
        counts[0] += 1
        counts[1] += before
        counts[2] += (before or uid in up) and uid not in down
    return [
        {
            "priority": priority,
            "placedBefore": before,
            "placedAfter": after,
            "pending": total - after,
            "bound": after,
            "proof": "Optimal",
            "gapPods": 0,
        }
        for priority, (total, before, after) in sorted(tiers.items(), reverse=True)
    ]


def rules_broken(objects: Sequence[Json], a_plan: Any, *, budgets_known: bool = True) -> set[str]:
    """The codes of a verdict's violations."""
    return {v.rule for v in verdict(objects, a_plan, budgets_known=budgets_known).violations}


def arrival(target: Json, arriving: Json, *others: Json) -> set[str]:
    """The rules broken by one placement of `arriving` on the node `target`."""
    objects = [target, arriving, *others]
    return rules_broken(objects, plan(objects, step(bind=[(arriving, target["metadata"]["name"])])))


def in_zone(name: str, zone: str, **labels: str) -> Json:
    """A node with a zone and further labels."""
    item = node(name)
    item["metadata"]["labels"] |= {"zone": zone, **labels}
    return item


def verdict(
    objects: Sequence[Json],
    a_plan: Any,
    *,
    budgets_known: bool = True,
    kinds_known: Sequence[str] = (),
) -> Verdict:
    """The checker's verdict, itself checked for consistency."""
    found = check(objects, a_plan, budgets_known=budgets_known, kinds_known=kinds_known)
    assert found.accepted == (not found.violations)
    assert all(v.rule in set(Rule) and v.message for v in found.violations)
    return found


class Naive:
    """A planner for room, budgets and traits, over nodes and pods made by the builders."""

    def __init__(self, objects: Sequence[Json]) -> None:
        self.objects = objects
        self.pods = {o["metadata"]["uid"]: o for o in objects if o["kind"] == "Pod"}
        self.room = {o["metadata"]["name"]: _allocatable(o) for o in objects if o["kind"] == "Node"}
        self.budgets = [o for o in objects if o["kind"] == "PodDisruptionBudget"]
        self.homes = {
            uid: p["spec"]["nodeName"] for uid, p in self.pods.items() if "nodeName" in p["spec"]
        }

    def steps(self) -> list[Json]:
        """Place what fits, then what fits after one move or one swap, by priority."""
        found = []
        pending = [p for uid, p in self.pods.items() if uid not in self.homes]
        pending.sort(key=lambda p: -p["spec"]["priority"])
        for item in pending:
            for candidate in self._candidates(item):
                if self.apply(candidate):
                    found.append(candidate)
                    break
        return found

    def _candidates(self, item: Json) -> Iterator[Json]:
        names = list(self.room)
        for name in names:
            yield step(bind=[(item, name)])
        for uid, other in itertools.product(list(self.homes), names):
            moved = self.pods[uid]
            if other != self.homes[uid] and uid in self._original():
                yield step([moved], [(moved, other), (item, self.homes[uid])])
        for one, two in itertools.permutations(list(self.homes), 2):
            if {one, two} <= self._original() and self.homes[one] != self.homes[two]:
                first, second = self.pods[one], self.pods[two]
                binds = [(first, self.homes[two]), (second, self.homes[one])]
                yield step([first, second], [*binds, (item, self.homes[one])])

    def _original(self) -> set[str]:
        """Pods still where they were: each moves at most once."""
        return {u for u, n in self.homes.items() if self.pods[u]["spec"].get("nodeName") == n}

    def apply(self, each: Json) -> bool:
        """Carry out a step, or leave the state as it is and return False."""
        before = dict(self.homes)
        if not self._within_budgets(each):
            return False
        for entry in each["evict"]:
            if self.homes.pop(entry["uid"], None) is None:
                self.homes = before
                return False
        for entry in each["bind"]:
            if entry["uid"] in self.homes or not self._fits(entry["uid"], entry["node"]):
                self.homes = before
                return False
            self.homes[entry["uid"]] = entry["node"]
        return True

    def _within_budgets(self, each: Json) -> bool:
        for item in self.budgets:
            wanted = item["spec"]["selector"]["matchLabels"].items()
            down = sum(
                wanted <= self.pods[e["uid"]]["metadata"]["labels"].items() for e in each["evict"]
            )
            if down > item["status"]["disruptionsAllowed"]:
                return False
        return True

    def _fits(self, uid: str, name: str) -> bool:
        there = [self.pods[u] for u, n in self.homes.items() if n == name]
        gpu, pods = self.room.get(name, (0, 0))
        room = len(there) < pods and sum(map(_gpus, [*there, self.pods[uid]])) <= gpu
        return room and self._allows(self.pods[uid]["metadata"]["labels"].get("trait"), name)

    def _allows(self, trait: str | None, name: str) -> bool:
        alike = dict.fromkeys(self.room, 0)
        for uid, on in self.homes.items():
            alike[on] += self.pods[uid]["metadata"]["labels"].get("trait") == trait
        return {
            None: True,
            "port": alike[name] == 0,
            "apart": alike[name] == 0,
            "near": alike[name] > 0 or not any(alike.values()),
            "spread": alike[name] + 1 - min(alike.values()) <= 1,
            "disk": name == "a",
        }[trait]


def replays(objects: Sequence[Json], steps: Iterable[Json]) -> bool:
    """Whether the steps are feasible in this order, as far as the naive planner knows."""
    naive = Naive(objects)
    return all(naive.apply(each) for each in steps)


def _allocatable(item: Json) -> tuple[int, int]:
    allocatable = item["status"]["allocatable"]
    return int(allocatable[GPU]), int(allocatable["pods"])


def _gpus(item: Json) -> int:
    return int(item["spec"]["containers"][0]["resources"]["requests"][GPU])
