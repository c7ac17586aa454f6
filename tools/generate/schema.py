"""Turns a pydantic model into the structural OpenAPI v3 schema of a CRD.

Called by tools.generate.crd for each kind. What the API conventions forbid, or what the API server
couldn't bound the cost of, stops the generation with the model and field at fault: floats, strings,
lists and maps without a maximum, objects of any shape, fields without a description.
"""

from typing import Any

from fairstow.api.model import CustomResource
from fairstow.api.rules import VALIDATIONS

Schema = dict[str, Any]

_COPIED = (
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "x-kubernetes-list-map-keys",
    VALIDATIONS,
)
_HANDLED = (
    *("$ref", "$defs", "title", "description", "type", "default", "const", "anyOf"),
    *("properties", "required", "items", "additionalProperties", "x-kubernetes-list-type"),
)
_TYPES = ("object", "array", "string", "integer", "boolean")


class SchemaError(Exception):
    """A model says something that a CRD can't, or mustn't, say; the message names the field."""


def structural_schema(kind: type[CustomResource]) -> Schema:
    """Return the openAPIV3Schema of `kind`: structural, every reference inlined.

    Raises SchemaError where a field breaks the rules in this module's docstring.
    """
    schema = kind.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    properties = schema["properties"]
    # The API server owns these three: it accepts no constraint on them here.
    given = {
        "apiVersion": {
            "type": "string",
            "description": properties.pop("apiVersion")["description"],
        },
        "kind": {"type": "string", "description": properties.pop("kind")["description"]},
        "metadata": {"type": "object"},
    }
    del properties["metadata"]
    schema["required"] = [name for name in schema["required"] if name in properties]
    result = _Converter(definitions).convert(schema, kind.__name__)
    result["properties"] = given | result["properties"]
    return result


class _Converter:
    def __init__(self, definitions: dict[str, Schema]) -> None:
        self._definitions = definitions

    def convert(self, schema: Schema, where: str) -> Schema:
        schema, where = self._resolved(schema, where)
        unknown = schema.keys() - {*_COPIED, *_HANDLED}
        if unknown:
            raise SchemaError(f"{where}: a CRD has no keyword {', '.join(sorted(unknown))}")
        kind = schema.get("type")
        if kind == "number":
            raise SchemaError(f"{where}: floats are not allowed; use permille or a quantity string")
        if kind not in _TYPES:
            raise SchemaError(f"{where}: has no single type; use one of {', '.join(_TYPES)}")
        if not schema.get("description"):
            raise SchemaError(f"{where}: has no description")
        result: Schema = {"description": schema["description"], "type": kind}
        result |= {key: schema[key] for key in _COPIED if key in schema}
        if schema.get("default") is not None:
            # An object's fields carry their own defaults.
            result["default"] = {} if kind == "object" else _without_null(schema["default"])
        match kind:
            case "string":
                self._bound(result, where)
            case "integer":
                result.setdefault("format", "int64")
            case "array":
                self._array(schema, result, where)
            case "object":
                self._object(schema, result, where)
        return result

    def _resolved(self, schema: Schema, where: str) -> tuple[Schema, str]:
        """Follow a reference, unwrap an optional field, and turn a constant into an enum."""
        if "anyOf" in schema:
            options = [each for each in schema["anyOf"] if each.get("type") != "null"]
            if len(options) != 1:
                raise SchemaError(f"{where}: a field can have one type only, not a union")
            rest = {key: value for key, value in schema.items() if key != "anyOf"}
            return self._resolved(_merged(options[0], rest), where)
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/$defs/")
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            return self._resolved(_merged(self._definitions[name], rest), name)
        if "const" in schema:
            schema = schema | {"enum": [schema["const"]]}
        return schema, where

    def _bound(self, result: Schema, where: str) -> None:
        if "maxLength" not in result and "enum" not in result:
            raise SchemaError(f"{where}: a string needs max_length")

    def _array(self, schema: Schema, result: Schema, where: str) -> None:
        if "maxItems" not in result:
            raise SchemaError(f"{where}: a list needs max_length")
        result["x-kubernetes-list-type"] = schema.get("x-kubernetes-list-type", "atomic")
        result["items"] = self.convert(schema.get("items", {}), f"{where}[]")

    def _object(self, schema: Schema, result: Schema, where: str) -> None:
        if "properties" in schema:
            if schema.get("required"):
                result["required"] = schema["required"]
            result["properties"] = {
                name: self.convert(each, f"{where}.{name}")
                for name, each in schema["properties"].items()
            }
            return
        if not isinstance(schema.get("additionalProperties"), dict):
            raise SchemaError(f"{where}: an object of any shape is not allowed; name its fields")
        if "maxProperties" not in result:
            raise SchemaError(f"{where}: a map needs max_length")
        result["additionalProperties"] = self.convert(schema["additionalProperties"], f"{where}.*")


def _merged(schema: Schema, field: Schema) -> Schema:
    """Return `schema` with what the field says on top; rules of both are kept."""
    merged = schema | field
    validations = [*schema.get(VALIDATIONS, ()), *field.get(VALIDATIONS, ())]
    return merged | {VALIDATIONS: validations} if validations else merged


def _without_null(value: Any) -> Any:
    """Return a default without fields that are left out: a CRD's can't be null."""
    if isinstance(value, dict):
        return {key: _without_null(each) for key, each in value.items() if each is not None}
    return [_without_null(each) for each in value] if isinstance(value, list) else value
