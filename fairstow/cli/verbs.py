"""The commands on Fairstow's own objects in a running cluster; each one's work is elsewhere.

Called by `app`, which adds them to the program. As there, imports wait until a command needs them.
"""

# ruff: noqa: ARG001
# `debug` is read by `Command` before it runs.

from typing import Annotated

import typer

from fairstow.cli import options
from fairstow.cli.command import Command


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(cls=Command, short_help="List plans: how far they are, and who decided.")(plans)
    app.command(cls=Command, short_help="List plans that are over and what came of them.")(history)
    app.command(cls=Command, short_help="Show one plan: its steps, what it waits for.")(describe)
    app.command(cls=Command, short_help="Have a plan carried out.")(approve)
    app.command(cls=Command, short_help="Have a plan never carried out.")(reject)
    app.command(cls=Command, short_help="Stop a plan that is being carried out.")(abort)
    app.command(cls=Command, short_help="List policies and what they last did.")(policies)
    app.command(cls=Command, short_help="Have a policy look for a better placement now.")(run)
    app.command(cls=Command, short_help="Stop a policy from acting.")(suspend)
    app.command(cls=Command, short_help="Let a policy, queue or job go on.")(resume)
    app.command(cls=Command, short_help="Have LLM engines hand their requests over.")(drain)
    app.command(cls=Command, short_help="List LLM requests that moved.")(migrations)
    app.command(cls=Command, short_help="Examine an installation of Fairstow.")(doctor)


Listed = Annotated[options.ListOutput, typer.Option("-o", "--output", help="How to show them.")]
Touched = Annotated[
    str | None,
    typer.Option(
        "-n",
        "--namespace",
        help="Only plans that place, move or evict pods of this namespace.",
        show_default=False,
    ),
]


def plans(
    output: Listed = options.ListOutput.TABLE,
    watch: options.Watch = False,
    namespace: Touched = None,
    all_namespaces: options.AllNamespaces = False,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """List plans: what they do, how far they are, and who decided.

    Examples:
      # All plans
      {program} plans

      # Those that touch a namespace's pods, with what they say
      {program} plans -n team-a -o wide

      # Follow them
      {program} plans -w
    """
    from fairstow.cli import listing

    shown = options.only(namespace, all_namespaces)
    listing.plans(options.live(kubeconfig, context), output, shown, watch=watch, finished=False)


def history(
    output: Listed = options.ListOutput.TABLE,
    namespace: Touched = None,
    all_namespaces: options.AllNamespaces = False,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """List plans that are over: what came of them, why, when, and how long they took.

    Examples:
      # What was done to a namespace's pods lately
      {program} history -n team-a
    """
    from fairstow.cli import listing

    shown = options.only(namespace, all_namespaces)
    listing.plans(options.live(kubeconfig, context), output, shown, watch=False, finished=True)


def describe(
    what: options.What,
    output: Annotated[
        options.DescribeOutput, typer.Option("-o", "--output", help="How to show it.")
    ] = options.DescribeOutput.TEXT,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Show one plan: where it stands, what it waits for, and its steps.

    Examples:
      # Before approving it
      {program} describe plan/plan-3f9a1c07
    """
    from fairstow.cli import describing

    describing.describe(what, options.live(kubeconfig, context), output)


def approve(
    what: options.What,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Have a plan carried out. A decision stands: it can't be taken back, but `abort` stops it.

    Says what will happen, then asks back on a terminal. Needs the verbs get, patch and approve on
    packingplans.fairstow.dev. Exit code 0: it is approved; 1: it can't be any more, or you said no.

    Examples:
      # Approve a plan
      {program} approve plan/plan-3f9a1c07

      # Would it be allowed?
      {program} approve plan/plan-3f9a1c07 --dry-run
    """
    from fairstow.cli.deciding import Verb, decide

    live = options.live(kubeconfig, context)
    decide(Verb.APPROVE, what, live, yes=yes, dry_run=dry_run)


def reject(
    what: options.What,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Have a plan never carried out. A decision stands: it can't be taken back.

    Exit code 0: it is rejected; 1: it can't be any more, or you said no.

    Examples:
      # Reject a plan, without being asked back
      {program} reject plan/plan-3f9a1c07 --yes
    """
    from fairstow.cli.deciding import Verb, decide

    decide(Verb.REJECT, what, options.live(kubeconfig, context), yes=yes, dry_run=dry_run)


def abort(
    what: options.What,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Stop a plan: nothing further is evicted, and the room it keeps is released.

    Pods that are down already come back wherever the scheduler finds room. Exit code 0: it stops;
    1: it was over already, or you said no.

    Examples:
      # Stop a plan
      {program} abort plan/plan-3f9a1c07
    """
    from fairstow.cli.deciding import Verb, decide

    decide(Verb.ABORT, what, options.live(kubeconfig, context), yes=yes, dry_run=dry_run)


def policies(
    output: Listed = options.ListOutput.TABLE,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """List policies: what they may do, whether they can, and what came of their last run.

    Examples:
      # All policies, with why those that aren't ready aren't
      {program} policies -o wide
    """
    from fairstow.cli import listing

    listing.policies(options.live(kubeconfig, context), output)


def run(
    what: options.WhatPolicy,
    dry_run: options.DryRun = False,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Have a policy look for a better placement now, whatever its triggers say.

    Its mode, limits and maintenance windows hold as ever.

    Examples:
      # Look now
      {program} run policy/nightly
    """
    import time

    from fairstow.cli import steering

    live = options.live(kubeconfig, context)
    steering.run(what, live, int(time.time()), dry_run=dry_run)


def suspend(
    what: options.WhatPolicy,
    dry_run: options.DryRun = False,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Stop a policy: no new plan is made, and one under way stops after its current step.

    Examples:
      # Nothing is to move today
      {program} suspend policy/nightly
    """
    from fairstow.cli import steering

    steering.suspend(what, options.live(kubeconfig, context), on=True, dry_run=dry_run)


def resume(
    what: Annotated[
        list[str],
        typer.Argument(metavar="policy/NAME|queue/NAME|job/NAME", help="What is to go on."),
    ],
    namespace: options.JobNamespace = None,
    dry_run: options.DryRun = False,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Let a suspended policy act again, or end the hold of a Spark queue or application.

    Examples:
      # Go on
      {program} resume policy/nightly

      # Let applications go again
      {program} resume queue/analytics
    """
    from fairstow.cli import holding, steering

    live = options.live(kubeconfig, context)
    if holding.is_spark(what):
        holding.hold(what, live, namespace, on=False, dry_run=dry_run)
        return
    options.refuse("-n", "is for job/NAME", when=namespace is not None)
    steering.suspend(what, live, on=False, dry_run=dry_run)


def drain(
    what: Annotated[
        list[str], typer.Argument(metavar="pod/NAME|node/NAME", help="The engine, or its node.")
    ],
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", help="The pod's namespace.", show_default=False),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            "--deadline",
            metavar="DURATION",
            help="How long to wait for requests that can't be moved; by default as the pool says.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the engines may go.")
    ] = True,
    dry_run: options.DryRun = False,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Have LLM engines hand their requests over, so that their pods can go.

    They get no new requests, and those that run go on elsewhere. The pods themselves stay; delete
    the InstanceDrain to have an engine serve again. Exit code 0: no request is on them any more;
    1: some were, when the deadline was over.

    Examples:
      # Before deleting a pod
      {program} drain pod/llama-7d9c5-x2x4k -n chat

      # All engines of a node, for five minutes at most
      {program} drain node/gpu-7 --deadline 5m
    """
    from fairstow.cli import draining

    live = options.live(kubeconfig, context)
    draining.drain(what, live, namespace, deadline, wait=wait, dry_run=dry_run)


def migrations(
    name: Annotated[
        str | None, typer.Argument(metavar="[POOL]", help="One pool.", show_default=False)
    ] = None,
    output: options.Picture = options.PictureOutput.TABLE,
    watch: options.Watch = False,
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", help="The pools' namespace.", show_default=False),
    ] = None,
    all_namespaces: options.AllNamespaces = False,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """List the running requests of serving pools that moved from one engine to another.

    Those under way and the last fifty of each pool: from where to where, why, whether their memory
    was copied or computed again, how long they were, and for how long their clients heard nothing.
    Needs the verb list on servingpools.fairstow.dev.

    Examples:
      # What moved in a namespace
      {program} migrations -n chat

      # Follow one pool
      {program} migrations llama -n chat -w

      # A picture: engines over time, a line for each move
      {program} migrations -n chat -o svg > moves.svg
    """
    from fairstow.cli import serving_pools

    shown = options.only(namespace, all_namespaces)
    live = options.live(kubeconfig, context)
    serving_pools.migrations(live, name, shown, output, watch=watch)


def doctor(
    namespace: Annotated[
        str | None,
        typer.Option(
            "-n",
            "--namespace",
            help="The namespace of the installation; by default the one of its webhook.",
            show_default=False,
        ),
    ] = None,
    output: options.TextOrJson = options.Output.TEXT,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Examine an installation: versions, clocks, webhook, operator, extender, and your rights.

    Changes nothing. Exit code 0: nothing is broken, though some lines may say warn; 1: something
    is; each line says what to do.

    Examples:
      # Is everything there, and does it work together?
      {program} doctor
    """
    from fairstow.cli import doctoring

    doctoring.doctor(options.live(kubeconfig, context), namespace, output)
