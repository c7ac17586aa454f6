"""Whatever a client sends, the sidecar has no fault of its own: it is passed on.

Through a socket, to an upstream that takes anything. Left out: HTTP itself (uvicorn's).
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairstow.cache_sidecar.metrics import REGISTRY
from tests.cache_sidecar.sidecars import Site, run

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ANY = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "tool"]) | ANY, "content": st.text() | ANY}
)
BODY = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": st.lists(MESSAGE, max_size=4) | ANY},
    optional={
        "temperature": ANY,
        "stream_options": ANY,
        "n": ANY,
        "tools": ANY,
        "user": ANY,
        "max_tokens": ANY,
        "odd": ANY,
    },
)
VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "cache-control": VALUE
        | st.sampled_from(["no-cache", "max-age=1", "max-age=x,,", "no-store"]),
        "x-cache-threshold": VALUE | st.just("9" * 5_000),
        "x-cache-category": VALUE,
    },
)


def faults() -> float | None:
    return REGISTRY.get_sample_value("fairstow_cache_failed_open_total", {"reason": "fault"})


def test_no_request_is_a_fault(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start()
        before = faults()
        cases: list[tuple[dict[str, Any], dict[str, str]]] = []

        @settings(
            max_examples=150,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(BODY, HEADERS)
        def collect(body: dict[str, Any], headers: dict[str, str]) -> None:
            cases.append((body, headers))

        collect()
        url = f"{site.base}/v1/chat/completions"
        for body, headers in cases:
            data = BytesIO(msgspec.json.encode(body))
            async with site.http.post(url, data=data, headers=headers) as reply:
                only = "only-if-cached" in headers.get("cache-control", "").lower()
                assert reply.status == 200 or (only and reply.status == 504), await reply.text()
        deep = b'{"model":"m","messages":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
        odd = b'{"model":"m","messages":[{"role":"user","content":"\\ud800\\u0000"}]}'
        for raw in (deep, odd, b"", b"\xff\xfe", b"[]"):
            async with site.http.post(url, data=raw) as reply:
                assert reply.status in (200, 500)  # the upstream's own word
                assert "tell us" not in await reply.text()
        assert faults() == before

    run(test, tmp_path)
