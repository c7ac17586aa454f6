"""A SemanticCache as its sidecars read it: every field arrives, and every valid one is usable.

Not covered: that the file reaches them (e2e/test_chart.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from fairstow.api import SemanticCache
from fairstow.semantic_cache.decision import Mode
from fairstow.semantic_cache.eligibility import Tier
from fairstow.semantic_cache.sidecar_file import sidecar_file
from tests.api.objects import EXAMPLES, GOOD

CACHES = {name: obj for name, obj in GOOD.items() if obj["kind"] == "SemanticCache"}


def read(obj: dict[str, Any]) -> Any:
    configuration = pytest.importorskip("fairstow.cache_sidecar.configuration")
    return configuration.parse(sidecar_file(SemanticCache.model_validate(obj)), "here")


@pytest.mark.parametrize("obj", CACHES.values(), ids=CACHES.keys())
def test_what_the_api_takes_a_sidecar_can_use(obj: dict[str, Any]) -> None:
    assert list(read(obj).policies) == [
        each.name for each in SemanticCache.model_validate(obj).spec.categories
    ]


def test_everything_that_is_said_arrives() -> None:
    rules = read(EXAMPLES["SemanticCache"])
    docs, code = rules.policies["docs"], rules.policies["code"]
    assert (docs.mode, docs.caching, docs.threshold, docs.floor) == (
        Mode.ENFORCE, Tier.SEMANTIC, 0.9, 0.87,
    )  # fmt: skip
    assert (docs.ttl, docs.ttl_max, docs.budget_signed) == (86_400, 7 * 86_400, True)
    assert (docs.adaptation.relax, docs.adaptation.ttl_factor) == (0.02, 2)
    assert (code.mode, code.caching) == (Mode.SHADOW, Tier.EXACT)
    assert rules.policies["prices"].caching is Tier.BYPASS
    assert rules.specs["docs"].quota_entries == 20_000
    assert rules.specs["docs"].priority == 10
    assert rules.budgets["docs"].share == 0.01
    assert rules.budgets["docs"].judge.misses == 0.1
    assert (rules.said.reask.permille, rules.said.reask.per_minute) == (20, 10)
    assert rules.categories["docs"].keywords == ("how do i", "configure", "install")
    assert rules.categories["code"].code
    assert rules.said.header.mapping == {"manual": "docs", "shop": "prices"}
    assert (rules.said.load.idle_seconds, rules.said.load.overloaded_seconds) == (0.5, 5)
    assert rules.said.load.header == "x-fairstow-load"
    assert (rules.said.lookup_deadline_seconds, rules.said.most_entries) == (0.05, 50_000)
