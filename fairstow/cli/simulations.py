"""The commands under `simulate` and their flags; `simulating` does the work."""

# ruff: noqa: PLR0913, PLR0917, ARG001
# A command has as many parameters as flags; `debug` is read by `Command` before it runs.

from typing import Annotated

import typer

from fairstow.cli import options
from fairstow.cli.command import Command, Group

app = typer.Typer(
    cls=Group,
    help="Simulate what would run on a cluster.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
)


@app.callback()
def simulate() -> None:
    """Simulate without a cluster."""


@app.command(cls=Command, short_help="Simulate a pool of LLM engines under a policy.")
def serving(
    trace: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Requests to replay: an Azure LLM inference trace (CSV) or a Mooncake trace "
            "(JSON lines). Without it requests are drawn.",
            show_default=False,
        ),
    ] = None,
    lengths: Annotated[
        str,
        typer.Option(
            metavar="IN-OUT",
            help="Without a trace: mean lengths of prompts and outputs, S (128), M (256), L (512) "
            "or 1024, of Llumnix's power laws.",
        ),
    ] = "M-M",
    requests: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1_000_000,
            metavar="N",
            help="How many to draw (10,000), or the most to take of the trace (all).",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        str, typer.Option(metavar="NAME", help="The policy; an unknown name lists them.")
    ] = "virtual-usage",
    instances: Annotated[
        int, typer.Option(min=1, max=1_000, metavar="N", help="Instances, at the beginning.")
    ] = 16,
    profile: Annotated[
        str, typer.Option(metavar="NAME", help="Model and GPU: a10-7b or h100-7b.")
    ] = "a10-7b",
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1e6,
            metavar="R",
            help="Requests per second; a trace's time is stretched to it.",
            show_default=False,
        ),
    ] = None,
    cv: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=100,
            help="Coefficient of variation of the time between drawn requests; 1 is Poisson.",
        ),
    ] = 1.0,
    high: Annotated[
        float,
        typer.Option(min=0, max=1, metavar="SHARE", help="Share of requests of high priority."),
    ] = 0.0,
    scale: Annotated[
        bool, typer.Option("--scale", help="Let the policy add and drain instances.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=(1 << 53) - 1, help="Seed of what is drawn.")] = 0,
    output: options.TextOrJson = options.Output.TEXT,
    svg: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Also draw the instances over time.", show_default=False),
    ] = None,
    debug: options.Debug = False,
) -> None:
    """Simulate a pool of LLM engines under a policy: latencies, preemptions, migrations, cost.

    The policies are those of the gateway; the engines are a cost model (docs/simulator.md).

    Examples:
      # 10,000 drawn requests on 16 instances
      {program} simulate serving --rate 7.5

      # Another policy, for a script
      {program} simulate serving --rate 7.5 --policy load-aware -o json

      # A trace at twice the load, drawn over time
      {program} simulate serving --trace trace.csv --rate 10 --svg timeline.svg

      # A tenth of the requests of high priority; instances come and go
      {program} simulate serving --rate 5 --high 0.1 --scale
    """
    from fairstow.cli import simulating

    simulating.simulate(
        simulating.Question(
            trace=trace,
            lengths=lengths,
            requests=requests,
            policy=policy,
            instances=instances,
            profile=profile,
            rate=rate,
            cv=cv,
            high=high,
            seed=seed,
            scale=scale,
        ),
        output,
        svg,
    )


@app.command(cls=Command, short_help="Simulate Spark jobs of several users under a policy.")
def spark(
    jobs: Annotated[
        str,
        typer.Option(
            "--jobs",
            metavar="FILE",
            help="Jobs to play, as CSV with the columns submit_s,user,weight,core_s,tasks; - for "
            "standard input.",
        ),
    ],
    policy: Annotated[
        str, typer.Option(metavar="NAME", help="The policy; an unknown name lists them.")
    ] = "uwfq",
    cores: Annotated[
        int, typer.Option(min=1, max=100_000, metavar="N", help="Cores that tasks share.")
    ] = 32,
    output: options.Picture = options.PictureOutput.TABLE,
    debug: options.Debug = False,
) -> None:
    """Simulate Spark jobs of several users under a policy: response, slowdown, fairness.

    Each job is one stage of equal tasks of one core (docs/spark.md).

    Examples:
      # User-weighted fair queueing on 32 cores
      {program} simulate spark --jobs jobs.csv

      # Spark's FAIR by job, for a script
      {program} simulate spark --jobs jobs.csv --policy fair -o json

      # A lane for each user in virtual time
      {program} simulate spark --jobs jobs.csv --cores 64 -o svg > lanes.svg
    """
    from fairstow.cli import simulating_spark

    simulating_spark.simulate(jobs, policy, cores, output)
