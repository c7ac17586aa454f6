"""How each part of an object is anonymized: what is kept, what gets a pseudonym.

Used by `kinds`. A form goes through a value and returns what is to be written in its place, or
`GONE`. What hasn't the type that Kubernetes gives it is dropped.
"""

import re
from collections.abc import Callable
from typing import Any

from fairstow.cluster.anonymize.pseudonyms import NODE, Pseudonyms, is_quantity
from fairstow.cluster.storage import ZONES

GONE = object()
Form = Callable[[Pseudonyms, Any], Any]

_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
_COMPARING = ("Gt", "Lt")


def record(**forms: Form) -> Form:
    """Return the form of an object with these fields."""

    def go(names: Pseudonyms, value: Any) -> Any:
        if not isinstance(value, dict):
            return GONE
        found = {
            key: form(names, value[key])
            for key, form in forms.items()
            if value.get(key) is not None
        }
        return {key: new for key, new in found.items() if new is not GONE}

    return go


def each(form: Form) -> Form:
    """Return the form of a list."""

    def go(names: Pseudonyms, value: Any) -> Any:
        if not isinstance(value, list):
            return GONE
        return [new for item in value if (new := form(names, item)) is not GONE]

    return go


def named(role: str, keep: frozenset[str] = frozenset()) -> Form:
    """Return the form of a text that names something; some names are kept."""
    return by(lambda names, text: text if text in keep else names.text(role, text))


def by(rename: Callable[[Pseudonyms, str], str]) -> Form:
    """Return the form of a text with a renaming of its own."""
    return lambda names, value: rename(names, value) if isinstance(value, str) else GONE


def matching(pattern: str) -> Form:
    """Return the form of a text that is kept if it is one of the API's own words."""
    compiled = re.compile(pattern)
    return lambda _, value: value if isinstance(value, str) and compiled.fullmatch(value) else GONE


def number(_: Pseudonyms, value: Any) -> Any:
    """Keep a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else GONE


def flag(_: Pseudonyms, value: Any) -> Any:
    """Keep a yes or no."""
    return value if isinstance(value, bool) else GONE


def moment(names: Pseudonyms, value: Any) -> Any:
    """Keep how long ago something was, not when."""
    return (names.moment(value) or GONE) if isinstance(value, str) else GONE


def present(_: Pseudonyms, value: Any) -> Any:
    """Say that something is there."""
    return {} if isinstance(value, dict | None) else GONE


def filled(_: Pseudonyms, value: Any) -> Any:
    """Say that something is there and not empty."""
    return {"name": "kept"} if value else GONE


def amounts(names: Pseudonyms, value: Any) -> Any:
    """Keep amounts of resources."""
    if not isinstance(value, dict):
        return GONE
    return {names.resource(r): n for r, n in value.items() if is_quantity(r, n)}


def labels(names: Pseudonyms, value: Any) -> Any:
    """Rename labels, keys and values."""
    if not isinstance(value, dict):
        return GONE
    return {names.key(k): names.value(k, v) for k, v in value.items() if isinstance(v, str)}


def zones(names: Pseudonyms, value: Any) -> Any:
    """Rename a volume's labels; zones may stand together, as in a__b."""
    if not isinstance(value, dict):
        return GONE
    return {
        key: "__".join(names.value(key, zone.strip()) for zone in value[key].split("__"))
        for key in ZONES
        if isinstance(value.get(key), str)
    }


def selection(names: Pseudonyms, value: Any) -> Any:
    """Rename one line of a selector: key, operator, values."""
    if not isinstance(value, dict) or not isinstance(value.get("key"), str):
        return GONE
    key, operator = value["key"], value.get("operator")
    if operator in _COMPARING:
        names.compare(key)
    said = {"operator": operator} if operator in _OPERATORS else {}
    values = [names.value(key, v) for v in value.get("values") or () if isinstance(v, str)]
    return {"key": names.key(key), **said} | ({"values": values} if "values" in value else {})


def name_selection(names: Pseudonyms, value: Any) -> Any:
    """Rename a requirement on a node's name, the only field there is one on."""
    if not isinstance(value, dict) or value.get("operator") not in _OPERATORS:
        return GONE
    values = [names.text(NODE, v) for v in value.get("values") or () if isinstance(v, str)]
    return {"key": "metadata.name", "operator": value["operator"], "values": values}


def taint(names: Pseudonyms, value: Any) -> Any:
    """Rename a taint or a toleration."""
    if not isinstance(value, dict):
        return GONE
    given = value.get("key")
    key = given if isinstance(given, str) else ""
    if value.get("operator") in _COMPARING:
        names.compare(key)
    form = record(
        key=by(Pseudonyms.key),
        operator=matching("Exists|Equal|Lt|Gt"),
        value=by(lambda names, text: names.value(key, text)),
        effect=matching("NoSchedule|NoExecute|PreferNoSchedule"),
    )
    return form(names, value)


def condition(types: str) -> Form:
    """Return the form of a status condition, of these types only."""
    form = record(
        type=matching(types),
        status=matching("True|False|Unknown"),
        reason=matching("Unschedulable|SchedulingGated|Infeasible"),
        lastHeartbeatTime=moment,
    )

    def go(names: Pseudonyms, value: Any) -> Any:
        found = form(names, value)
        return found if found is not GONE and "type" in found else GONE

    return go
