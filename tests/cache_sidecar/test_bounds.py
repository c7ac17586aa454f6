"""What a client can't have by asking for it: others' answers, looser rules, what is never kept.

Covered: categories apart; a client's word on its category only tightens; Off and Exact keep what
they say, for callers that nobody knows yet as well; the key that a caller is known by reaches the
upstream. Not covered: keys and namespaces apart (test_sidecar, test_store).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from tests.cache_sidecar.sidecars import Site, run

LOOSE = {"name": "talk", "mode": "Enforce", "calibrationSigned": True, "keywords": ["hello"]}


def categories(**strict: Any) -> dict[str, Any]:
    """Talk, and what nobody says belongs there."""
    bank = {"name": "bank", "mode": "Enforce", "calibrationSigned": True}
    return {"categories": [LOOSE, bank | {"thresholdPermille": 950} | strict]}


def test_like_questions_of_two_categories_share_nothing(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start(config=categories())
        await site.ask("How do I reset my password?")
        await site.stored(1)
        assert (await site.ask("hello how do I reset my password?"))[0] == "miss"
        await site.stored(2)
        assert (await site.ask("how do I reset my passwords"))[0] == "hit-semantic"

    run(test, tmp_path)


def test_what_is_for_the_exact_tier_has_no_vector(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start(config=categories(caching="Exact"))
        await site.ask("How do I reset my password?")
        await site.stored(1)
        _, found = await site.admin("GET", "/stats")
        assert msgspec.json.decode(found)["vectors"] == 0

    run(test, tmp_path)


def test_what_is_off_is_not_kept_for_a_key_that_is_new(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start(config=categories(caching="Off"), workload=None)
        assert (await site.ask("my account", key="a"))[0] == "bypass"
        assert (await site.ask("hello you", key="b"))[0] == "bypass"
        await site.stored(1)
        assert (await site.category("bank"))["entries"] == 0

    run(test, tmp_path)


def test_a_client_that_names_a_category_only_tightens(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        strict = {"name": "law", "mode": "Enforce", "thresholdPermille": 990}
        config = categories(caching="Off", keywords=["account"])
        config["categories"].append(strict)
        await site.start(config=config)
        off, law = {"x-cache-category": "bank"}, {"x-cache-category": "law"}
        bank = "my account and its contract"
        # law is stricter by its threshold, but it keeps what bank doesn't
        assert (await site.ask(bank, headers=law))[0] == "bypass"
        assert (await site.ask("hello you", headers=off))[0] == "bypass"
        assert (await site.ask("hello you"))[0] == "miss"

    run(test, tmp_path)


def test_who_asks_is_told_to_the_upstream_whatever_connection_says(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start(workload=None)
        await site.ask("a question", headers={"connection": "authorization, x-mine", "x-mine": "1"})
        (sent,) = site.upstream.headers
        assert sent["authorization"] == "Bearer key"
        assert "x-mine" not in sent

    run(test, tmp_path)


def test_key_that_is_refused_when_a_hit_is_looked_into_is_served_no_more(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start(config={"categories": [LOOSE], "reask": {"permille": 1000}}, workload=None)
        await site.ask("How do I reset my password?")
        await site.stored(1)
        site.upstream.status = 401
        assert (await site.ask("how do I reset my passwords"))[0] == "hit-semantic"
        while len(site.upstream.asked) < 2:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        assert (await site.ask("How do I reset my password?"))[0] == "bypass"

    run(test, tmp_path)
