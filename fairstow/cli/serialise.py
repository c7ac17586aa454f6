"""Objects as JSON and YAML, with nothing in them that a terminal or parser could misread."""

import json
import re
from typing import Any

import yaml

_AMBIGUOUS = re.compile(r"[-+.\d]|(?i:y|n|yes|no|on|off|true|false|null|~)\Z")
"""Text that some YAML reader takes for a number, a date or a boolean: `1e5`, `0x1`, `y`."""


def as_json(value: Any) -> str:
    """Return indented JSON in ASCII."""
    return json.dumps(value, indent=2)


class _Dumper(yaml.CSafeDumper):
    """Writes lists as kubectl does and quotes text that isn't plainly text."""


def _text(dumper: Any, value: str) -> Any:
    style = '"' if _AMBIGUOUS.match(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def as_yaml(value: Any) -> str:
    """Return YAML in ASCII."""
    written: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=10_000)
    return written.rstrip("\n")
