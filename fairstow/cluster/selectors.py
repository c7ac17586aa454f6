"""Label and node selectors, as Kubernetes matches them.

Source: k8s.io/apimachinery/pkg/labels and component-helpers/scheduling/corev1/nodeaffinity.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fairstow.cluster.model import NodeTerm, Requirement, Selector

if TYPE_CHECKING:  # pydantic takes a fifth of a second, and the solver needs none of it
    from fairstow.api import LabelSelector

NAME_FIELD = "metadata.name"
LABEL_OPERATORS = frozenset({"In", "NotIn", "Exists", "DoesNotExist"})
NODE_OPERATORS = LABEL_OPERATORS | {"Gt", "Lt"}
_INTEGER = re.compile(r"[-+]?[0-9]{1,30}\Z")


def selector(given: LabelSelector) -> Selector:
    """Return a label selector of our API in the form that decisions read."""
    equal = [Requirement(k, "In", (v,)) for k, v in sorted(given.match_labels.items())]
    rest = [Requirement(e.key, e.operator, e.values) for e in given.match_expressions]
    return Selector((*equal, *rest))


def requirement_holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    """Whether one requirement holds for a set of labels."""
    key, operator, values = requirement.key, requirement.operator, requirement.values
    present = key in labels
    match operator:
        case "In":
            return present and labels[key] in values
        case "NotIn":
            return not present or labels[key] not in values
        case "Exists":
            return present
        case "DoesNotExist":
            return not present
        case _:  # Gt, Lt: both sides must be integers, else no match
            actual = integer(labels.get(key, ""))
            bound = integer(values[0]) if len(values) == 1 else None
            if actual is None or bound is None:
                return False
            return actual > bound if operator == "Gt" else actual < bound


def integer(text: str) -> int | None:
    """Return what Go's `strconv.ParseInt(text, 10, 64)` reads, None where it fails."""
    value = int(text) if _INTEGER.match(text) else None
    return value if value is not None and -(1 << 63) <= value < 1 << 63 else None


def selects(selector: Selector | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects an object; None selects nothing, empty everything."""
    return selector is not None and all(requirement_holds(r, labels) for r in selector.requirements)


def node_terms_match(terms: tuple[NodeTerm, ...], name: str, labels: Mapping[str, str]) -> bool:
    """Whether any term of a required node affinity matches; an empty term matches no node."""
    return any(
        (term.labels or term.fields)
        and all(requirement_holds(r, labels) for r in term.labels)
        and all(requirement_holds(r, {NAME_FIELD: name}) for r in term.fields)
        for term in terms
    )
