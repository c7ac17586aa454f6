"""Writes what `make e2e-full` found into docs/testing.md: python -m tools.full_results REPORT.

REPORT is pytest's JUnit XML. The page's own words stay; the table between the two marks is written
anew, with date, commit, Kubernetes and how busy the machine was. Also prints a closing summary.
"""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.controlplane.build import KUBERNETES

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE = Path("docs/testing.md")
_BEGIN, _END = "<!-- results of make e2e-full -->", "<!-- end of results -->"


@dataclass(frozen=True)
class Result:
    """What came of one test. Attributes: outcome: passed, failed or skipped."""

    module: str
    name: str
    outcome: str
    seconds: float


def read(report: Path) -> list[Result]:
    """Return the results in a JUnit report of our own making, by module and name."""
    found = []
    for case in ET.parse(report).getroot().iter("testcase"):
        tags = {child.tag for child in case}
        failed = bool(tags & {"failure", "error"})
        outcome = "failed" if failed else "skipped" if "skipped" in tags else "passed"
        module = case.get("classname", "").rpartition(".")[2]
        found.append(Result(module, case.get("name", ""), outcome, float(case.get("time", 0))))
    return sorted(found, key=lambda result: (result.module, result.name))


def table(results: Iterable[Result], about: str) -> str:
    """Return the results as Markdown."""
    lines = [about, "", "| test | outcome | seconds |", "|---|---|---|"]
    module = ""
    for result in results:
        if result.module != module:
            module = result.module
            lines.append(f"| **{module}.py** | | |")
        said = result.name.removeprefix("test_").replace("_", " ")
        lines.append(f"| {said} | {result.outcome} | {result.seconds:.0f} |")
    return "\n".join(lines)


def about(results: list[Result]) -> str:
    """Say when, of what and where, in a sentence."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
    ).stdout.strip()
    counts = {each: sum(r.outcome == each for r in results) for each in ("passed", "failed")}
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit `{commit}`, Kubernetes {KUBERNETES}, "
        f"{os.cpu_count()} cores with a load of {load:.0f}: {counts['passed']} passed, "
        f"{counts['failed']} failed, {len(results) - sum(counts.values())} skipped."
    )


def main() -> int:
    """Write the page and print the summary; the outcome is pytest's to tell."""
    results = read(Path(sys.argv[1]))
    head, _, rest = PAGE.read_text().partition(_BEGIN)
    said = about(results)
    PAGE.write_text(f"{head}{_BEGIN}\n{table(results, said)}\n{_END}{rest.partition(_END)[2]}")
    for result in results:
        if result.outcome != "passed":
            print(f"  {result.outcome}: {result.module}.py: {result.name}")
    print(f"e2e-full: {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
