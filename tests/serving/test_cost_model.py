"""Durations of prefills, decode steps and copies, against what was published and measured.

Covered: a10-7b against Llumnix (OSDI'24) fig. 10, h100-7b against measurements of one H100. Not
covered: request latencies of a whole pool (benchmarks.serving_simulator), other models.
"""

import pytest
from msgspec.structs import replace

from fairstow.serving.cost_model import A10_7B, H100_7B, PROFILES

ALONE = replace(A10_7B, scale=1.0)
"""One instance without what sixteen spend besides, as fig. 10 was measured."""


@pytest.mark.parametrize(
    ("tokens", "ms"),
    [(256, 56.9), (512, 108.9), (1024, 218.9), (2048, 434.9), (4096, 938.9), (8192, 1993.9)],
)
def test_a10_recomputes_as_published(tokens: int, ms: float) -> None:
    assert ALONE.prefill_s(tokens, tokens**2) * 1e3 == pytest.approx(ms, rel=0.03)


@pytest.mark.parametrize(
    ("length", "ms"),
    [(256, 52.0), (512, 47.0), (1024, 44.3), (2048, 43.6), (4096, 43.3), (8192, 43.5)],
)
def test_a10_decodes_a_batch_of_8k_tokens_as_published(length: int, ms: float) -> None:
    assert ALONE.decode_s(8192 // length, 8192) * 1e3 == pytest.approx(ms, rel=0.025)


@pytest.mark.parametrize(
    ("tokens", "ms"),
    [(256, 66.9), (512, 127.9), (1024, 224.9), (2048, 449.9), (4096, 907.9), (8192, 1680.9)],
)
def test_a10_copies_as_published(tokens: int, ms: float) -> None:
    assert A10_7B.copy_s(tokens) * 1e3 == pytest.approx(ms, rel=0.13)


@pytest.mark.parametrize(
    ("tokens", "ms"),
    [(128, 12.281), (256, 12.009), (512, 12.914), (1024, 24.057), (2048, 48.044), (4096, 96.949),
     (8192, 210.657)],
)  # fmt: skip
def test_h100_prefills_as_measured(tokens: int, ms: float) -> None:
    assert H100_7B.prefill_s(tokens, tokens**2) * 1e3 == pytest.approx(ms, rel=0.04)


@pytest.mark.parametrize(
    ("batch", "context", "ms"),
    [(1, 256, 5.594), (1, 4096, 6.207), (8, 512, 6.367), (8, 2048, 8.614), (16, 1024, 8.706),
     (32, 512, 8.742), (32, 1024, 11.523), (64, 512, 11.575), (64, 1024, 17.117)],
)  # fmt: skip
def test_h100_decodes_as_measured(batch: int, context: int, ms: float) -> None:
    assert H100_7B.decode_s(batch, batch * context) * 1e3 == pytest.approx(ms, rel=0.02)


@pytest.mark.parametrize(("tokens", "ms"), [(256, 5.043), (1024, 20.48), (8192, 162.737)])
def test_h100_copies_as_measured(tokens: int, ms: float) -> None:
    assert H100_7B.copy_s(tokens) * 1e3 == pytest.approx(ms, rel=0.02)


def test_a_faster_gpu_computes_faster_and_copies_the_same() -> None:
    twice = A10_7B.named("twice", faster=2)
    assert twice.decode_s(8, 4096) == A10_7B.decode_s(8, 4096) / 2
    assert twice.copy_s(512) == A10_7B.copy_s(512)


def test_profiles_go_by_their_names() -> None:
    assert list(PROFILES) == ["a10-7b", "h100-7b"]
    assert A10_7B.capacity == 13_616
