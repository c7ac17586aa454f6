"""The page's tables, from the result of a run."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from benchmarks.paired import STUDENT

Json = dict[str, Any]

PUBLISHED = {
    "uwfq": (11.6, 2.37, "2.6 / 4.7", 0.18),
    "cfq": (10.3, 2.31, "34–35", 3.69),
    "ujf": (18.7, 5.29, "", None),
    "fair": (53.3, 38.0, "40–42", 3.25),
}
"""With runtime partitioning: hetero mean and fastest 80 %; small users' mean, DVR beside power
users. Spark 3.5.5 on 32 cores (arXiv 2510.15485)."""


_HETERO = (
    "| | mean, published | mean | fastest 80 %, published | fastest 80 % | mean, all seeds "
    "| slowdown | DVR | most late, L_max |"
)


EXPLAINS = "1.7"
_HEAVIER = (
    "**The slice with each task so many times as long**, tasks of 0.5 s: mean response and that of "
    "the fastest 80 %, in seconds, of the trace as it is."
)
_CUT = (
    "**What the mean costs**: the slice cut as published (0.5 s), and for all cores; below, orders "
    "that know more than a scheduler can."
)
_CUT_COLUMNS = (
    "| | mean | ÷ CFQ's, 0.5 s | by seed | fastest 80 % | DVR | worst | most late, L_max "
    "| over 1.05 L_max |"
)
_LIARS = (
    "**The user with the most work declares so many times the truth**, tasks of 0.5 s: mean "
    "response of its jobs and of others', and others' jobs later than 1.05 L_max."
)
_ORDER = "**The order** (one job arrives, all are put in order, the first ends), CPU time."
_TURN = (
    "**A queue's turn** while nothing can be let go: who goes and why the others don't; with each "
    "one's position and expected start, of which the operator tells a hundred a turn; CPU time."
)


def tables(results: Json) -> str:
    """Return the page's tables as Markdown."""
    parts = [_hetero(results["hetero-P"])]
    parts += [_fair(results["heavier"]), _cut(results)]
    parts += [_micro(name, results) for name in ("power", "large") if f"{name}-P" in results]
    parts.append(_disturbed(results["disturbed"]))
    parts.append(_liars(results))
    parts.append(_cost(_ORDER, results["decisions"]))
    parts.append(_cost(_TURN, results["turns"]))
    return "\n\n".join(parts) + "\n"


def ratios(runs: Json) -> dict[str, tuple[float, float]]:
    """Return ratios of mean response on the slice, ours and published."""
    ours = {policy: found[0]["meanResponse_s"] for policy, found in runs.items()}
    pairs = (("ujf", "uwfq"), ("cfq", "uwfq"), ("ujf", "cfq"), ("fair", "ujf"))
    return {f"{a}/{b}": (ours[a] / ours[b], PUBLISHED[a][0] / PUBLISHED[b][0]) for a, b in pairs}


def _hetero(runs: Json) -> str:
    lines = [
        "**Slice of Google's trace, tasks of 0.5 s.** The trace as it is beside what is published.",
        "",
        _HETERO,
        "|---" + "|---:" * (_HETERO.count("|") - 2) + "|",
    ]
    for policy, found in runs.items():
        mean, fastest, _, _ = PUBLISHED.get(policy, ("", "", "", ""))
        late = max(each["maxLatenessLmax"] for each in found)
        lines.append(
            f"| {policy} | {mean} | {found[0]['meanResponse_s']:.2f} | {fastest} "
            f"| {found[0]['fastest80_s']:.2f} | {_spread(found, 'meanResponse_s')} "
            f"| {_mean(found, 'meanSlowdown'):.2f} | {_mean(found, 'dvr'):.2f} | {late:.2f} |"
        )
    lines += ["", "| mean response | published | here | off |", "|---|---:|---:|---:|"]
    for name, (ours, theirs) in ratios(runs).items():
        lines.append(f"| {name} | {theirs:.2f} | {ours:.2f} | {100 * (ours / theirs - 1):+.0f} % |")
    return "\n".join(lines)


def strained(heavier: Json) -> dict[str, tuple[float, float]]:
    """Return mean response at the load that explains the published ones, ours and published."""
    runs = heavier[EXPLAINS]
    pairs = (("fifo", "fair"), ("ujf", "ujf"), ("cfq", "cfq"), ("uwfq", "uwfq"))
    return {f"{a} as {b}": (runs[a]["meanResponse_s"], PUBLISHED[b][0]) for a, b in pairs}


def by_seed(ours: Sequence[Json], theirs: Sequence[Json]) -> list[float]:
    """Return ratios of mean response, seed by seed."""
    return [a["meanResponse_s"] / b["meanResponse_s"] for a, b in zip(ours, theirs, strict=True)]


def _fair(heavier: Json) -> str:
    shown = ("fair", "fifo", "ujf", "cfq", "uwfq")
    lines = [_HEAVIER, "", "| load | " + " | ".join(shown) + " |", "|---" + "|---:" * 5 + "|"]
    for factor, runs in heavier.items():
        cells = (
            f"{runs[policy]['meanResponse_s']:.1f} / {runs[policy]['fastest80_s']:.1f}"
            for policy in shown
        )
        lines.append(f"| × {factor} | " + " | ".join(cells) + " |")
    told = {policy: f"{PUBLISHED[policy][0]} / {PUBLISHED[policy][1]}" for policy in PUBLISHED}
    lines.append("| published | " + " | ".join(told.get(policy, "") for policy in shown) + " |")
    return "\n".join(lines)


def _cut(results: Json) -> str:
    cfq = results["hetero-P"]["cfq"]
    lines = [_CUT, "", _CUT_COLUMNS, "|---" + "|---:" * (_CUT_COLUMNS.count("|") - 2) + "|"]
    rows = {f"{policy}, 0.5 s": results["hetero-P"][policy] for policy in ("uwfq", "cfq")}
    rows |= {f"{policy}, for all cores": results["hetero-C"][policy] for policy in ("uwfq", "cfq")}
    rows |= {f"{kind}, 0.5 s": found for kind, found in results["informed"].items()}
    for name, found in rows.items():
        times = by_seed(found, cfq)
        late = sum(each["late"] for each in found) / sum(each["jobs"] for each in found)
        lines.append(
            f"| {name} | {_spread(found, 'meanResponse_s')} | {fmean(times):.3f} "
            f"| {min(times):.3f}–{max(times):.3f} | {_mean(found, 'fastest80_s'):.2f} "
            f"| {_mean(found, 'dvr'):.2f} | {max(each['dvr'] for each in found):.2f} "
            f"| {max(each['maxLatenessLmax'] for each in found):.2f} | {100 * late:.1f} % |"
        )
    return "\n".join(lines)


def _micro(name: str, results: Json) -> str:
    published = name == "power"
    head = {
        "power": "**Two power and two small users.** Mean response in seconds, P with tasks of "
        "0.5 s, else 32 a job.",
        "large": "**Two large and two small users.**",
    }[name]
    columns = "| | small users | small users, P | all, P | DVR, P | most late, P, L_max |"
    if published:
        columns = columns.replace("| | ", "| | small users, P, published | DVR, published | ")
    lines = [head, "", columns, "|---" + "|---:" * (columns.count("|") - 2) + "|"]
    for policy, found in results[f"{name}-P"].items():
        _, _, small, dvr = PUBLISHED.get(policy, (0, 0, "", None))
        theirs = f"| {small} | {'' if dvr is None else dvr} " if published else ""
        lines.append(
            f"| {policy} {theirs}| {_spread(results[name][policy], 'small_s')} "
            f"| {_spread(found, 'small_s')} | {_mean(found, 'meanResponse_s'):.1f} "
            f"| {_mean(found, 'dvr'):.2f} | {max(e['maxLatenessLmax'] for e in found):.2f} |"
        )
    return "\n".join(lines)


def _disturbed(runs: Json) -> str:
    lines = [
        "**UWFQ on the slice with wrong estimates and stragglers**, tasks of 0.5 s.",
        "",
        "| estimates | mean response | slowdown | DVR |",
        "|---|---:|---:|---:|",
    ]
    for kind, found in runs.items():
        lines.append(
            f"| {kind} | {_spread(found, 'meanResponse_s')} | {_mean(found, 'meanSlowdown'):.2f} "
            f"| {_mean(found, 'dvr'):.2f} |"
        )
    return "\n".join(lines)


def _liars(results: Json) -> str:
    lines = [
        _LIARS,
        "",
        "| | slice: its own | others' | late | power and small: its own | others' | late |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for factor in results["liars, power"]:
        cells = [f"× {float(factor):g}"]
        for name in ("hetero", "power"):
            found = results[f"liars, {name}"][factor]
            late = sum(each["late"] for each in found) / sum(each["others"] for each in found)
            cells += [_spread(found, "liar_s"), _spread(found, "others_s"), f"{100 * late:.1f} %"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cost(what: str, found: Sequence[Json]) -> str:
    all_told = all("told_ms" in each for each in found)
    lines = [
        what,
        "",
        "| queued | users | median | most |" + (" all told |" if all_told else ""),
        "|---:|---:|---:|---:|" + ("---:|" if all_told else ""),
    ]
    lines += [
        f"| {each['queued']:,} | {each['users']:,} | {each['median_ms']:.1f} ms "
        f"| {each['most_ms']:.1f} ms |" + (f" {each['told_ms']:.1f} ms |" if all_told else "")
        for each in found
    ]
    return "\n".join(lines)


def _mean(found: Sequence[Json], key: str) -> float:
    return fmean(each[key] for each in found)


def _spread(found: Sequence[Json], key: str) -> str:
    values = [each[key] for each in found]
    half = STUDENT[len(values)] * stdev(values) / sqrt(len(values))
    return f"{fmean(values):.2f} ± {half:.2f}"
