"""The commands under `cache` and their flags; `calibrating` does the work of `calibrate`."""

# ruff: noqa: ARG001
# `debug` is read by `Command` before it runs.

from typing import Annotated

import typer

from fairstow.cli import options
from fairstow.cli.command import Command, Group

app = typer.Typer(
    cls=Group,
    help="See what a semantic cache does, or would do.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
)


@app.callback()
def cache() -> None:
    """See what a semantic cache does, or would do."""


@app.command(cls=Command, short_help="Try thresholds on your own question pairs.")
def calibrate(
    pairs: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help='Lines of JSON: {"category", "a", "b", "same_answer"}; same_answer says whether '
            "the answer of one question serves the other. - for standard input.",
        ),
    ],
    wrong: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="The most of the pairs with different answers that may be served.",
        ),
    ] = 0.02,
    confidence: Annotated[
        float,
        typer.Option(min=0.5, max=0.9999, metavar="SHARE", help="Of the bound on that share."),
    ] = 0.95,
    output: Annotated[
        options.Output, typer.Option("-o", "--output", help="How to show it.")
    ] = options.Output.TEXT,
    debug: options.Debug = False,
) -> None:
    """Say how many questions a cache would have answered, and how many of them wrongly.

    Every pair is embedded, compared and judged as the cache does it; nothing leaves this machine.
    served is the share of pairs with the same answer that are answered from the cache, wrong the
    share of the others, the traps. The threshold is the one that serves most within --wrong.

    Examples:
      # Which threshold fits our questions?
      {program} cache calibrate --pairs questions.jsonl

      # At most 1 % of the traps, for a script
      {program} cache calibrate --pairs questions.jsonl --wrong 0.01 -o json
    """
    from fairstow.cli import calibrating

    calibrating.calibrate(pairs, wrong, confidence, output)
