"""The page of `benchmarks.extender`: what its rounds come to, as a record and a table."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.closing import rewrite

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "extender.json"
PAGE = ROOT / "docs" / "benchmarks" / "extender.md"
MARKS = "<!-- extender: begin -->\n", "<!-- extender: end -->\n"

Json = dict[str, Any]
TITLES = {
    "stock": "stock, batching off",
    "extender": "with Fairstow's extender",
    "batching": "stock, batching on",
}


def summary(rounds: list[list[Json]]) -> Json:
    """Return rates by arm, and the ratios of each round; turns are {arm, rate, cpu}."""
    by_round = [{turn["arm"]: turn for turn in turns} for turns in rounds]
    ratios = {
        arm: [each["extender"]["rate"] / each[arm]["rate"] for each in by_round]
        for arm in ("stock", "batching")
    }
    rates = {arm: [each[arm]["rate"] for each in by_round] for arm in TITLES}
    return {
        "rates": {arm: _spread(values, 0) for arm, values in rates.items()},
        "ratio": _spread(ratios["stock"], 3),
        "batchingRatio": _spread(ratios["batching"], 3),
        "cpuRatio": _spread([_cpu(e["stock"]) / _cpu(e["extender"]) for e in by_round], 3),
        "cpuMsPerPod": {
            arm: {
                name: _spread([each[arm]["cpu"].get(name, 0.0) for each in by_round], 2)["mean"]
                for name in sorted({n for each in by_round for n in each[arm]["cpu"]})
            }
            for arm in TITLES
        },
        "rounds": [{arm: round(each[arm]["rate"], 1) for arm in TITLES} for each in by_round],
    }


def _cpu(turn: Json) -> float:
    spent: dict[str, float] = turn["cpu"]
    return sum(spent.values())


def _spread(values: list[float], digits: int) -> Json:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {
        "mean": round(statistics.mean(values), digits),
        "stdev": round(deviation, digits),
        "least": round(min(values), digits),
    }


def table(record: Json) -> str:
    """Return the record as Markdown."""
    about = record["provenance"]
    said = (
        f"{about['date']}, commit {about['commit']}, {about['cores']} cores, Kubernetes "
        f"{about['kubernetes']}, {record['nodes']} nodes, {record['pods']} pods, "
        f"{len(record['rounds'])} rounds."
    )
    lines = [
        said,
        "",
        "| | pods/s, mean ± deviation | extender ÷ it, mean ± deviation | least of any round |",
        "|---|---|---|---|",
    ]
    ratios = {"stock": record["ratio"], "batching": record["batchingRatio"]}
    for arm, title in TITLES.items():
        rate, ratio = record["rates"][arm], ratios.get(arm)
        cells = (
            (f"{ratio['mean']:.2f} ± {ratio['stdev']:.2f}", f"{ratio['least']:.2f}")
            if ratio
            else ("", "")
        )
        speed = f"{rate['mean']:.0f} ± {rate['stdev']:.0f}"
        lines.append(f"| {title} | {speed} | {cells[0]} | {cells[1]} |")
    lines += ["", *_cpu_table(record)]
    return "\n".join(lines) + "\n"


def _cpu_table(record: Json) -> list[str]:
    """Return CPU time per pod by program."""
    found: Json = record["cpuMsPerPod"]
    names = sorted({name for arm in found.values() for name in arm})
    lines = [
        "CPU time per pod, ms:",
        "",
        f"| | {' | '.join(names)} | all |",
        "|---" * (len(names) + 2) + "|",
    ]
    for arm, title in TITLES.items():
        amounts = [found[arm].get(name, 0.0) for name in names]
        cells = " | ".join(f"{amount:.2f}" if amount else "" for amount in amounts)
        lines.append(f"| {title} | {cells} | {sum(amounts):.2f} |")
    ratio = record["cpuRatio"]
    said = f"Stock ÷ extender, all programs: {ratio['mean']:.2f} ± {ratio['stdev']:.2f}."
    return [*lines, "", said]


def write(record: Json) -> None:
    """Write the record and the page's table."""
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    rewrite(PAGE, MARKS, table(record))
