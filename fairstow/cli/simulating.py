"""`simulate serving`: a policy on a trace or on drawn requests, in simulated time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairstow.cli import terminal
from fairstow.cli.files import whole_file, writable
from fairstow.cli.layout import table, wrapped
from fairstow.cli.options import Output
from fairstow.cli.progress import Progress
from fairstow.cli.serialise import as_json
from fairstow.cli.terminal import Look
from fairstow.cluster.errors import InputError
from fairstow.serving.cost_model import PROFILES
from fairstow.serving.engine import NEVER, Engine
from fairstow.serving.policies import POLICIES, Settings
from fairstow.serving.simulator import arrivals, traces
from fairstow.serving.simulator.arrivals import Arrival
from fairstow.serving.simulator.outcome import outcome
from fairstow.serving.simulator.run import Result, Setup, Simulation

HIGH_HEADROOM = 1_600
"""Tokens of KV beside which a request of high priority decodes fast (Llumnix §6.4)."""

_GLANCES = 1_500


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is simulated, as the flags say it."""

    trace: str | None
    lengths: str
    requests: int | None
    policy: str
    instances: int
    profile: str
    rate: float | None
    cv: float
    high: float
    seed: int
    scale: bool


def simulate(question: Question, output: Output, svg: str | None) -> None:
    """Simulate and show what came of it."""
    if svg is not None:
        writable(svg)
    profile = PROFILES[_known("--profile", question.profile, PROFILES)]
    policy = POLICIES[_known("--policy", question.policy, POLICIES)]
    fit = Engine(profile).longest
    workload, left_out = arrivals.split(_workload(question), fit)
    if not workload:
        raise InputError(
            question.trace or "--lengths", f"no request fits {fit} tokens, what {profile.name} has"
        )
    if left_out:
        terminal.warn(f"{left_out} requests are longer than {fit} tokens and were left out.")
    setup = Setup(
        policy=policy(Settings(headroom={-1: profile.capacity - HIGH_HEADROOM})),
        profiles=[profile] * question.instances,
        scaling=question.scale,
    )
    result, seconds = _run(workload, setup, glances=svg is not None)
    figures = outcome(result) | {"leftOut": left_out}
    if svg is not None:
        from fairstow.report.serving import timeline

        with whole_file(svg) as stream:
            stream.write(timeline(result, _title(question)).encode())
    if output is Output.JSON:
        terminal.write(as_json(figures))
    else:
        terminal.write(_text(question, figures, result, seconds, terminal.look()))


def _known(flag: str, name: str, names: Any) -> str:
    if name not in names:
        raise InputError(flag, f"there is no {name!r}", f"Known are {', '.join(names)}.")
    return name


def _workload(question: Question) -> list[Arrival]:
    seed = question.seed
    if question.trace is None:
        if question.rate is None:
            raise InputError("--rate", "is needed where requests are drawn, such as --rate 7.5")
        try:
            found = arrivals.drawn(
                question.lengths,
                question.requests or 10_000,
                question.rate,
                seed=seed,
                cv=question.cv,
                lengths_seed=arrivals.LENGTHS_SEED,
            )
        except ValueError as error:
            raise InputError("--lengths", str(error)) from None
    else:
        found = _read(question.trace)[: question.requests]
        if question.rate is not None:
            found = traces.scaled(found, question.rate)
    return arrivals.urgent(found, question.high, seed=seed) if question.high else found


def _read(path: str) -> list[Arrival]:
    try:
        with Path(path).open(encoding="utf-8") as lines:
            return traces.read(lines, path)
    except UnicodeDecodeError:
        raise InputError(path, "isn't text", "Unpack it first if it is compressed.") from None
    except OSError as error:
        raise InputError(path, (error.strerror or str(error)).lower()) from None


def _run(workload: list[Arrival], setup: Setup, *, glances: bool) -> tuple[Result, float]:
    begun = time.perf_counter()
    with Progress() as progress:
        simulation = Simulation(
            workload,
            setup,
            watch=_every(100, lambda n: progress.say(f"{n:,} of {len(workload):,} requests")),
            glance=workload[-1].at / _GLANCES if glances else NEVER,
        )
        result = simulation.run()
    return result, time.perf_counter() - begun


def _every(step: int, say: Callable[[int], None]) -> Callable[[int], None]:
    return lambda ended: say(ended) if ended % step == 0 else None


def _title(question: Question) -> str:
    what = question.trace or f"lengths {question.lengths}"
    rate = "" if question.rate is None else f", {question.rate:g} requests/s"
    return (
        f"{question.policy}: {question.instances} instances of {question.profile}, {what}{rate}, "
        f"seed {question.seed}"
    )


def _text(
    question: Question, figures: dict[str, Any], result: Result, seconds: float, look: Look
) -> str:
    headers = ("", "REQUESTS", "REQUEST MEAN", "P99", "PREFILL MEAN", "P99", "DECODE MEAN", "P99")
    rows = [_row("all", figures)]
    if len(figures["byPriority"]) > 1:
        rows += [_row(f"priority {p}", found) for p, found in figures["byPriority"].items()]
    lines = [
        wrapped(_title(question), look.width),
        "",
        *table(headers, rows, look.width, "lrrrrrrr"),
        "",
        wrapped(
            f"{figures['migrations']} migrations, {figures['preemptions']} preemptions, "
            f"{figures['instanceSeconds']:,.0f} instance seconds; {result.end:,.0f} s simulated in "
            f"{seconds:.1f} s.",
            look.width,
        ),
    ]
    return "\n".join(lines)


def _row(name: str, found: dict[str, Any]) -> list[str]:
    cells = [name, f"{found['requests']:,}"]
    for part, digits in (("request", 2), ("prefill", 2), ("decode", 4)):
        for key in ("mean_s", "p99_s"):
            value = found[part][key]
            cells.append("-" if value is None else f"{value:.{digits}f} s")
    return cells
