"""Writes the results into docs/benchmarks/serving.md, between its markers.

python -m benchmarks.serving_simulator.report FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.serving_simulator.play import ratio

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "serving.md"
BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->\n"

FIG11 = (
    "workload, figure",
    "published Llumnix / INFaaS++",
    "`llumnix` / INFaaS++",
    "same direction",
    "`virtual-usage` / `load-aware`",
    "`virtual-usage` / `llumnix`",
    "`virtual-usage` / `llumnix` with a ledger",
)
LEVELS = ("request_mean_s", "request_p99_s", "prefill_mean_s", "prefill_p99_s", "decode_mean_s")
PRIORITIES = """
Priorities: how many times slower without them than with, S-S in bursts, a tenth urgent (published:
urgent 1.2–1.5, the more the burstier; others at least 0.955).
"""
FRAGMENTED = """
Fragmentation: share of memory that is free, and would hold requests which wait, were it on one
instance; M-M at 7.5/s (published: 92 % less with Llumnix).
"""
SCALING = """
Scaling by freeness, L-L at 2/s in bursts of CV 2: instances on average, and P99 prefill, by the
freeness t in blocks a request that is kept at least (and t + 50 at most). INFaaS++ dispatches as in
Llumnix's published program; `load-aware` is our better form of it.
"""
PAST_FUTURE = """
Past-Future on one `h100-7b`, by clients as multiples of those whose requests fill the memory:
tokens/s of requests in time (first token within 10 s, no gap over 1.5 s), and how many requests
were evicted. The last columns leave the first token out: only gaps count.
"""
EQUAL = """
Instances that a P99 prefill needs, from these curves (published: 36 % fewer with Llumnix).
"""

Json = dict[str, Any]


def tables(results: Json) -> str:
    """Return all tables of what was measured."""
    writers = {
        "fig11": _fig11,
        "fig11-highest": _fig11,
        "priorities": _priorities,
        "defragmentation": _defragmentation,
        "scaling": _scaling,
        "traces": _traces,
        "past-future": _past_future,
        "claims": _claims,
    }
    return "\n".join(
        f"{write(results[name])}\n{_about(results[name])}\n"
        for name, write in writers.items()
        if name in results
    )


def _about(part: Json) -> str:
    about = part["provenance"]
    return (
        f"{about['date']}, commit {about['commit']}, Python {about['python']}, numpy "
        f"{about['numpy']}, {part['seeds']} seeds, one core."
    )


def _fig11(part: Json) -> str:
    lines = [f"| {' | '.join(FIG11)} |", "|---" * len(FIG11) + "|"]
    met = total = 0
    for row in part["rows"]:
        for found in row["comparisons"]:
            met += found["direction"]
            total += 1
            cells = (
                f"{row['row']} {row['rate']:g}/s {found['metric']}",
                f"{found['paper']:.2f}",
                _range(found["llumnix"]),
                "yes" if found["direction"] else "**no**",
                _range(found["ours"]),
                _range(found["ours_to_llumnix"]),
                _range(found["ours_to_ledger"]),
            )
            lines.append(f"| {' | '.join(cells)} |")
    found = [f for r in part["rows"] for f in r["comparisons"]]
    head = (
        f"Llumnix fig. 11: {met} of {total} comparisons in the published direction. "
        f"`virtual-usage` is no worse (within 1 %) than `llumnix` in "
        f"{_at_most(found, 'ours_to_llumnix')}, than `llumnix` with a ledger in "
        f"{_at_most(found, 'ours_to_ledger')}, than `load-aware` in {_at_most(found, 'ours')}. "
        f"Up to {part['requests_per_s']:,} simulated requests/s on M-M.\n"
    )
    return "\n".join([head, *lines, "", *_levels(part["rows"])]) + "\n"


def _at_most(found: list[Json], which: str) -> int:
    return sum(each[which][0] <= 1.01 for each in found)


def _levels(rows: list[Json]) -> list[str]:
    """Return absolute figures beside the published ones."""
    lines = [
        "Absolute figures, here (published).\n",
        f"| workload, system | {' | '.join(LEVELS)} |",
        "|---" * (len(LEVELS) + 1) + "|",
    ]
    for row in rows:
        found = {each["metric"]: each for each in row["comparisons"]}
        for system in ("INFaaS++", "llumnix"):
            cells = [
                f"{found[name]['measured'][system]:.3g} ({found[name]['published'][system]:.3g})"
                for name in LEVELS
            ]
            lines.append(f"| {row['row']} {row['rate']:g}/s {system} | {' | '.join(cells)} |")
    return lines


def _range(found: list[float]) -> str:
    return f"{found[0]:.2f} ({found[1]:.2f}–{found[2]:.2f})"


def _priorities(part: Json) -> str:
    lines = [
        PRIORITIES,
        "| policy | " + " | ".join(k for k in part["rows"][0] if k != "policy") + " |",
        "|---" * len(part["rows"][0]) + "|",
    ]
    for row in part["rows"]:
        cells = [_range(v) for k, v in row.items() if k != "policy"]
        lines.append(f"| {row['policy']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _defragmentation(part: Json) -> str:
    cells = [
        f"| {policy} | {fmean(found):.2%} ({min(found):.2%}–{max(found):.2%}) |"
        for policy, found in part["fragmented"].items()
    ]
    return "\n".join([FRAGMENTED, "| policy | fragmented |", "|---|---|", *cells]) + "\n"


def _scaling(part: Json) -> str:
    systems = list(part["rows"][0]["runs"])
    lines = [SCALING, f"| t | {' | '.join(systems)} |", "|---" * (len(systems) + 1) + "|"]
    for row in part["rows"]:
        cells = [
            f"{fmean(run['instances'] for run in runs):.2f}, "
            f"{fmean(run['prefill_p99_s'] for run in runs):.1f} s"
            for runs in row["runs"].values()
        ]
        lines.append(f"| {row['threshold']:g} | {' | '.join(cells)} |")
    lines += [EQUAL, f"| P99 | {' | '.join(systems)} |", "|---" * (len(systems) + 1) + "|"]
    for target, found in part["equal"].items():
        cells = [_range(found[name]) if found[name] else "–" for name in systems]
        lines.append(f"| {target} s | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _traces(part: Json) -> str:
    names = ("request_mean_s", "request_p99_s", "prefill_mean_s", "prefill_p99_s", "decode_p99_s")
    lines = [
        "Real traces, stretched to the rate, what doesn't fit an A10 left out; one run each.\n",
        f"| trace, policy | {' | '.join(names)} | migrations |",
        "|---" * (len(names) + 2) + "|",
    ]
    for row in part["rows"]:
        cells = [f"{row[name]:.3f}" for name in names]
        name = f"{row['trace']} {row['rate']:g}/s {row['policy']}"
        lines.append(f"| {name} | {' | '.join(cells)} | {row['migrations']} |")
    return "\n".join(lines) + "\n"


def _past_future(part: Json) -> str:
    heads = (
        "workload, clients",
        "`past-future`, evicted",
        "aggressive, evicted",
        "conservative",
        "`past-future` / aggressive",
        "gaps alone: `past-future`",
        "aggressive",
    )
    lines = [PAST_FUTURE, f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in part["rows"]:
        runs = row["runs"]
        mean = {
            name: {key: fmean(run[key] for run in found) for key in found[0]}
            for name, found in runs.items()
        }
        ours, theirs = mean["past-future"], mean["aggressive"]
        cells = (
            f"{row['workload']}, {row['share']} ({row['clients']})",
            f"{ours['goodput']:,.0f}, {ours['evicted']:.0%}",
            f"{theirs['goodput']:,.0f}, {theirs['evicted']:.0%}",
            f"{mean['conservative']['goodput']:,.0f}",
            _range(list(ratio(runs["past-future"], runs["aggressive"], "goodput"))),
            f"{ours['without_gaps']:,.0f}",
            f"{theirs['without_gaps']:,.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _claims(part: Json) -> str:
    lines = [
        "Other policies' claims, mean (least–largest of the seeds).\n",
        "| policy of | policy | figures |",
        "|---|---|---|",
    ]
    for name, rows in part["claims"].items():
        for policy, figures in rows.items():
            shown = ", ".join(f"{key} {_range(value)}" for key, value in figures.items())
            lines.append(f"| {name} | {policy} | {shown} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page."""
    results = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    PAGE.write_text(f"{head}{BEGIN}{tables(results)}{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
