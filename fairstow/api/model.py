"""What every custom resource model shares: base classes, resource description, error sentences.

Used by the kinds in fairstow.api and, for the description of each kind, by tools/generate.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

from fairstow.api.rules import VALIDATIONS, Rule

GROUP = "fairstow.dev"
VERSION = "v1alpha1"

SCHEMA_LABEL = "fairstow.dev/schema"
"""Label of a definition: digest of all that it says, as in fairstow/api/schemas.json."""


def _wire_name(name: str) -> str:
    return to_camel(name.rstrip("_"))


class Model(BaseModel):
    """An immutable object of the API, camelCase on the wire; unknown fields are refused."""

    model_config = ConfigDict(
        alias_generator=_wire_name,
        extra="forbid",
        frozen=True,
        validate_by_alias=True,
        validate_by_name=True,
    )
    validations: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        for rule in self.validations:
            rule.check(self)
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        reference = handler(schema)
        json_schema = handler.resolve_ref_schema(reference)
        if cls.validations:
            json_schema[VALIDATIONS] = [rule.as_validation() for rule in cls.validations]
        return reference


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of `kubectl get`: header, JSON path to a scalar, and its type in a CRD."""

    name: str
    path: str
    type: Literal["string", "integer", "boolean", "date"] = "string"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """How a kind appears in the API: names, scope and the columns of `kubectl get`."""

    plural: str
    short_name: str
    scope: Literal["Cluster", "Namespaced"]
    columns: tuple[Column, ...]


class OwnerReference(BaseModel):
    """An object without which the one that names it is deleted."""

    model_config = ConfigDict(
        alias_generator=_wire_name,
        extra="ignore",
        frozen=True,
        validate_by_alias=True,
        validate_by_name=True,
    )

    api_version: str
    kind: str
    name: str
    uid: str


class ObjectMeta(BaseModel):
    """The part of an object's metadata that Fairstow reads; the rest is dropped on parsing."""

    model_config = ConfigDict(
        alias_generator=_wire_name,
        extra="ignore",
        frozen=True,
        validate_by_alias=True,
        validate_by_name=True,
    )

    name: Annotated[str, Field(min_length=1, max_length=253)]
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    creation_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None


class CustomResource(Model):
    """A kind of the group: subclasses set `kind`, `spec` and `status` and describe themselves."""

    resource: ClassVar[Resource]

    api_version: Annotated[
        Literal["fairstow.dev/v1alpha1"],
        Field(description="The group and version of this object: fairstow.dev/v1alpha1."),
    ] = "fairstow.dev/v1alpha1"
    kind: str
    metadata: Annotated[
        ObjectMeta, Field(description="Standard object metadata: name, labels, annotations.")
    ]

    def to_object(self) -> dict[str, Any]:
        """Return the object as the API server takes it: JSON types, wire names, absent for None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def problems(error: ValidationError) -> tuple[str, ...]:
    """Return one line per problem: the path of the field as in YAML, and what is wrong with it."""
    return tuple(f"{_path(each['loc'])}: {each['msg']}" for each in error.errors())


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".") or "object"
