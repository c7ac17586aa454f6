"""What turns come to: medians, slopes, ratios, the bounds, the page. Called by `__main__`."""

from __future__ import annotations

import csv
import json
import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.closing import rewrite
from benchmarks.downtime.drawing import drawing
from benchmarks.downtime.turns import Turn, Way

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "downtime.json"
BOUNDS = ROOT / "benchmarks" / "bounds.yaml"
PAGE = ROOT / "docs" / "benchmarks" / "downtime.md"
MARKS = "<!-- downtime: begin -->\n", "<!-- downtime: end -->\n"
PUBLISHED = {
    "Migration-7B": Way.PRE_COPY,
    "BlockingCopy-7B": Way.BLOCKING,
    "Recompute-7B": Way.RECOMPUTE,
}
PUBLISHED_FOR = "a10-7b"

Json = dict[str, Any]


def summary(turns: Sequence[Turn]) -> Json:
    """Return figures by way: downtimes by length, slope in ms per 1,000 tokens, slow-down."""
    ways: Json = {}
    for way in dict.fromkeys(turn.way for turn in turns):
        mine = [turn for turn in turns if turn.way == way]
        lengths = sorted({turn.length for turn in mine})
        slowed = [turn.slowed for turn in mine if turn.slowed is not None]
        rounds = sorted({turn.round for turn in mine})
        ways[way] = {
            "downtime_ms": {
                str(length): _spread([t.downtime_ms for t in mine if t.length == length])
                for length in lengths
            },
            "slope_ms": _spread([_slope([t for t in mine if t.round == r]) for r in rounds]),
            "slowed": _spread(slowed) if slowed else None,
            "lost_ms": _spread([turn.lost_ms for turn in mine]),
            "step_ms": round(statistics.median(turn.step_ms for turn in mine), 2),
        }
    return {"ways": ways, **_against(ways)}


def _against(ways: Json) -> Json:
    """Set the best way to copy against recompute."""
    best = next((way for way in (Way.PRE_COPY, Way.BLOCKING) if way in ways), None)
    if best is None or Way.RECOMPUTE not in ways:
        return {}
    copied, recomputed = ways[best], ways[Way.RECOMPUTE]
    longest = max(copied["downtime_ms"], key=int)
    step = recomputed["step_ms"]
    floor = 3 * step + 30
    return {
        "best": str(best),
        "floor_ms": round(floor, 1),
        "recompute_longest_ms": recomputed["downtime_ms"][longest][0],
        "slope_share": round(copied["slope_ms"][0] / recomputed["slope_ms"][0], 4),
        "longest_share": round(
            copied["downtime_ms"][longest][0] / recomputed["downtime_ms"][longest][0], 4
        ),
        "worst_ms": max(each[0] for each in copied["downtime_ms"].values()),
    }


def _spread(values: Sequence[float]) -> list[float]:
    """Return median, least and largest."""
    return [round(f(values), 4) for f in (statistics.median, min, max)]


def _slope(turns: Sequence[Turn]) -> float:
    """Return the least-squares slope over length, in ms per 1,000 tokens."""
    if len(turns) < 2:
        return 0.0
    lengths = [turn.length / 1000 for turn in turns]
    return statistics.linear_regression(lengths, [turn.downtime_ms for turn in turns]).slope


def missed(found: Json) -> Iterator[str]:
    """Say which bounds were missed. The aims are for engines that copy while they decode."""
    bounds = yaml.safe_load(BOUNDS.read_text(encoding="utf-8"))["downtime"]
    for name, figures in found.items():
        if figures.get("best") != Way.PRE_COPY:
            continue
        cost_model = name.endswith("-7b")
        slowed = figures["ways"][Way.PRE_COPY]["slowed"]
        checked = {
            "slope_share": figures["slope_share"],
            # Meant where recomputing takes twenty times the floor.
            "longest_share": figures["longest_share"]
            if figures["recompute_longest_ms"] >= 20 * figures["floor_ms"]
            else None,
            "slowed": slowed[0] if slowed and cost_model else None,
            "floor_share": figures["worst_ms"] / figures["floor_ms"] if cost_model else None,
        }
        for bound, value in checked.items():
            most = bounds[bound]["at_most"]
            if value is not None and value > most:
                yield f"{name}: {bound} is {value:.3f}, at most {most} is wanted"


def table(name: str, figures: Json) -> str:
    """Return one engine's downtimes as a Markdown table."""
    ways = figures["ways"]
    lengths = list(next(iter(ways.values()))["downtime_ms"])
    heads = [
        "ms",
        *(f"{int(length):,}" for length in lengths),
        "per 1,000 tokens",
        "step slowed",
        "lost",
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    published = _published() if name == PUBLISHED_FOR else {}
    for way, found in ways.items():
        cells = [_shown(found["downtime_ms"][length], 1) for length in lengths]
        slowed = _shown([100 * s for s in found["slowed"]], 1) + " %" if found["slowed"] else "–"
        cells += [_shown(found["slope_ms"], 2), slowed, _shown(found["lost_ms"], 0)]
        lines.append(f"| {way} | {' | '.join(cells)} |")
        if way in published:
            told = [f"{published[way].get(int(length), float('nan')):.0f}" for length in lengths]
            lines.append(f"| *published* | {' | '.join(told)} | | | |")
    return "\n".join(lines) + "\n"


def _shown(found: Sequence[float], digits: int) -> str:
    middle, least, largest = (f"{value:,.{digits}f}" for value in found)
    return middle if least == largest else f"{middle} ({least}–{largest})"


def _published() -> dict[str, dict[int, float]]:
    """Return Llumnix's fig. 10, 7B, where FAIRSTOW_DATA has it."""
    file = Path(os.environ.get("FAIRSTOW_DATA", ".")) / "llm" / "llumnix_fig10_points.csv"
    if not file.exists():
        return {}
    found: dict[str, dict[int, float]] = {}
    with file.open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            way = PUBLISHED.get(row["series"])
            if row["panel"] == "downtime" and way is not None:
                found.setdefault(way, {})[int(row["seq_len"])] = float(row["ms"])
    return found


def write(found: Json) -> None:
    """Write results, page and drawing; engines that weren't measured stay as they are."""
    known: Json = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known |= found
    RESULTS.write_text(json.dumps(known, indent=1) + "\n")
    parts = [f"{_section(name, figures)}" for name, figures in known.items()]
    picture = PAGE.with_name("downtime.svg")
    picture.write_text(drawing(known))
    parts.append(f"![Downtime against length]({picture.name})\n")
    rewrite(PAGE, MARKS, "\n".join(parts))


def _section(name: str, figures: Json) -> str:
    about = figures["provenance"]
    said = [f"### {name}\n", table(name, figures)]
    if "best" in figures:
        said.append(
            f"{figures['best'].capitalize()} against recompute: slope "
            f"{figures['slope_share']:.1%}, at the longest 1/{1 / figures['longest_share']:.0f}.\n"
        )
    said.append(
        f"{about['date']}, commit {about['commit']}, {about['cores']} cores, Python "
        f"{about['python']}, {figures['rounds']} rounds.\n"
    )
    return "\n".join(said)
