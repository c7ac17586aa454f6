"""Typed reading of untrusted JSON, with the object and the field named in every complaint.

Used for the cluster's objects, where a wrong type ends the check, and for the plan, where it
becomes a violation. An absent field and null are the same, as in the Kubernetes API.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_MAX_INTEGER = 2**63 - 1
_LONGEST = 1_000


class CheckError(ValueError):
    """The input can't be judged: the message names the object, the field and what is wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))


def shown(text: str) -> str:
    """Return untrusted text in a form that is safe and short enough to print."""
    text = _UNPRINTABLE.sub("?", text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _kind_of(value: object) -> str:
    """Return the JSON name of a value's type."""
    for types, name in (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a number"),
        (str, "a string"),
        (Mapping, "an object"),
        (list, "a list"),
    ):
        if isinstance(value, types):
            return name
    return "null" if value is None else f"a {type(value).__name__}"


@dataclass(frozen=True)
class Fields:
    """A JSON object at `path` inside the thing called `where` ("Pod team-a/web-0")."""

    where: str
    path: str
    value: Mapping[str, Any]

    @staticmethod
    def of(where: str, path: str, value: object) -> "Fields":
        """Wrap a value that has to be a JSON object."""
        if not isinstance(value, Mapping):
            raise CheckError(_complaint(where, path, "must be an object", value))
        return Fields(where, path, value)

    def at(self, key: str) -> str:
        """Return the full path of a field."""
        return f"{self.path}.{key}" if self.path else key

    def fail(self, key: str, wanted: str) -> CheckError:
        """Return the error for a field whose value isn't what is wanted."""
        return CheckError(_complaint(self.where, self.at(key), wanted, self.value.get(key)))

    def has(self, key: str) -> bool:
        """Whether the field is there and not null."""
        return self.value.get(key) is not None

    def require(self, *keys: str) -> None:
        """Raise CheckError if one of the fields is absent or null."""
        for key in keys:
            if not self.has(key):
                raise CheckError(f"{self.where}: {self.at(key)} is missing")

    def map(self, key: str) -> "Fields":
        """Return a nested object, empty if absent."""
        value = self.value.get(key)
        return Fields.of(self.where, self.at(key), {} if value is None else value)

    def elements(self, key: str) -> Iterator[tuple[str, object]]:
        """Yield each element of a list with its path; nothing if the list is absent."""
        value = self.value.get(key)
        if value is None:
            return
        if not isinstance(value, list | tuple):
            raise self.fail(key, "must be a list")
        for index, element in enumerate(value):
            yield f"{self.at(key)}[{index}]", element

    def names(self) -> Iterator[str]:
        """Yield the field names, which must be strings (in YAML they needn't be)."""
        names: Iterable[object] = self.value
        for name in names:
            if not isinstance(name, str):
                raise CheckError(f"{self.where}: the names in {self.path} must be strings")
            yield name

    def maps(self, key: str) -> "tuple[Fields, ...]":
        """Return a list of objects, empty if absent."""
        return tuple(Fields.of(self.where, path, each) for path, each in self.elements(key))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings, empty if absent."""
        found = []
        for path, each in self.elements(key):
            if not isinstance(each, str):
                raise CheckError(_complaint(self.where, path, "must be a string", each))
            found.append(each)
        return tuple(found)

    def text(self, key: str) -> str:
        """Return a string, "" if absent."""
        value = self.value.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.fail(key, "must be a string")
        return value

    def integer(self, key: str) -> int:
        """Return an integer of at most 64 bits, 0 if absent."""
        value = self.value.get(key)
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(key, "must be an integer")
        if abs(value) > _MAX_INTEGER:
            raise self.fail(key, "must be an integer of at most 64 bits")
        return value

    def flag(self, key: str) -> bool:
        """Return a boolean, False if absent."""
        value = self.value.get(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.fail(key, "must be a boolean")
        return value

    def text_map(self, key: str) -> dict[str, str]:
        """Return a map of strings to strings (labels, annotations), empty if absent."""
        found = {}
        nested = self.map(key)
        for name in nested.names():
            if not isinstance(value := nested.value[name], str):
                raise nested.fail(name, "must be a string")
            found[name] = value
        return found


def _complaint(where: str, path: str, wanted: str, value: object) -> str:
    place = f"{where}: {path}" if path else where
    return f"{place} {wanted}, not {_kind_of(value)}"
