"""The page of `benchmarks.operator_scale`: figures of a size, and the table of all sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.closing import columns, rewrite
from benchmarks.operator_scale.meter import quantile

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "operator_scale.json"
PAGE = ROOT / "docs" / "benchmarks" / "operator.md"
MARKS = "<!-- operator: begin -->\n", "<!-- operator: end -->\n"

Json = dict[str, Any]

_ROWS = (
    ("pods", "pods on nodes", "{:,}"),
    ("eventsPerSecond", "steady: pod events/s", "{:.0f}"),
    ("operatorCores", "steady: operator, cores", "{:.3f}"),
    ("loadCores", "steady: the load, cores", "{:.3f}"),
    ("steadyMegabytes", "steady: operator, resident MB", "{:.0f}"),
    ("peakMegabytes", "until then: its most, MB", "{:.0f}"),
    ("delayMedian", "delay, s: median", "{:.2f}"),
    ("delay99", "delay, s: 99 %", "{:.2f}"),
    ("delayMost", "delay, s: longest", "{:.2f}"),
    ("lastRun", "run: what came of it", "{}"),
    ("runDelay99", "run: delay, s: 99 %", "{:.2f}"),
    ("runDelayMost", "run: delay, s: longest", "{:.2f}"),
    ("runCpuSeconds", "run: operator, CPU s", "{:.1f}"),
    ("runPeakMegabytes", "run: operator, most MB", "{:.0f}"),
    ("solverCpuSeconds", "run: solver, CPU s", "{:.1f}"),
    ("solverPeakMegabytes", "run: solver, most MB", "{:.0f}"),
    ("listCpuSeconds", "start: CPU s until all is known", "{:.1f}"),
)


def figures(found: Json) -> Json:
    """Return what is kept of a size's measurements."""
    plain = {k: v for k, v in found.items() if not k.lower().endswith("delays")}
    quick, slow = found["delays"], found["runDelays"]
    delays = {
        "delayMedian": quantile(quick, 0.5),
        "delay99": quantile(quick, 0.99),
        "delayMost": max(quick),
        "runDelay99": quantile(slow, 0.99),
        "runDelayMost": max(slow),
    }
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in (plain | delays).items()}
    return rounded | {"events": len(quick)}


def table(record: Json) -> str:
    """Return the record as Markdown."""
    about, sizes = record["provenance"], record["sizes"]
    said = (
        f"{about['date']}, commit {about['commit']}, {about['cores']} cores, Python "
        f"{about['python']}, Kubernetes {about['kubernetes']}; {record['rate']:.0f} pod events/s, "
        f"parts of {record['seconds']:.0f} s."
    )
    heads = [f"{size['nodes']:,} nodes" for size in sizes]
    return "\n".join([said, "", *columns(_ROWS, heads, sizes)]) + "\n"


def write(record: Json) -> None:
    """Write the record and the page's table."""
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    rewrite(PAGE, MARKS, table(record))
