"""Writes the reference page of a kind, and the one of all reasons, as Markdown.

Called by tools.generate.__main__. Pages are made from the CRD's schema, so they say what the API
server enforces.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairstow.api.model import GROUP, VERSION, CustomResource
from fairstow.api.reasons import Reason
from fairstow.api.rules import VALIDATIONS
from tools.generate.schema import Schema, structural_schema

HEADER = (
    "<!-- Generated from fairstow/api by `make generate`: change the models, not this file. -->\n"
)
_EXAMPLES = Path(__file__).parent / "examples"


def example(kind: type[CustomResource]) -> str:
    """Return the YAML of the complete, valid object that the page shows."""
    return (_EXAMPLES / f"{kind.__name__.lower()}.yaml").read_text(encoding="utf-8")


def reference_page(kind: type[CustomResource]) -> str:
    """Return the page of `kind`: names, example, every field with its bounds, rules, columns."""
    resource, schema = kind.resource, structural_schema(kind)
    lines = [
        f"{HEADER}# {kind.__name__}",
        "",
        schema["description"],
        "",
        f"API version `{GROUP}/{VERSION}`, {resource.scope.lower()} scope.",
        f"`kubectl get {resource.plural}`, or `{resource.short_name}` for short;",
        "`kubectl get fairstow` lists all of Fairstow's kinds.",
        "",
        "## Example",
        "",
        "```yaml",
        example(kind).rstrip(),
        "```",
    ]
    for part in ("spec", "status"):
        below = schema["properties"][part]
        lines += ["", f"## {part}", "", below["description"], ""]
        lines += ["| Field | Type | Default | Meaning |", "|---|---|---|---|"]
        lines += [_row(path, each, required) for path, each, required in _fields(below, "")]
    rules = [f"- {_place(path)}{message}" for path, message in _rules(schema, "")]
    if rules:
        lines += [
            "",
            "## Rules",
            "",
            "The API server refuses an object that breaks one of these.",
            "",
        ]
        lines += rules
    lines += ["", "## Columns of `kubectl get`", "", "| Column | From |", "|---|---|"]
    lines += [f"| {column.name} | `{column.path}` |" for column in resource.columns]
    return "\n".join(lines) + "\n"


def reasons_page() -> str:
    """Return the page that explains every reason."""
    lines = [
        f"{HEADER}# Reasons",
        "",
        "The one word that conditions, Events and metric labels give for what happened.",
        "",
        "| Reason | Meaning |",
        "|---|---|",
        *(f"| `{reason.value}` | {reason.sentence} |" for reason in Reason),
    ]
    return "\n".join(lines) + "\n"


def _fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema, bool]]:
    """Yield (path, schema, required) of every field below `schema`, in the order of the models."""
    match schema["type"]:
        case "object":
            for name, each in schema.get("properties", {}).items():
                below = f"{path}.{name}".removeprefix(".")
                yield below, each, name in schema.get("required", ())
                yield from _fields(each, below)
        case "array":
            yield from _fields(schema["items"], f"{path}[]")


def _rules(schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    for each in schema.get(VALIDATIONS, ()):
        yield path, each["message"]
    for name, each in schema.get("properties", {}).items():
        yield from _rules(each, f"{path}.{name}".removeprefix("."))
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")


def _place(path: str) -> str:
    return f"`{path}`: " if path else ""


def _row(path: str, schema: Schema, required: bool) -> str:
    default = f"`{_plain(schema['default'])}`" if "default" in schema else ""
    default = "required" if required else default
    meaning = schema["description"].replace("|", "\\|")
    return f"| `{path}` | {_type(schema)} | {default} | {meaning} |"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return '""' if value == "" else str(value)


def _type(schema: Schema) -> str:
    match schema["type"]:
        case "array":
            return f"list, ≤ {schema['maxItems']:,}"
        case "object" if "maxProperties" in schema:
            return f"map of strings, ≤ {schema['maxProperties']:,}"
        case "integer":
            return _range(schema)
        case "string" if "enum" in schema:
            return ", ".join(f"`{value}`" for value in schema["enum"])
        case "string" if schema.get("format") == "date-time":
            return "time"
        case "string":
            return f"string, ≤ {schema['maxLength']:,}"
        case other:
            return str(other)


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    at_type_limit = high is None or high >= 2**31 - 1
    if at_type_limit:
        return "integer" if low is None or low < 0 else f"integer ≥ {low:,}"
    return f"integer, {low:,} to {high:,}"
