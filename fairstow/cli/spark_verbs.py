"""The commands on queues of Spark applications; `spark_queues` and `holding` do the work.

Called by `app`, which adds them to the program. As there, imports wait until a command needs them.
"""

# ruff: noqa: ARG001, PLR0913, PLR0917
# A command has as many parameters as flags; `debug` is read by `Command` before it runs.

from typing import Annotated

import typer

from fairstow.cli import options
from fairstow.cli.command import Command


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(cls=Command, short_help="List Spark applications that wait or run.")(queue)
    app.command(cls=Command, short_help="Say why a Spark application waits.")(why)
    app.command(cls=Command, short_help="Show the order under other weights.")(whatif)
    app.command(cls=Command, short_help="Keep a Spark queue or application from going on.")(hold)


def hold(
    what: Annotated[
        list[str], typer.Argument(metavar="queue/NAME|job/NAME", help="What is to wait.")
    ],
    namespace: options.JobNamespace = None,
    dry_run: options.DryRun = False,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Keep a Spark queue or application from going on; what runs isn't touched.

    Examples:
      # Nothing more is let go
      {program} hold queue/analytics

      # Others may go before this one
      {program} hold job/nightly-report -n finance
    """
    from fairstow.cli import holding

    live = options.live(kubeconfig, context)
    holding.hold(what, live, namespace, on=True, dry_run=dry_run)


def queue(
    name: Annotated[
        str | None, typer.Argument(metavar="[QUEUE]", help="One queue.", show_default=False)
    ] = None,
    output: Annotated[
        options.QueueOutput,
        typer.Option("-o", "--output", help="How to show it; svg is lanes in virtual time."),
    ] = options.QueueOutput.TABLE,
    watch: options.Watch = False,
    everything: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    namespace: options.Namespace = None,
    all_namespaces: options.AllNamespaces = False,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """List Spark applications in queues: who waits, in which place, until about when, and why.

    Needs the verb list on sparkadmissions.fairstow.dev.

    Examples:
      # All that wait or run
      {program} queue -A

      # Follow one queue
      {program} queue analytics -w

      # Lanes in virtual time, as a picture
      {program} queue analytics -o svg > lanes.svg
    """
    from fairstow.cli import spark_queues

    shown = options.only(namespace, all_namespaces)
    live = options.live(kubeconfig, context)
    spark_queues.show(live, name, shown, output, watch=watch, everything=everything)


def why(
    what: Annotated[
        list[str],
        typer.Argument(metavar="job/NAME", help="The application; job/NAMESPACE/NAME works too."),
    ],
    namespace: options.Namespace = None,
    output: options.TextOrJson = options.Output.TEXT,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Say why a Spark application waits: its place, who is ahead, and when it may start.

    Examples:
      # Why doesn't it start?
      {program} why job/nightly-report-driver -n finance
    """
    from fairstow.cli import spark_queues

    spark_queues.why(options.live(kubeconfig, context), what, namespace, output)


def whatif(
    what: Annotated[
        list[str],
        typer.Argument(metavar="weight user=NAME:WEIGHT...", help="What is supposed."),
    ],
    queue: Annotated[
        str | None, typer.Option("--queue", help="Which, if there are several.", show_default=False)
    ] = None,
    output: options.TextOrJson = options.Output.TEXT,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Show in which order Spark applications would go if users had other weights.

    Changes nothing.

    Examples:
      # Ana three times as fast as others
      {program} whatif weight user=ana@example.com:3
    """
    from fairstow.cli import spark_queues

    options.refuse(
        "whatif", "takes: weight user=NAME:WEIGHT", when=what[0] != "weight" or not what[1:]
    )
    spark_queues.whatif(options.live(kubeconfig, context), what[1:], queue, output)
