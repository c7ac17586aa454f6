"""Tables, bounds and page of the benchmark on real Spark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

from benchmarks.closing import rewrite

Json = dict[str, Any]

HERE = Path(__file__).parent
BOUNDS = HERE.parent / "bounds.yaml"
RESULTS = HERE.parent / "results" / "spark_live.json"
PAGE = HERE.parents[1] / "docs" / "benchmarks" / "spark.md"
MARKS = ("<!-- real spark -->", "<!-- end of real spark -->")
NAMES = {
    "fifo": "Spark's FIFO",
    "fair": "Spark's FAIR, one pool",
    "pools, small last": "FAIR, a pool for each user, small ones last in the alphabet",
    "pools, small first": "the same, small ones first",
    "plugin": "**Fairstow's plugin**",
    "twin": "Fairstow's Python twin",
}


def tables(found: Json) -> str:
    """Return what was measured, as Markdown."""
    parts = [_responses(found)]
    if "overhead" in found:
        parts.append(_overhead(found["overhead"]))
    return "\n\n".join(parts)


def missed(found: Json) -> Iterator[str]:
    """Say, a sentence each, which bounds were missed."""
    bounds = yaml.safe_load(BOUNDS.read_text())["spark_live"]
    for name, value in figures(found).items():
        least, most = bounds[name].get("at_least"), bounds[name].get("at_most")
        if (least is not None and value < least) or (most is not None and value > most):
            yield f"spark_live: {name} is {value:.3g}, its bound is {least or most}"


def figures(found: Json) -> dict[str, float]:
    """Return what has a bound."""
    figures = {}
    arms = {arm: fmean(each["small"] for each in rounds) for arm, rounds in found["arms"].items()}
    if "plugin" in arms and "fair" in arms:
        figures["fair_by_plugin"] = arms["fair"] / arms["plugin"]
    if "overhead" in found:
        figures["stage_ms"] = found["overhead"]["few"]["mean_ms"]
        figures["tiny_jobs_percent"] = _percent(found["overhead"]["tiny_ms"])
    return figures


def write(found: Json) -> None:
    """Write results and page."""
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    rewrite(PAGE, MARKS, tables(found))


def _responses(found: Json) -> str:
    lines = [
        "Mean response times and the end of all jobs, in seconds.\n",
        "| who orders the stages | small users' mean | × the plugin's | power users' | all over |",
        "|---|---:|---:|---:|---:|",
    ]
    arms = found["arms"]
    ours = fmean(each["small"] for each in arms["plugin"]) if "plugin" in arms else None
    for arm, rounds in arms.items():
        small, power, end = (
            [each[column] for each in rounds] for column in ("small", "power", "end")
        )
        times = f"{fmean(small) / ours:.1f}" if ours else ""
        lines.append(
            f"| {NAMES[arm]} | {_spread(small)} | {times} | {_spread(power)} | {_spread(end)} |"
        )
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    middle = f"{fmean(values):.2f}"
    return f"{middle} ± {stdev(values):.2f}" if len(values) > 1 else middle


def _overhead(overhead: Json) -> str:
    few, tiny = overhead["few"], overhead["tiny_ms"]
    return (
        f"A stage costs the plugin {few['median_ms']:.3f} ms in the median, {few['mean_ms']:.3f} "
        f"ms in the mean, {few['p99_ms']:.2f} ms at 99 % ({few['stages']:,} stages), and at most "
        f"{overhead['slowest_ms']:.2f} ms as 100 jobs come to wait. {overhead['jobs']:,} tiny jobs "
        f"take {tiny['plugin']:.2f} ms each in the median, by turns {tiny['stock']:.2f} ms in "
        f"Spark's own order: {_percent(tiny):+.1f} %."
    )


def _percent(tiny: dict[str, float]) -> float:
    return 100 * (tiny["plugin"] / tiny["stock"] - 1)
