"""`simulate spark`: Spark jobs of several users under a policy, in simulated time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from fairstow.cli import terminal
from fairstow.cli.layout import table, wrapped
from fairstow.cli.options import PictureOutput
from fairstow.cli.progress import Progress
from fairstow.cli.serialise import as_json
from fairstow.cli.terminal import Look
from fairstow.cluster.errors import InputError
from fairstow.spark.policies import POLICIES
from fairstow.spark.simulator import jobs
from fairstow.spark.simulator.outcome import judged, responses_under_ujf, summary
from fairstow.spark.simulator.run import Result, Simulation
from fairstow.spark.workload import Work

_SHOWN = 30
"""Users in the table at most; JSON has all."""


def simulate(path: str, policy: str, cores: int, output: PictureOutput) -> None:
    """Simulate and show what came of it."""
    if policy not in POLICIES:
        known = ", ".join(POLICIES)
        raise InputError("--policy", f"there is no {policy!r}", f"Known are {known}.")
    works = _read(path)
    title = f"{policy}: {len(works):,} jobs of {path} on {cores} cores"
    with Progress() as progress:
        progress.say(f"{len(works):,} jobs")
        result = Simulation(works, cores, POLICIES[policy](cores)).run()
        shown = _shown(title, works, cores, result, output)
    terminal.write(shown)


def _shown(title: str, works: list[Work], cores: int, result: Result, output: PictureOutput) -> str:
    if output is PictureOutput.SVG:
        from fairstow.report.spark import drawing
        from fairstow.spark.simulator.lanes import lanes

        return drawing(lanes(works, cores, result), title)
    figures = summary(judged(works, cores, result, responses_under_ujf(works, cores)))
    if output is PictureOutput.JSON:
        return as_json(figures)
    return _text(title, figures, terminal.look())


def _read(path: str) -> list[Work]:
    try:
        if path == "-":
            return jobs.read(sys.stdin, path)
        with Path(path).open(encoding="utf-8-sig", newline="") as lines:
            return jobs.read(lines, path)
    except UnicodeDecodeError:
        raise InputError(path, "isn't text", "Unpack it first if it is compressed.") from None
    except OSError as error:
        raise InputError(path, (error.strerror or str(error)).lower()) from None


def _text(title: str, figures: dict[str, Any], look: Look) -> str:
    headers = ("USER", "JOBS", "RESPONSE MEAN", "SLOWDOWN MEAN", "DVR", "MAX LATENESS")
    users = sorted(figures["users"].items(), key=lambda each: -each[1]["jobs"])
    rows = [_row("all", figures), *(_row(name, found) for name, found in users[:_SHOWN])]
    lines = [
        wrapped(title, look.width),
        "",
        *table(headers, rows, look.width, "lrrrrr"),
        "",
        wrapped(
            "DVR: how much longer than under UJF responses are, over those; mean of jobs for which "
            "they are longer. Lateness: against fluid sharing, in longest tasks.",
            look.width,
        ),
    ]
    if len(users) > _SHOWN:
        lines.append(wrapped(f"{len(users) - _SHOWN} more users: -o json has all.", look.width))
    return "\n".join(lines)


def _row(name: str, found: dict[str, Any]) -> list[str]:
    return [
        name,
        f"{found['jobs']:,}",
        f"{found['meanResponse_s']:.2f} s",
        f"{found['meanSlowdown']:.2f}",
        f"{found['dvr']:.3f}",
        f"{found['maxLatenessLmax']:.2f}",
    ]
