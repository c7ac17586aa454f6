"""What the models accept and refuse, and that they and the generated CRDs accept the same objects.

The comparison runs a small reader of structural schemas over examples with one value changed each.
Not covered: CEL expressions, which only a real API server can judge (e2e/test_custom_resources.py
puts the same objects before it).
"""

import copy
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fairstow.api import KINDS, PackingPlan, PackingPolicy, Reason, duration_milliseconds, problems
from tests.api.objects import BAD, BY_KIND, EXAMPLES, GOOD, REMOVED, Bad, changed
from tests.api.structural import complaints
from tools.generate.schema import structural_schema

SCHEMAS = {kind.__name__: structural_schema(kind) for kind in KINDS}


@pytest.mark.parametrize("name", GOOD)
def test_good_object_is_accepted_and_survives_a_round_trip(name: str) -> None:
    obj = GOOD[name]
    parsed = BY_KIND[obj["kind"]].model_validate(obj)
    written = parsed.to_object()
    assert type(parsed).model_validate(written) == parsed
    assert contains(written, obj)
    assert complaints(SCHEMAS[obj["kind"]], written) == {}


@pytest.mark.parametrize("name", BAD)
def test_bad_object_is_refused_at_its_field_with_its_message(name: str) -> None:
    bad: Bad = BAD[name]
    with pytest.raises(ValidationError) as caught:
        BY_KIND[bad.kind].model_validate(bad.object())
    expected = bad.ours or bad.server
    lines = problems(caught.value)
    assert any(line.startswith(f"{bad.field}: ") and expected in line for line in lines), lines


@pytest.mark.parametrize("kind", BY_KIND)
def test_every_rule_has_a_bad_object(kind: str) -> None:
    for field, rule in _rules(SCHEMAS[kind], ""):
        if "oldSelf" not in rule["rule"]:  # e2e/test_custom_resources.py tries these
            assert any(
                bad.kind == kind
                and re.sub(r"\d+", "", bad.field) == (field or "object")
                and bad.server in rule["message"]
                for bad in BAD.values()
            ), f"{field}: {rule['message']}"


def _rules(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, str]]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield path, rule
    for name, each in schema.get("properties", {}).items():
        yield from _rules(each, f"{path}.{name}".removeprefix("."))
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")


def test_unknown_field_is_refused() -> None:
    typo = changed(EXAMPLES["PackingPolicy"], {"spec.supend": True})
    with pytest.raises(ValidationError, match=r"supend"):
        PackingPolicy.model_validate(typo)


def test_an_object_from_the_api_server_can_be_read() -> None:
    served = changed(
        EXAMPLES["PackingPlan"],
        {"metadata.managedFields": [{"manager": "kubectl"}], "metadata.generation": 3},
    )
    plan = PackingPlan.model_validate(served)
    assert plan.metadata.generation == 3


def test_the_summary_is_derived_when_it_is_missing() -> None:
    spec = PackingPlan.model_validate(GOOD["plan without summary"]).spec
    assert spec.summary is not None
    assert (spec.summary.placements, spec.summary.moves, spec.summary.evictions) == (1, 1, 0)


def test_models_cannot_be_changed() -> None:
    policy = PackingPolicy.model_validate(EXAMPLES["PackingPolicy"])
    with pytest.raises(ValidationError, match="frozen"):
        policy.spec.suspend = True


def test_importing_the_types_loads_nothing_heavy() -> None:
    loaded = "import sys, fairstow.api; print(*sys.modules)"
    modules = subprocess.check_output([sys.executable, "-c", loaded], text=True).split()
    ours = {name for name in modules if name.startswith("fairstow.")}
    assert all(name.startswith("fairstow.api") for name in ours)
    assert not {"ortools", "kubernetes", "yaml", "typer"} & set(modules)


def test_reasons_are_words_with_sentences() -> None:
    assert f"{Reason.NO_NODES}" == "NoNodes"
    for reason in Reason:
        assert reason.value.isalnum(), reason
        assert reason.value[0].isupper(), reason
        assert reason.name == "".join("_" * c.isupper() + c.upper() for c in reason.value)[1:]
        assert reason.sentence.endswith("."), reason


@given(st.tuples(*(st.integers(0, 99_999) for _ in range(4))))
def test_durations_are_read_in_milliseconds(parts: tuple[int, ...]) -> None:
    text = "".join(f"{n}{unit}" for n, unit in zip(parts, ("h", "m", "s", "ms"), strict=True))
    hours, minutes, seconds, milliseconds = parts
    assert duration_milliseconds(text) == (
        ((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds
    )


@pytest.mark.parametrize("text", ["", "5", "m", "1.5s", "5s1m", "-1s", "1 s", "1s\n", "100000h"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration_milliseconds(text)


_names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
_owners = st.one_of(st.just(""), _names.map(lambda name: f"ReplicaSet/{name}"))
_pods = st.fixed_dictionaries({"namespace": _names, "name": _names, "uid": _names})


def _joined(*parts: st.SearchStrategy[dict[str, str]]) -> st.SearchStrategy[dict[str, str]]:
    return st.tuples(*parts).map(lambda found: {k: v for part in found for k, v in part.items()})


def _fields(*names: str) -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries(dict.fromkeys(names, _names) | {"owner": _owners})


@st.composite
def plans(draw: st.DrawFn) -> dict[str, Any]:
    """A legal plan: one step per move, eviction and placement."""
    placements = draw(st.lists(_joined(_pods, _fields("node")), max_size=4))
    moves = draw(st.lists(_joined(_pods, _fields("from", "to")), max_size=4))
    evictions = draw(st.lists(_joined(_pods, _fields("from")), max_size=4))
    tiers: list[dict[str, Any]] = [
        {
            "priority": priority,
            "placedBefore": 0,
            "placedAfter": after,
            "pending": 0,
            "bound": after + gap,
            "proof": "Gap" if gap else "Optimal",
            "gapPods": gap,
        }
        for priority, after, gap in draw(
            st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 9), st.integers(0, 2)))
        )
    ]

    def pod(entry: dict[str, str], **node: str) -> dict[str, str]:
        return {key: entry[key] for key in ("namespace", "name", "uid")} | node

    steps: list[dict[str, Any]] = [{"evict": [pod(each)]} for each in evictions]
    steps += [{"evict": [pod(each)], "bind": [pod(each, node=each["to"])]} for each in moves]
    steps += [{"bind": [pod(each, node=each["node"])]} for each in placements]
    new = {
        "placements": placements,
        "moves": moves,
        "evictions": evictions,
        "steps": steps,
        "tiers": sorted(tiers, key=lambda tier: -tier["priority"]),
        "summary": REMOVED,
        "seed": draw(st.integers(0, 2**53 - 1)),
    }
    return changed(EXAMPLES["PackingPlan"], {f"spec.{key}": value for key, value in new.items()})


@given(plans())
def test_any_plan_survives_a_round_trip(obj: dict[str, Any]) -> None:
    plan = PackingPlan.model_validate(obj)
    written = plan.to_object()
    assert contains(written, obj)
    assert PackingPlan.model_validate(written) == plan
    assert PackingPlan.model_validate_json(plan.model_dump_json(by_alias=True)) == plan
    assert complaints(SCHEMAS["PackingPlan"], written) == {}


@pytest.mark.parametrize("kind", BY_KIND)
def test_models_and_schema_refuse_the_same_fields(kind: str) -> None:
    tried = refused = 0
    for obj in mutants(EXAMPLES[kind] | {"status": STATUS[kind]}):
        tried += 1
        ours = _refused_fields(kind, obj)
        assert ours == set(complaints(SCHEMAS[kind], obj)), obj
        refused += bool(ours)
    assert refused > 100, "the comparison has lost its force"
    assert tried - refused > 5, "nothing that is accepted was compared"


def contains(whole: Any, part: Any) -> bool:
    """Whether `whole` says all that `part` says; it may say more (defaults)."""
    if isinstance(part, dict):
        return all(contains(whole.get(key), value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return bool(whole == part)


def _refused_fields(kind: str, obj: dict[str, Any]) -> set[str]:
    """The paths of the fields the model refuses, CEL's rules and the metadata left aside."""
    try:
        BY_KIND[kind].model_validate(obj)
    except ValidationError as error:
        return {
            ".".join(str(part) for part in each["loc"])
            for each in error.errors()
            if each["type"] != "rule"
        }
    return set()


_CONDITION = {
    "type": "Ready",
    "status": "True",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-01-01T00:00:00Z",
    "reason": "PoolReady",
    "message": "3 nodes offer 24 GPUs.",
}
STATUS: dict[str, dict[str, Any]] = {
    "GpuPool": {"nodes": 3, "fragmentationPermille": 125, "conditions": [_CONDITION]},
    "PackingPolicy": {
        "lastRun": {"time": "2026-01-01T00:00:00.5+01:00", "reason": "PlanCreated"},
        "lastPlan": "plan-1",
        "observedGeneration": 1,
    },
    "PackingPlan": {"conditions": [_CONDITION], "stepsDone": 1, "stepsTotal": 2},
    "ServingPool": {"instances": 2, "running": 5, "conditions": [_CONDITION]},
    "InstanceDrain": {"remaining": 2, "startedAt": "2026-01-01T00:00:00Z"},
    "SparkQueue": {"waiting": 3, "coresUsed": 12, "conditions": [_CONDITION]},
    "SparkAdmission": {"phase": "Waiting", "position": 3, "reason": "BehindOthers"},
    "SemanticCache": {
        "pods": 2,
        "missedPods": [{"name": "web-0", "reason": "older than the cache"}],
        "categories": [
            {"name": "docs", "mode": "Shadow", "semantic": "Off", "message": "Off", "lookups": 7}
        ],
    },
}
TOO_MANY = object()
_ODD: tuple[Any, ...] = (
    *(REMOVED, -1, 7, 2**31, 2**53, 0.5, True, "", "x", "5s", "Upper", "a" * 400, "a b", "x\n"),
    *(["x"], [7], {"x": "y"}, {"x": 7}, TOO_MANY),
)


def mutants(obj: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield `obj` with the value at each place below spec and status replaced by each odd one."""
    for place in _places({key: obj[key] for key in ("spec", "status")}, ()):
        for odd in _ODD:
            mutant = copy.deepcopy(obj)
            below: Any = mutant
            for part in place[:-1]:
                below = below[part]
            value = below[place[-1]]
            if odd is REMOVED:
                del below[place[-1]]
            elif odd is not TOO_MANY:
                below[place[-1]] = odd
            elif isinstance(value, list) and value:
                below[place[-1]] = value[:1] * 2001
            yield mutant


def _places(value: Any, here: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, below in entries:
        yield (*here, key)
        if isinstance(below, dict | list):
            yield from _places(below, (*here, key))
