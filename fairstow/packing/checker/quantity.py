"""Kubernetes quantities as exact fractions, and the scheduler's rounding of them.

Source: the Quantity serialisation format of the Kubernetes API (k8s.io/apimachinery
api/resource). Values above 2^63 - 1 units can't be held by the API and are refused here, which
also bounds the work a hostile exponent could cause.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from math import ceil

from fairstow.packing.checker.fields import CheckError, Fields

Amounts = dict[str, Fraction]

_QUANTITY = re.compile(
    r"(?P<number>\+?(?:\d+\.?\d*|\.\d+))(?:(?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?\d{1,2}))?"
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_LONGEST = 64
_LARGEST = 2**63 - 1


def parse_quantity(text: str) -> Fraction:
    """Return the exact value of a quantity; ValueError says what is wrong with it."""
    if len(text) > _LONGEST:
        raise ValueError("is too long for a quantity")
    if text.startswith("-"):
        raise ValueError("must not be negative")
    match = _QUANTITY.fullmatch(text)
    if match is None or not text.isascii():
        raise ValueError("is not a quantity such as 500m, 2 or 16Gi")
    value = Fraction(match["number"])
    if suffix := match["suffix"]:
        value *= 2 ** _BINARY[suffix] if suffix in _BINARY else Fraction(10) ** _DECIMAL[suffix]
    elif exponent := match["exponent"]:
        value *= Fraction(10) ** int(exponent)
    if value > _LARGEST:
        raise ValueError("is more than a quantity can hold")
    return value


def read_amounts(parent: Fields, key: str) -> Amounts:
    """Return a resource list: resource name to exact amount, empty if absent."""
    nested = parent.map(key)
    found = {}
    for name in nested.names():
        value = nested.value[name]
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise nested.fail(name, "must be a quantity")
        try:
            found[name] = parse_quantity(value if isinstance(value, str) else _number(value))
        except ValueError as error:
            raise CheckError(f"{parent.where}: {nested.at(name)} {error}") from None
    return found


def _number(value: float) -> str:
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise ValueError("is more than a quantity can hold")
    return str(value)


def in_scheduler_units(amounts: Mapping[str, Fraction]) -> dict[str, int]:
    """Round amounts as the scheduler does: cpu in millicores, others in units, both upwards."""
    return {
        name: ceil(amount * 1000) if name == "cpu" else ceil(amount)
        for name, amount in amounts.items()
    }
