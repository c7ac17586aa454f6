"""A dump without the fields that are newer than Kubernetes 1.28 gives the same plan.

Covers dumps of API objects as they are stored, where newer fields only repeat or refine what the
older ones say. Leaves out objects whose newer fields carry a rule of their own (pod-level
resources, declared features, in-place resize under way): without them it is another cluster. No
test here runs an older Kubernetes: live tests are on 1.37 only.
"""

import copy
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from fairstow.cluster import dump
from fairstow.cluster.project import build
from fairstow.packing.checker import check
from fairstow.packing.formulate import formulate
from fairstow.packing.model import Request
from fairstow.packing.plan import to_plan
from fairstow.packing.planner import decide, inline
from tests.cluster.objects import items

Json = dict[str, Any]
EXAMPLE = Path(__file__).parents[2] / "fairstow" / "cli" / "example.json.gz"

TERM = "spec.affinity.{}.requiredDuringSchedulingIgnoredDuringExecution[].{}"
CONTAINERS = ("spec.containers[]", "spec.initContainers[]")
STATUSES = ("status.containerStatuses[]", "status.initContainerStatuses[]")
NEWER: dict[str, dict[str, str]] = {
    "Pod": {
        **{TERM.format(kind, key): "1.29, KEP-3633"
           for kind in ("podAffinity", "podAntiAffinity")
           for key in ("matchLabelKeys", "mismatchLabelKeys")},
        **{f"{c}.lifecycle.preStop.sleep": "1.29, KEP-3960" for c in CONTAINERS},
        **{f"{c}.securityContext.appArmorProfile": "1.30, KEP-24" for c in CONTAINERS},
        "spec.securityContext.appArmorProfile": "1.30, KEP-24",
        **{f"{c}.volumeMounts[].recursiveReadOnly": "1.30, KEP-3857" for c in CONTAINERS},
        **{f"{s}.volumeMounts": "1.30, KEP-3857" for s in STATUSES},
        "spec.securityContext.supplementalGroupsPolicy": "1.31, KEP-3619",
        **{f"{s}.user": "1.31, KEP-3619" for s in STATUSES},
        **{f"{s}.allocatedResourcesStatus": "1.31, KEP-4680" for s in STATUSES},
        "spec.volumes[].image": "1.31, KEP-4639",
        "spec.resources": "1.32, KEP-2837",
        "spec.securityContext.seLinuxChangePolicy": "1.32, KEP-1710",
        "metadata.generation": "1.33, KEP-5067",
        "status.observedGeneration": "1.33, KEP-5067",
        "status.conditions[].observedGeneration": "1.33, KEP-5067",
        **{f"{c}.lifecycle.stopSignal": "1.33, KEP-4960" for c in CONTAINERS},
        **{f"{s}.stopSignal": "1.33, KEP-4960" for s in STATUSES},
        **{f"{c}.restartPolicyRules": "1.34, KEP-5307" for c in CONTAINERS},
        "spec.hostnameOverride": "1.34, KEP-4762",
        "status.extendedResourceClaimStatus": "1.34, KEP-5004",
        "status.allocatedResources": "1.35, KEP-5419",
        "status.resources": "1.35, KEP-5419",
        "spec.workloadRef": "1.35, KEP-4671",
        "spec.schedulingGroup": "1.36, KEP-4671",
    },
    "Node": {
        "status.runtimeHandlers": "1.30, KEP-3857",
        "status.features": "1.31, KEP-3619",
        "status.declaredFeatures": "1.35, KEP-5328",
    },
    "Job": {
        "spec.managedBy": "1.30, KEP-4368",
        "spec.successPolicy": "1.30, KEP-3998",
    },
    "Deployment": {"status.terminatingReplicas": "1.33, KEP-3973"},
    "ReplicaSet": {"status.terminatingReplicas": "1.33, KEP-3973"},
    "PersistentVolumeClaim": {
        "spec.volumeAttributesClassName": "1.29, KEP-3751",
        "status.currentVolumeAttributesClassName": "1.29, KEP-3751",
        "status.modifyVolumeStatus": "1.29, KEP-3751",
    },
    "PersistentVolume": {
        "spec.volumeAttributesClassName": "1.29, KEP-3751",
        "status.lastPhaseTransitionTime": "1.29, KEP-3762",
    },
    "CSIDriver": {"spec.nodeAllocatableUpdatePeriodSeconds": "1.33, KEP-4876"},
}  # fmt: skip
"""By kind: the path of each field that came after 1.28, and with what."""

NEWER_CONDITIONS = {"PodResizePending", "PodResizeInProgress"}  # 1.33, KEP-1287
NEWER_KINDS = {"VolumeAttributesClass", "ResourceSlice", "DeviceClass", "Workload"}
"""Kinds that came after 1.28 (KEP-3751, KEP-4381, KEP-4671)."""


def stripped(objects: Iterable[Json]) -> tuple[list[Json], int]:
    """The objects as 1.28 would have them, and how many fields went."""
    kept, gone = [], 0
    for each in objects:
        if each["kind"] in NEWER_KINDS:
            gone += 1
            continue
        old = copy.deepcopy(each)
        gone += sum(_drop(old, path.split(".")) for path in NEWER.get(each["kind"], ()))
        status = old.get("status") or {}
        if each["kind"] == "Pod" and status.get("conditions"):
            before = status["conditions"]
            status["conditions"] = [c for c in before if c["type"] not in NEWER_CONDITIONS]
            gone += len(before) - len(status["conditions"])
        kept.append(old)
    return kept, gone


def _drop(value: Any, path: list[str]) -> int:
    """Drop the field at a path, `[]` after a name meaning each of a list; return how many."""
    name, *rest = path
    key = name.removesuffix("[]")
    if not isinstance(value, dict) or key not in value:
        return 0
    if not rest:
        del value[key]
        return 1
    below = value[key] if name.endswith("[]") else [value[key]]
    return sum(_drop(each, rest) for each in below or ())


def renewed(objects: Iterable[Json]) -> list[Json]:
    """The objects as 1.37 would store them: newer fields that say what the older ones say."""
    new = copy.deepcopy(list(objects))
    for each in new:
        spec, status = each.get("spec") or {}, each.get("status") or {}
        if each["kind"] == "Node":
            status["declaredFeatures"] = ["GuaranteedQoSPodCPUResize"]
            status["features"] = {"supplementalGroupsPolicy": True}
        if each["kind"] != "Pod":
            continue
        each["metadata"]["generation"] = 1
        status["observedGeneration"] = 1
        for condition in status.get("conditions") or ():
            condition["observedGeneration"] = 1
        affinity = spec.get("affinity") or {}
        for kind in ("podAffinity", "podAntiAffinity"):
            terms = (affinity.get(kind) or {}).get(TERM.split(".")[3].removesuffix("[]")) or ()
            for term in terms:  # merged into the selector by the API server
                key, *_ = term["labelSelector"]["matchLabels"]
                term["matchLabelKeys"] = [key]
                term["labelSelector"]["matchExpressions"] = [
                    {"key": key, "operator": "In",
                     "values": [term["labelSelector"]["matchLabels"][key]]}
                ]  # fmt: skip
        for container in spec["containers"]:
            container["lifecycle"] = {"stopSignal": "SIGTERM"}
    return new


def read(path: Path) -> list[Json]:
    heads = [(item, item.decode(dict[str, Any])) for item in dump.read([str(path)])]
    return [content | {"kind": i.kind, "apiVersion": i.api_version} for i, content in heads]


def plan(objects: Iterable[Json]) -> Json:
    """The plan without its provenance; the search has all the time it wants."""
    given = list(objects)
    request = Request(build(items(*given)))
    made = to_plan(decide(request, inline(lambda: 0.0), lambda: 0.0)).to_object()
    known = request.snapshot.known
    budgets = "PodDisruptionBudget" in known
    assert check(given, made, budgets_known=budgets, kinds_known=known).accepted
    spec: Json = made["spec"]
    return {key: value for key, value in spec.items() if key != "snapshotHash"}


def test_the_example_gives_the_same_plan() -> None:
    objects = read(EXAMPLE)
    old, _ = stripped(objects)
    new = renewed(objects)
    again, gone = stripped(new)
    assert gone > len(objects)
    assert plan(old) == plan(objects) == plan(new) == plan(again)


def test_openb_120_gives_the_same_problem() -> None:
    """The planner is a function of the problem and the pods behind it."""
    data = os.environ.get("FAIRSTOW_DATA")
    path = Path(data or "", "clusters", "openb-120.json.gz")
    if not data or not path.exists():
        pytest.skip("FAIRSTOW_DATA names no folder with clusters/openb-120.json.gz")
    objects = read(path)
    old, gone = stripped(objects)
    assert gone > 1000, "the dump is of a newer Kubernetes"
    one, other = build(items(*objects)), build(items(*old))
    assert one == other
    assert formulate(one) == formulate(other)
    assert one.hash == other.hash


def test_kinds_that_an_old_dump_lacks_are_unknown_and_it_is_planned_all_the_same() -> None:
    objects = [o for o in stripped(read(EXAMPLE))[0] if o["kind"] in ("Node", "Pod")]
    made = plan(objects)
    assert made["budgets"] == "Unknown"
    assert made["placements"]
    assert any("unknown" in said for said in made["notConsidered"])


def test_stripping_finds_fields_in_lists_and_leaves_the_rest() -> None:
    pod: Json = {
        "kind": "Pod",
        "metadata": {"name": "x", "generation": 2},
        "spec": {"containers": [{"name": "a", "restartPolicyRules": [{}]}, {"name": "b"}]},
        "status": {"conditions": [{"type": "PodResizePending"}, {"type": "Ready"}]},
    }
    (old,), gone = stripped([pod])
    assert gone == 3
    assert old["spec"] == {"containers": [{"name": "a"}, {"name": "b"}]}
    assert old["status"] == {"conditions": [{"type": "Ready"}]}
    assert old["metadata"] == {"name": "x"}
