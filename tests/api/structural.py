"""A reader of structural schemas, as small as the CRDs of this repository need.

It lets tests compare the models' verdict with the schema's. Unknown fields count as refused, as
with kubectl's default of strict field validation.
"""

import re
from typing import Any

_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
}


def complaints(schema: dict[str, Any], value: Any, path: str = "") -> dict[str, str]:
    """Return what is wrong in `value`, by dotted path."""
    if path == "metadata":
        return {}
    kind = schema["type"]
    fits: bool = isinstance(value, _JSON_TYPES[kind]) and not (kind == "integer" and value is True)
    if not fits:
        return {path: f"not of type {kind}"}
    if kind == "object":
        return _object(schema, value, path)
    if kind == "array":
        return _array(schema, value, path)
    return {} if _scalar_fits(schema, value) else {path: "out of bounds"}


def _scalar_fits(schema: dict[str, Any], value: Any) -> bool:
    if "enum" in schema and value not in schema["enum"]:
        return False
    if schema["type"] == "string":
        lengths = schema.get("minLength", 0), schema.get("maxLength", 10**9)
        pattern = schema.get("pattern", "").replace("$", r"\Z")
        return lengths[0] <= len(value) <= lengths[1] and re.search(pattern, value) is not None
    if schema["type"] == "integer":
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    return True


def _array(schema: dict[str, Any], value: list[Any], path: str) -> dict[str, str]:
    if len(value) > schema["maxItems"]:
        return {path: "too long"}
    return {
        place: text
        for index, each in enumerate(value)
        for place, text in complaints(schema["items"], each, f"{path}.{index}").items()
    }


def _object(schema: dict[str, Any], value: dict[str, Any], path: str) -> dict[str, str]:
    if len(value) > schema.get("maxProperties", 10**9):
        return {path: "too many keys"}
    found: dict[str, str] = {}
    for name in schema.get("required", ()):
        if name not in value:
            found[f"{path}.{name}".removeprefix(".")] = "required"
    for name, each in value.items():
        here = f"{path}.{name}".removeprefix(".")
        below = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
        found |= {here: "unknown"} if below is None else complaints(below, each, here)
    return found
