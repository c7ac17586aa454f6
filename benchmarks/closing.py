"""What benchmarks end with: what they missed of their bounds, and their part of a page."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.provenance import provenance

BOUNDS = Path(__file__).with_name("bounds.yaml")


def exceeded(benchmark: str, label: str, figures: Mapping[str, Any]) -> list[str]:
    """Return which figures exceed their `at_most` of bounds.yaml, a sentence each."""
    bounds = yaml.safe_load(BOUNDS.read_text())[benchmark]
    return [
        f"{label}: {name}: {figures[name]}, at most {bound['at_most']}"
        for name, bound in bounds.items()
        if figures[name] > bound["at_most"]
    ]


def columns(
    rows: Iterable[tuple[str, str, str]], heads: Sequence[str], sizes: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return the lines of a Markdown table with a column for each size.

    Args:
        rows: of each the figure's name, its title and its format.
        heads: what stands over each size.
        sizes: their figures.
    """
    lines = [f"| | {' | '.join(heads)} |", "|---" + "|---:" * len(sizes) + "|"]
    for name, title, form in rows:
        lines.append(f"| {title} | {' | '.join(form.format(size[name]) for size in sizes)} |")
    return lines


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
