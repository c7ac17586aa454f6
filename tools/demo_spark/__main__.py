"""Runs the demo of Spark: a flood by one user, small jobs by another, with and without the plugin.

Two stock Spark applications play the same jobs one after the other; who held the two cores when is
drawn here as lanes, and into demo-out/spark.svg.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

from e2e.engines.environments import InstallError
from e2e.spark import application
from tools.demo_spark.drawing import Lanes, picture, terminal
from tools.spark_plugin import NoJdkError

OUT = Path("demo-out")
FLOOD, SMALL = "ada", "bo"
COLUMNS = 72


def main() -> int:
    """Run the demo and return its exit code."""
    OUT.mkdir(exist_ok=True)
    try:
        return demo()
    except (NoJdkError, InstallError, application.FailedError) as error:
        print(f"The demo couldn't run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; nothing of it is left running.", file=sys.stderr)
        return 130


def demo() -> int:
    """Play both; return 0 if the small user waited less with the plugin."""
    print(f"{FLOOD} submits eight jobs at once, {SMALL} four small ones, one each second.")
    print("One stock Spark application, two cores; a letter is a core held for its user.\n")
    played = {}
    for title, conf in (
        ("As Spark orders them", {}),
        ("With Fairstow's plugin", application.with_plugin()),
    ):
        with tempfile.TemporaryDirectory() as folder:
            ran = application.run("micro", Path(folder), conf=conf, jobs=_jobs(), warm=_warm())
        played[title] = Lanes(ran["tasks"], ran["jobs"], (FLOOD, SMALL))
        print(f"{title}: {SMALL}'s jobs took {_mean(ran['jobs']):.1f} s in the mean")
        print(terminal(played[title], _longest(played), COLUMNS) + "\n", flush=True)
    path = OUT / "spark.svg"
    path.write_text(picture(played))
    stock, ours = (fmean(lanes.responses(SMALL)) for lanes in played.values())
    print(f"{SMALL} waits 1/{stock / ours:.1f} as long. The picture: {path.resolve().as_uri()}")
    print("On an application of yours: docs/spark-inside.md")
    return 0 if ours < stock else 1


def _jobs() -> list[dict[str, Any]]:
    flood = [_job(f"{FLOOD}/{number}", 0.1 * number, 8, 0.25) for number in range(8)]
    small = [_job(f"{SMALL}/{number}", 1.0 + number, 2, 0.2) for number in range(4)]
    return flood + small


def _warm() -> list[dict[str, Any]]:
    again = [_job(f"{FLOOD}/warm", 0.0, 2, 0.1), _job(f"{SMALL}/warm", 0.0, 2, 0.1)]
    return [*again, _job(f"{FLOOD}/known", 5.0, 8, 0.25), _job(f"{SMALL}/known", 8.0, 2, 0.2)]


def _job(name: str, at: float, tasks: int, seconds: float) -> dict[str, Any]:
    user = name.split("/", maxsplit=1)[0]
    # Jobs that only start Spark's workers take longer than what they are there to be known for.
    template = "start" if name.endswith("warm") else "work"
    properties = {"fairstow.user": user, "fairstow.template": template}
    return {
        "name": name,
        "user": user,
        "at": at,
        "tasks": tasks,
        "seconds": seconds,
        "properties": properties,
    }


def _mean(jobs: list[dict[str, Any]]) -> float:
    return fmean(job["ended"] - job["came"] for job in jobs if job["user"] == SMALL)


def _longest(played: dict[str, Lanes]) -> float:
    return max(lanes.end for lanes in played.values())


if __name__ == "__main__":
    sys.exit(main())
