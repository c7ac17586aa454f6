"""Label selectors, node selector terms and tolerations, as the scheduler reads them.

Source: LabelSelector and NodeSelector of the Kubernetes API; numeric tolerations are KEP-5471.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fairstow.packing.checker.fields import Fields

_INTEGER = re.compile(r"0|-?[1-9]\d{0,18}")
_OPERATORS = frozenset({"In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"})


@dataclass(frozen=True)
class Requirement:
    """One condition on a label (or, for nodes, on a field)."""

    key: str
    operator: str
    values: tuple[str, ...]

    def met_by(self, labels: Mapping[str, str]) -> bool:
        """Whether labels fulfil the condition; a label that is absent fulfils NotIn."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case _:
                bound = self.values[0] if len(self.values) == 1 else ""
                return compares(self.operator, value or "", bound)


Selector = tuple[Requirement, ...]


@dataclass(frozen=True)
class NodeTerm:
    """One term of a node selector: all expressions on labels and all on fields must hold."""

    expressions: Selector
    fields: Selector

    def met_by(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a node fulfils the term; a term without conditions is fulfilled by no node."""
        if not self.expressions and not self.fields:
            return False
        return matches(self.expressions, labels) and matches(self.fields, {"metadata.name": name})


@dataclass(frozen=True)
class Toleration:
    """A toleration of a pod; an empty key or effect stands for every one."""

    key: str
    operator: str
    value: str
    effect: str

    def tolerates(self, taint: "Taint") -> bool:
        """Whether this toleration covers the taint."""
        if self.effect not in ("", taint.effect) or self.key not in ("", taint.key):
            return False
        match self.operator:
            case "" | "Equal":
                return self.value == taint.value
            case "Exists":
                return True
            case "Gt" | "Lt":
                return compares(self.operator, taint.value, self.value)
            case _:
                return False


@dataclass(frozen=True)
class Taint:
    """A taint of a node."""

    key: str
    value: str
    effect: str

    def __str__(self) -> str:
        return (
            f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"
        )


def compares(operator: str, actual: str, bound: str) -> bool:
    """Whether actual Gt/Lt bound holds for two decimal integers; anything else doesn't."""
    if not (_INTEGER.fullmatch(actual) and _INTEGER.fullmatch(bound)):
        return False
    return int(actual) > int(bound) if operator == "Gt" else int(actual) < int(bound)


def matches(selector: Selector | None, labels: Mapping[str, str]) -> bool:
    """Whether a selector selects labels: null selects nothing, an empty one everything."""
    return selector is not None and all(each.met_by(labels) for each in selector)


def read_selector(parent: Fields, key: str) -> Selector | None:
    """Return the requirements of a LabelSelector, None if the field is absent or null."""
    if not parent.has(key):
        return None
    selector = parent.map(key)
    exact = tuple(
        Requirement(label, "In", (value,))
        for label, value in selector.text_map("matchLabels").items()
    )
    return exact + read_requirements(selector, "matchExpressions")


def read_requirements(parent: Fields, key: str) -> Selector:
    """Return a list of {key, operator, values}."""
    found = []
    for each in parent.maps(key):
        operator = each.text("operator")
        if operator not in _OPERATORS:
            raise each.fail("operator", f"must be one of {', '.join(sorted(_OPERATORS))}")
        found.append(Requirement(each.text("key"), operator, each.texts("values")))
    return tuple(found)


def read_node_terms(parent: Fields, key: str) -> tuple[NodeTerm, ...] | None:
    """Return the terms of a NodeSelector, of which one has to hold; None if it is absent."""
    if not parent.has(key):
        return None
    return tuple(
        NodeTerm(read_requirements(t, "matchExpressions"), read_requirements(t, "matchFields"))
        for t in parent.map(key).maps("nodeSelectorTerms")
    )
