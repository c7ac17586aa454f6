"""The program's commands and flags; each command's work is in a module of its own.

Called by `main`. What is heavy (the solver, the Kubernetes client, rich) is imported when a command
needs it, so that help is there at once.
"""

# ruff: noqa: PLR0913, PLR0917, ARG001
# A command has as many parameters as flags; `debug` is read by `Command` before it runs.

from math import ceil
from typing import Annotated

import typer

from fairstow.cli import caching, options, simulations, spark_verbs, terminal, verbs
from fairstow.cli.command import Command, Group
from fairstow.cluster.errors import InputError

app = typer.Typer(
    cls=Group,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def run() -> None:
    """Run the program on the arguments it was called with."""
    app(prog_name=terminal.program())


def _print_version() -> None:
    from importlib.metadata import version as installed

    terminal.write(f"fairstow {installed('fairstow')}")


def _version_asked(asked: bool) -> None:
    if asked:
        _print_version()
        raise typer.Exit


@app.callback()
def fairstow(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_version_asked, is_eager=True
        ),
    ] = False,
) -> None:
    """Find room for pods that stay pending although the cluster has it.

    plan, explain and pools read a cluster, or a dump of one (-f), with nothing installed there, and
    change nothing. The verbs on plans and policies need Fairstow's custom resources.

    Exit codes: 0 done; 1 refused, such as a plan that can't be approved any more; 2 input that
    can't be used; 3 the cluster can't be reached or refuses access; 4 a fault of Fairstow's own.
    """


@app.command(cls=Command, short_help="Find places for pending pods by moving running ones.")
def plan(
    filename: options.Files = None,
    manifests: options.With = None,
    output: Annotated[
        options.PlanOutput, typer.Option("-o", "--output", help="How to show the plan.")
    ] = options.PlanOutput.TEXT,
    report: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Also write a page with the nodes before and after."),
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(metavar="PLAN", help="Make no plan but check this one, JSON or YAML."),
    ] = None,
    apply: Annotated[
        bool,
        typer.Option("--apply", help="Also create the plan in the cluster, to be approved there."),
    ] = False,
    dry_run: options.DryRun = False,
    window: options.Window = "10s",
    effort: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=options.MOST,
            metavar="UNITS",
            help="Search for so much work, about a second of one core each, and not by the clock: "
            "the same question gets the same plan.",
            show_default=False,
        ),
    ] = None,
    order: Annotated[
        options.Order,
        typer.Option(
            help="place-first: all placements before the least disturbance. tier-by-tier: no pod "
            "moves for the sake of a lower priority."
        ),
    ] = options.Order.PLACE_FIRST,
    goal: Annotated[
        options.Goal,
        typer.Option(
            help="place: run the most pending pods. defragment: free the largest blocks of "
            "accelerators by moves alone; pending pods stay pending."
        ),
    ] = options.Goal.PLACE,
    block: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=options.MOST,
            metavar="SIZE",
            help="Free blocks of this size; can be given several times. Without it: powers of two "
            "up to the largest node.",
            show_default=False,
        ),
    ] = None,
    max_moves: Annotated[
        int | None,
        typer.Option(
            min=0, max=options.MOST, metavar="N", help="Most pods to move. No limit without it."
        ),
    ] = None,
    max_evictions: Annotated[
        int,
        typer.Option(
            min=0,
            max=options.MOST,
            metavar="N",
            help="Most pods of lower priority to evict for good.",
        ),
    ] = 0,
    min_age: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Leave pods alone that have run for less, such as 10m.",
            show_default=False,
        ),
    ] = None,
    seed: options.Seed = 0,
    namespace: options.Namespace = None,
    all_namespaces: options.AllNamespaces = False,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Find places for pending pods by moving running ones, and prove what can't be bettered.

    The plan is for the whole cluster, is checked step by step before it is shown, and changes
    nothing, but for --apply, which creates it as a PackingPlan for a person to approve. Exit code
    0: a plan was made or nothing needs one; 1: --check refused a plan.

    Examples:
      # Plan for the cluster that kubectl talks to
      {program} plan

      # Plan for a dump, with nothing installed and no access to the cluster
      {fetch}
      {program} plan -f cluster.json

      # Draw the nodes before and after
      {program} plan -f cluster.json --report plan.html

      # Free whole nodes of 8 GPUs by at most 50 moves
      {program} plan --goal defragment --max-moves 50 --block 8

      # Keep the plan, and check it against the cluster an hour later
      {program} plan -o json > plan.json
      {program} plan --check plan.json

      # Would this run if I submitted it?
      {program} plan --with job.yaml

      # Make the plan an object of the cluster, then have it carried out
      {program} plan --apply
      {program} approve plan/plan-3f9a1c07
    """
    from fairstow.cli import planning
    from fairstow.cli.applying import Apply

    live = options.live(kubeconfig, context)
    shown = options.only(namespace, all_namespaces)
    if check is not None:
        if apply:
            raise InputError("--apply", "makes a plan, so --check has no meaning")
        planning.check(check, filename or (), live, output, manifests or ())
        return
    question = planning.Question(
        window=options.cap(options.seconds(window), effort),
        effort=effort,
        order=order,
        seed=seed,
        max_moves=max_moves,
        max_evictions=max_evictions,
        min_age=0 if min_age is None else ceil(options.seconds(min_age, "--min-age", 168)),
        goal=goal,
        blocks=tuple(block or ()),
    )
    planning.plan(
        question, filename or (), live, output, report, shown, manifests or (),
        apply=Apply(asked=apply, dry_run=dry_run),
    )  # fmt: skip


@app.command(cls=Command, short_help="Say why a pod waits and what would let it run.")
def explain(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="pod/NAME",
            help="The pod; pod/NAMESPACE/NAME works too. Not needed with --with.",
            show_default=False,
        ),
    ] = None,
    filename: options.Files = None,
    manifests: options.With = None,
    output: options.TextOrJson = options.Output.TEXT,
    no_plan: Annotated[
        bool, typer.Option("--no-plan", help="Don't look for a plan that would help.")
    ] = False,
    window: options.Window = "10s",
    seed: options.Seed = 0,
    namespace: options.Namespace = None,
    all_namespaces: options.AllNamespaces = False,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Say why a pod waits, which nodes come close, and what would let it run.

    Examples:
      # Why does this pod wait?
      {program} explain pod/trainer-0 -n team-a

      # The same from a dump, without looking for a plan
      {program} explain pod/team-a/trainer-0 -f cluster.json --no-plan

      # Would this run if I submitted it, and if not, why?
      {program} explain --with job.yaml
    """
    from fairstow.cli import explaining
    from fairstow.cli.planning import Question

    explaining.explain(
        what or (),
        options.only(namespace, all_namespaces),
        filename or (),
        options.live(kubeconfig, context),
        None if no_plan else Question(window=options.seconds(window), seed=seed),
        output,
        manifests or (),
    )


@app.command(cls=Command, short_help="List GPUs by product, or the engines of serving pools.")
def pools(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[POOL]", help="With --serving: one pool.", show_default=False),
    ] = None,
    serving: Annotated[
        bool, typer.Option("--serving", help="The LLM engines of ServingPools instead.")
    ] = False,
    watch: options.Watch = False,
    namespace: options.Namespace = None,
    all_namespaces: options.AllNamespaces = False,
    filename: options.Files = None,
    output: Annotated[
        options.Output, typer.Option("-o", "--output", help="How to show them.")
    ] = options.Output.TEXT,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """List GPUs by product: how many are free, the largest hole, and who waits for them.

    With --serving, list the engines of ServingPools: what they do, how full they are, how many
    decode steps their free memory lasts.

    Examples:
      # The pools of the cluster that kubectl talks to
      {program} pools

      # Those of a dump, for a script
      {program} pools -f cluster.json -o json

      # The engines of the serving pools in a namespace, and every change
      {program} pools --serving -n chat -w
    """
    from fairstow.cli import pooling, serving_pools

    reached = options.live(kubeconfig, context)
    if serving:
        options.refuse("-f", "reads no status of serving pools", when=bool(filename))
        shown = options.only(namespace, all_namespaces)
        serving_pools.engines(reached, name, shown, output, watch=watch)
        return
    alone = name is not None or watch or namespace is not None
    options.refuse("POOL, -n and -w", "are for --serving", when=alone)
    pooling.show(filename or (), reached, output)


@app.command(cls=Command, short_help="Write the cluster's state to one file.")
def snapshot(
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where to write it; compressed if it ends in .gz, - for standard output.",
        ),
    ],
    filename: options.Files = None,
    anonymize: Annotated[
        bool,
        typer.Option(
            "--anonymize",
            help="Replace every name by a pseudonym and leave out what decides nothing, so that "
            "it can be posted.",
        ),
    ] = False,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Write the cluster's state to one file that -f reads.

    Holds what a plan looks at: nodes, pods, disruption budgets, priority classes, namespaces and
    the owners of pods. Left out are Secrets, ConfigMaps and the environment of containers.

    Examples:
      # Take the state of the cluster that kubectl talks to
      {program} snapshot -o cluster.json.gz

      # Put dumps together in one clean file
      {program} snapshot -f nodes.json -f pods.yaml -o cluster.json.gz

      # Write one that can be posted in a bug report, and decides the same
      {program} snapshot -f cluster.json.gz --anonymize -o post.json.gz
    """
    from fairstow.cli import snapshotting

    snapshotting.snapshot(
        output, filename or (), options.live(kubeconfig, context), anonymize=anonymize
    )


verbs.register(app)
spark_verbs.register(app)
app.add_typer(simulations.app, name="simulate", short_help="Simulate without a cluster.")
app.add_typer(caching.app, name="cache", short_help="Try a semantic cache on your own questions.")


@app.command(cls=Command, short_help="Print the version.")
def version(debug: options.Debug = False) -> None:
    """Print the version.

    Examples:
      {program} version
    """
    _print_version()
