"""The commands under `cache` and their flags.

`calibrating`, `cache_stats` and `cache_pods` do their work, imported when a command needs them.
"""

# ruff: noqa: ARG001, PLR0913, PLR0917
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
    output: options.TextOrJson = options.Output.TEXT,
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


CacheName = Annotated[str, typer.Argument(metavar="CACHE", help="The SemanticCache.")]


@app.command(cls=Command, short_help="What caches answer, and whether it pays.")
def stats(
    name: Annotated[
        str | None, typer.Argument(metavar="[CACHE]", help="One cache.", show_default=False)
    ] = None,
    output: options.Picture = options.PictureOutput.TABLE,
    namespace: options.Namespace = None,
    all_namespaces: options.AllNamespaces = False,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Show what SemanticCaches answer by category: hit rate, break-even, threshold, quota, errors.

    WRONG counts the hits that were asked upstream again and came out different. QUOTA USED is the
    share that the tenant with most entries has. Needs the verb list on semanticcaches.fairstow.dev.

    Examples:
      # All caches of a namespace
      {program} cache stats -n shop

      # A picture
      {program} cache stats answers -n shop -o svg > answers.svg
    """
    from fairstow.cli import cache_stats

    shown = options.only(namespace, all_namespaces)
    cache_stats.stats(options.live(kubeconfig, context), name, shown, output)


@app.command(cls=Command, short_help="Why a request is answered from memory, or isn't.")
def explain(
    name: CacheName,
    question: Annotated[
        str | None, typer.Argument(help="What a user would ask.", show_default=False)
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("-f", "--filename", help="The body of a chat completion, JSON instead."),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("-H", "--header", metavar="NAME: VALUE", help="A header of the request."),
    ] = None,
    pod: Annotated[
        str | None, typer.Option(help="Whose sidecar is asked; by default the first by name.")
    ] = None,
    output: options.TextOrJson = options.Output.TEXT,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Say what would become of a request: tier, category, nearest entry, threshold, who said no.

    Nothing is asked upstream, kept or counted. Entries of requests that differ in more than the
    question don't count: give the whole body with -f, as the application sends it. In front of an
    engine the request needs the client's key, since others' entries are none of its business. Needs
    get on the cache's Secret and create on pods/portforward.

    Examples:
      # Beside an application
      {program} cache explain answers -f request.json -n shop

      # Which category is this?
      {program} cache explain answers "How do I reset my password?" -n shop

      # In front of an engine, as one of its clients
      {program} cache explain engine -f request.json -H "Authorization: Bearer $KEY" -n chat
    """
    from fairstow.cli import cache_pods

    asked = cache_pods.request_of(question, file, header or ())
    live, where = options.live(kubeconfig, context), _namespace(namespace, kubeconfig, context)
    cache_pods.explain(live, name, where, asked, output, pod)


@app.command(cls=Command, short_help="Remove entries from a cache.")
def purge(
    name: CacheName,
    entry: Annotated[str | None, typer.Option(help="One entry, as x-cache-entry names it.")] = None,
    category: Annotated[str | None, typer.Option(help="All of a category.")] = None,
    tenant: Annotated[str | None, typer.Option(help="All of a tenant.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All entries.")] = False,
    yes: options.Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many.")] = False,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Remove entries from every sidecar of a cache: those that all flags name.

    Says how many there are, then asks back on a terminal. Needs what `cache explain` needs.

    Examples:
      # The prices have changed
      {program} cache purge answers --category prices -n shop

      # Everything, from a script
      {program} cache purge answers --all --yes -n shop
    """
    from fairstow.cli import cache_pods

    what = {"entry": entry, "category": category, "tenant": tenant}
    chosen = {key: value for key, value in what.items() if value is not None}
    options.refuse(
        "cache purge", "needs --entry, --category or --tenant, or --all and none of them",
        when=everything == bool(chosen),
    )  # fmt: skip
    live, where = options.live(kubeconfig, context), _namespace(namespace, kubeconfig, context)
    said = {**chosen, "all": everything}
    cache_pods.purge(live, name, where, said, yes=yes, dry_run=dry_run)


@app.command(cls=Command, short_help="Say that an answer from memory was wrong.")
def feedback(
    name: CacheName,
    entry: Annotated[str, typer.Argument(help="The entry, as x-cache-entry names it.")],
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Say that an answer from memory was wrong: its entry is removed wherever it is.

    Needs what `cache explain` needs. Exit code 2: no sidecar has such an entry.

    Examples:
      # A user complained
      {program} cache feedback answers 5f1c9a… -n shop
    """
    from fairstow.cli import cache_pods

    live, where = options.live(kubeconfig, context), _namespace(namespace, kubeconfig, context)
    cache_pods.feedback(live, name, where, entry)


def _namespace(namespace: str | None, kubeconfig: str | None, context: str | None) -> str:
    from fairstow.kube.client import namespace_of

    return namespace or namespace_of(kubeconfig, context)
