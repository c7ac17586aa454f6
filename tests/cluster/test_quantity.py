"""Quantities against Kubernetes' documented forms and, by property, against exact fractions.

Not covered: the canonical form in which the API server writes quantities back; it isn't needed.
"""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.cluster.quantity import MAX, parse, render

SUFFIXES = {
    "": Fraction(1),
    **{s: Fraction(1000) ** i for i, s in zip(range(-3, 0), ("n", "u", "m"), strict=True)},
    **{s: Fraction(1000) ** i for i, s in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{s: Fraction(1024) ** i for i, s in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}


@pytest.mark.parametrize(
    ("resource", "text", "value"),
    [
        ("cpu", "1", 1000),
        ("cpu", "0.5", 500),
        ("cpu", "500m", 500),
        ("cpu", ".5", 500),
        ("cpu", "1.", 1000),
        ("cpu", "+2", 2000),
        ("cpu", "0", 0),
        ("cpu", "-0", 0),
        ("cpu", "100u", 1),  # 0.1 milli, rounded up as MilliValue() does
        ("cpu", "1n", 1),
        ("cpu", "1e3", 1_000_000),
        ("cpu", "1E-3", 1),
        ("memory", "128974848", 128974848),
        ("memory", "129e6", 129_000_000),
        ("memory", "129E6", 129_000_000),
        ("memory", "129M", 129_000_000),
        ("memory", "128974848000m", 128974848),
        ("memory", "123Mi", 128974848),
        ("memory", "1.5Gi", 3 << 29),
        ("memory", "1E", 10**18),  # exa, not an exponent
        ("memory", "1Ei", 1 << 60),
        ("memory", "100m", 1),
        ("nvidia.com/gpu", "8", 8),
        ("pods", "110", 110),
        ("memory", "9223372036854775807", MAX),
        ("cpu", "1.00000000000000000000000000000000000001", 1001),
    ],
)
def test_documented_forms(resource: str, text: str, value: int) -> None:
    assert parse(resource, text) == value


@pytest.mark.parametrize(
    "text",
    ["", " ", "1 ", " 1", "Gi", "1GiB", "1gi", "1K", "1e", "1e+", "0x10", "1_000", "1,5", "--1",
     "1.2.3", ".", "NaN", "inf", "one", "1\n", "\u0661", "1e9999", "9" * 65, "1mi", "1 Gi"],
)  # fmt: skip
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse("memory", text)


@pytest.mark.parametrize("text", ["-1", "-1m", "-0.0001", "-5Gi"])
def test_negative_amounts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is negative"):
        parse("memory", text)


@pytest.mark.parametrize(
    ("resource", "text"),
    [("memory", "8Ei"), ("memory", "9223372036854775808"), ("memory", "1e999"), ("cpu", "10P")],
)
def test_absurd_amounts_are_refused(resource: str, text: str) -> None:
    with pytest.raises(ValueError, match="int64"):
        parse(resource, text)


@given(
    st.sampled_from(["cpu", "memory", "nvidia.com/gpu"]),
    st.integers(0, 10**12),
    st.integers(0, 10**9),
    st.sampled_from(sorted(SUFFIXES)),
)
def test_agrees_with_exact_fractions(resource: str, whole: int, decimals: int, suffix: str) -> None:
    number = f"{whole}.{decimals:09}"
    exact = Fraction(number) * SUFFIXES[suffix] * (1000 if resource == "cpu" else 1)
    if exact > MAX:
        with pytest.raises(ValueError, match="int64"):
            parse(resource, number + suffix)
    else:
        assert parse(resource, number + suffix) == ceil(exact)


@given(st.integers(0, 10**9), st.integers(-9, 9))
def test_exponents_agree_with_exact_fractions(number: int, exponent: int) -> None:
    exact = ceil(Fraction(number) * Fraction(10) ** exponent)
    assert parse("memory", f"{number}e{exponent}") == exact
    assert parse("memory", f"{number}E{exponent}") == exact


@given(st.sampled_from(["cpu", "memory"]), st.text(max_size=80))
def test_any_text_is_read_or_refused(resource: str, text: str) -> None:
    with suppress(ValueError):
        assert 0 <= parse(resource, text) <= MAX


@pytest.mark.parametrize(
    ("resource", "value", "text"),
    [
        ("cpu", 12500, "12.5"),
        ("cpu", 4000, "4"),
        ("cpu", 1, "0.001"),
        ("cpu", -1500, "-1.5"),
        ("memory", 56 << 30, "56Gi"),
        ("memory", (3 << 30) // 2, "1.5Gi"),
        ("memory", 1000, "1000"),
        ("memory", -(2 << 20), "-2Mi"),
        ("hugepages-2Mi", 4 << 20, "4Mi"),
        ("nvidia.com/gpu", 4096, "4096"),
    ],
)
def test_amounts_are_written_as_people_do(resource: str, value: int, text: str) -> None:
    assert render(resource, value) == text


@given(st.integers(0, 10**8))
def test_cores_are_written_exactly(value: int) -> None:
    assert parse("cpu", render("cpu", value)) == value
