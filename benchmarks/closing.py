"""What benchmarks end with: what they missed of their bounds, and their part of a page."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.provenance import provenance


def verdict(missed: Iterable[str]) -> int:
    """Say which bounds were missed, a sentence each; return the exit code."""
    sentences = list(missed)
    sys.stderr.writelines(f"{sentence}\n" for sentence in sentences)
    return 1 if sentences else 0


def rewrite(page: Path, marks: tuple[str, str], text: str) -> None:
    """Put a text between two marks of a page, in place of what is there."""
    begin, end = marks
    before, _, rest = page.read_text().partition(begin)
    _, found, behind = rest.partition(end)
    assert found, f"{page} lacks the marks {begin!r} and {end!r}"
    page.write_text(f"{before}{begin}\n{text}\n{end}{behind}")


def save(path: Path, found: Any, *, folders: tuple[str, ...]) -> None:
    """Write what was found as JSON, with its provenance; folders: whose code it is of."""
    written = {"provenance": provenance(folders=folders), "result": found}
    path.write_text(json.dumps(written, indent=1) + "\n")
