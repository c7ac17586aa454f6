"""Hits that are looked into: who is, what the judge says, and what that opens and closes.

Covered: labels in Shadow, which open a category; served hits that are asked again, which close one
that its owner signed for; restarts; what is never looked into; the judge. Left out: the bounds
themselves (tests/semantic_cache/test_policies), their figures (benchmarks.cache_budget).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fairstow.cache_sidecar import configuration
from fairstow.cache_sidecar.embedding import MODEL
from fairstow.cache_sidecar.labelling import LONGEST, Labelling, Watched
from fairstow.cache_sidecar.stores.records import Label
from fairstow.cache_sidecar.vectors import Vectors
from fairstow.semantic_cache.decision import Candidate, Lookup, decide
from fairstow.semantic_cache.eligibility import Eligibility, Tier
from tests.cache_sidecar.sidecars import CATEGORY, SameVector, Site, run
from tests.cache_sidecar.test_store import answer

FIRST, AGAIN = "How do I reset my password?", "how do I reset my passwords"


def config(**category: Any) -> dict[str, Any]:
    return {
        "categories": [{"name": "default", "mode": "Enforce"} | category],
        "reask": {"permille": 1000, "perMinute": 6000},
        "lookupDeadlineSeconds": 5,
    }


async def labelled(site: Site, labels: int) -> dict[str, Any]:
    while (stats := await site.category())["labels"] < labels:
        await asyncio.sleep(0.005)
    return stats


def test_labels_open_a_category_that_nobody_signed(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start(config=config(errorBudgetPermille=500), data=True)
        site.upstream.said = "Click on the link."
        await site.ask(FIRST)
        await site.stored(1)
        assert (await site.category())["budget"].startswith("Unknown")
        seen = 0
        # The same question would be an exact hit.
        while (await site.ask(AGAIN + " " * seen))[0] == "miss":
            seen += 1
            assert seen < 100
            await asyncio.sleep(0)
        stats = await site.category()
        assert stats["wrong"] == 0
        assert stats["budget"].startswith("Kept")
        before = stats["labels"]
        await site.stop.aclose()
        await site.start(config=config(errorBudgetPermille=500), data=True)
        assert (await site.category())["labels"] >= before
        assert (await site.ask(f" {AGAIN}"))[0] == "hit-semantic"

    run(test, tmp_path)


def test_served_hits_that_are_wrong_close_what_was_signed_for(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start(config=config(calibrationSigned=True))
        site.upstream.said = "Click on the link."
        await site.ask(FIRST)
        await site.stored(1)
        site.upstream.said = "That isn't possible any more."
        served = 0
        while (await site.ask(AGAIN))[0] == "hit-semantic":
            served += 1
            await labelled(site, min(served, 2))
            assert served < 100
        stats = await site.category()
        assert stats["budget"].startswith("Spent")
        assert stats["wrongAtMost"] > 0.02

    run(test, tmp_path)


def test_nothing_is_asked_again_where_the_owner_wants_none(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start(config={"categories": [CATEGORY], "reask": {"permille": 0}})
        await site.ask(FIRST)
        await site.stored(1)
        for _ in range(5):
            assert (await site.ask(AGAIN))[0] == "hit-semantic"
        assert len(site.upstream.asked) == 1

    run(test, tmp_path)


RULES = configuration.parse(
    "{mode: Enforce, reask: {permille: 500, perMinute: 3}, categories: "
    "[{name: default, calibrationSigned: true, adaptation: {maxRelaxPermille: 100}}]}",
    "test",
)
NEAR = Candidate("e", "n", "f", FIRST, 0.0, 0.95)


def look_up(**changes: Any) -> Lookup:
    facts: dict[str, Any] = {
        "namespace": "n",
        "eligibility": Eligibility(Tier.SEMANTIC, True),
        "policy": RULES.policies["default"],
        "now": 1.0,
        "fingerprint": "f",
        "question": AGAIN,
        "near": (NEAR,),
        "budget_threshold": 0.8,
    }
    return Lookup(**(facts | changes))


def watch(labelling: Labelling, lookup: Lookup) -> Watched | None:
    return labelling.watch(RULES, lookup, decide(lookup))


def test_chance_is_the_same_for_all_hits_and_bounded_in_time() -> None:
    time, chance = 0.0, 0.0
    labelling = Labelling(Vectors(SameVector), lambda: time, lambda: chance)
    assert watch(labelling, look_up()) == Watched("e", 0.95, 0.9)
    low = Candidate("low", "n", "f", FIRST, 0.0, 0.85)
    assert watch(labelling, look_up(near=(low,))) == Watched("low", 0.85, 0.8)
    chance = 0.6
    assert watch(labelling, look_up()) is None
    assert watch(labelling, look_up(near=(low,))) is None
    spent = look_up(budget_spent=True)  # all are forwarded, so all can be looked into
    assert watch(labelling, spent) is not None
    assert watch(labelling, spent) is None
    time = 61.0
    assert watch(labelling, spent) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"near": ()},
        {"load": 0.8},
        {"exact": NEAR},
        {"client_threshold": 0.9},
        {"near": (Candidate("e", "n", "f", FIRST, 0.0, 0.7),)},
    ],
)
def test_what_is_not_looked_into(changes: dict[str, Any]) -> None:
    labelling = Labelling(Vectors(SameVector), lambda: 0.0, lambda: 0.0)
    assert watch(labelling, look_up(**changes)) is None


@pytest.mark.parametrize(
    ("a", "b", "wrong"),
    [
        ("Click on the link.", "Click  on\nthe link.", False),
        ("It is allowed.", "It is not allowed.", True),
        ("It costs 5 euros.", "It costs 7 euros.", True),
        ("a " * LONGEST, "b " * LONGEST, None),
        ("Yes.", "", None),
    ],
)
def test_judge(a: str, b: str, wrong: bool | None) -> None:
    async def body() -> None:
        vectors = Vectors(SameVector)
        loading = asyncio.create_task(vectors.run())
        while not vectors.ready:
            await asyncio.sleep(0.001)
        labelling = Labelling(vectors, lambda: 0.0)
        label = await labelling.judge("c", Watched("e", 0.95, 0.9), answer(a), answer(b))
        expected = None if wrong is None else Label("c", MODEL, 0.95, 0.9, wrong)
        assert label == expected
        loading.cancel()
        vectors.close()

    asyncio.run(body())


def test_another_budget_reads_the_labels_again() -> None:
    labelling = Labelling(Vectors(SameVector), lambda: 0.0)
    for _ in range(50):
        labelling.add(Label("default", MODEL, 0.95, 0.9, False), RULES)
    labelling.add(Label("default", "another model", 0.95, 0.9, True), RULES)
    labelling.add(Label("gone", MODEL, 0.95, 0.9, True), RULES)
    assert [each.hits for each in labelling.evidence("default", RULES).labels] == [0, 50, 50]
    higher = configuration.parse("{categories: [{name: default, thresholdPermille: 940}]}", "test")
    assert [each.hits for each in labelling.evidence("default", higher).labels] == [50, 0]
