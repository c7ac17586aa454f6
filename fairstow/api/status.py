"""The condition, Kubernetes' form of a status a person reads (KEP-1623), for all kinds."""

from collections.abc import Iterable
from typing import Annotated, Literal, Protocol

from pydantic import Field

from fairstow.api.fields import BigCount, Timestamp
from fairstow.api.model import Model


class Condition(Model):
    """One aspect of the object's state as last observed."""

    type: Annotated[
        str,
        Field(
            min_length=1,
            max_length=63,
            pattern="^[A-Z][A-Za-z0-9]*$",
            description="Which aspect, in PascalCase.",
        ),
    ]
    status: Annotated[
        Literal["True", "False", "Unknown"], Field(description="Whether the condition holds.")
    ]
    observed_generation: Annotated[
        BigCount | None,
        Field(description="The metadata.generation that this condition was set for."),
    ] = None
    last_transition_time: Annotated[
        Timestamp, Field(description="When status last changed, RFC 3339.")
    ]
    reason: Annotated[
        str,
        Field(
            min_length=1,
            max_length=63,
            pattern="^[A-Z][A-Za-z0-9]*$",
            description="Why, as one PascalCase word: the same as in Events and metric labels.",
        ),
    ]
    message: Annotated[str, Field(max_length=4096, description="Why, as a sentence for a person.")]


Conditions = Annotated[
    tuple[Condition, ...],
    Field(
        max_length=16,
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    ),
]


class _Status(Protocol):
    @property
    def conditions(self) -> tuple[Condition, ...]: ...


class Reporting(Protocol):
    """An object whose status has conditions."""

    @property
    def status(self) -> _Status | None:
        """What was last observed, None where nothing was."""


def conditions_of(obj: Reporting) -> tuple[Condition, ...]:
    """Return an object's conditions, none where it has no status yet."""
    return obj.status.conditions if obj.status else ()


def with_condition(conditions: Iterable[Condition], new: Condition) -> tuple[Condition, ...]:
    """Return conditions with one set: in its old place, keeping the time if its status stays."""
    found = list(conditions)
    for index, old in enumerate(found):
        if old.type == new.type:
            same = {"last_transition_time": old.last_transition_time}
            found[index] = new.model_copy(update=same) if old.status == new.status else new
            return tuple(found)
    return (*found, new)


def condition(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """Return the condition of a type, None where it isn't set."""
    return next((c for c in conditions if c.type == kind), None)


def holds(conditions: Iterable[Condition], kind: str) -> bool:
    """Whether the condition of a type is True."""
    found = condition(conditions, kind)
    return found is not None and found.status == "True"
