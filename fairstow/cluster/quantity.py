"""Kubernetes resource quantities as exact integers.

Source: k8s.io/apimachinery/pkg/api/resource. A quantity is a decimal number with a binary
(Ki … Ei) or decimal (n u m k M G T P E, or exponent) suffix. The scheduler works on integers:
`cpu` in milli-CPU, everything else in units, both rounded up (`MilliValue()`, `Value()`), so
that is what `parse` returns. Exact: no float is involved.
"""

import re
from fractions import Fraction
from functools import lru_cache
from math import ceil

CPU = "cpu"
MAX = 2**63 - 1
"""Kubernetes stores int64; more is refused by the API server, so it is damage in a dump."""

_FORM = re.compile(
    r"([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,3})|([KMGTPE]i|[numkMGTPE]))?\Z"
)
_SCALE: dict[str | None, Fraction] = {
    None: Fraction(1),
    **{s: Fraction(1024 ** (i + 1)) for i, s in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))},
    **{
        s: Fraction(1000) ** i
        for i, s in zip((-3, -2, -1, 1, 2, 3, 4, 5, 6), "numkMGTPE", strict=True)
    },
}
_LONGEST = 64


@lru_cache(maxsize=65536)
def parse(resource: str, text: str) -> int:
    """Return `text` in the scheduler's integer unit for `resource`: milli for cpu, else units.

    Raises:
        ValueError: not a quantity, negative, or beyond int64.
    """
    match = _FORM.match(text) if len(text) <= _LONGEST else None
    if match is None:
        raise ValueError(f"{text[:_LONGEST]!r} is not a quantity (expected e.g. 500m, 4, 16Gi)")
    sign, number, exponent, suffix = match.groups()
    value = Fraction(number) * _SCALE[suffix] * Fraction(10) ** int(exponent or 0)
    if resource == CPU:
        value *= 1000
    if sign == "-" and value:
        raise ValueError(f"{text!r} is negative")
    if value > MAX:
        raise ValueError(f"{text!r} is beyond what Kubernetes can store (int64)")
    return ceil(value)


_BINARY = (("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10))


def render(resource: str, value: int) -> str:
    """Write an integer in the scheduler's unit the way people write it: `12.5`, `56Gi`, `4`."""
    sign, value = ("-", -value) if value < 0 else ("", value)
    if resource == CPU:
        whole, milli = divmod(value, 1000)
        return f"{sign}{whole}" + (f".{milli:03d}".rstrip("0") if milli else "")
    if resource in ("memory", "ephemeral-storage") or resource.startswith("hugepages-"):
        for suffix, bits in _BINARY:
            if value >= 1 << bits:
                tenths = (value * 10 + (1 << bits >> 1)) >> bits
                return f"{sign}{tenths // 10}.{tenths % 10}".removesuffix(".0") + suffix
    return f"{sign}{value}"


def exact(resource: str, value: int) -> str:
    """Write a non-negative integer in the scheduler's unit so that `parse` gives it back."""
    if resource == CPU:
        return f"{value}m" if value % 1000 else str(value // 1000)
    for suffix, bits in _BINARY[2:]:
        if value and not value % (1 << bits):
            return f"{value >> bits}{suffix}"
    return str(value)
