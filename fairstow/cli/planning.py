"""`plan`: read, decide, check, show, create if asked; or read and check one that is there already.

Called by `main`. The solver process is started first, so that ortools loads while the cluster
is being read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import typer

from fairstow.cli import terminal
from fairstow.cli.applying import ONLY_SHOW, Apply, create
from fairstow.cli.errors import Code
from fairstow.cli.files import writable, write_whole
from fairstow.cli.live import Live
from fairstow.cli.making import Made, judge, make
from fairstow.cli.options import Goal, Order, PlanOutput
from fairstow.cli.progress import Progress
from fairstow.cli.serialise import as_json, as_yaml
from fairstow.cli.sources import Source, load, read_plan
from fairstow.cli.supposing import Outcome, heading, suppose
from fairstow.cli.text import Page, plan_text, unknown_budgets
from fairstow.cluster.errors import InputError
from fairstow.packing import model
from fairstow.packing.defragment.blocks import divide
from fairstow.packing.explain import explain_all
from fairstow.packing.worker import Worker

_ORDERS = {
    Order.PLACE_FIRST: model.Order.PLACE_FIRST,
    Order.TIER_BY_TIER: model.Order.TIER_BY_TIER,
}

_GOALS = {Goal.PLACE: model.Goal.PLACE, Goal.DEFRAGMENT: model.Goal.DEFRAGMENT}


@dataclass(frozen=True)
class Question:
    """What is asked of the planner, but for the cluster. Attributes: window, min_age: seconds."""

    window: float
    effort: int | None = None
    order: Order = Order.PLACE_FIRST
    seed: int = 0
    max_moves: int | None = None
    max_evictions: int = 0
    min_age: int = 0
    goal: Goal = Goal.PLACE
    blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse flags that contradict each other.

        Raises:
            InputError: they do.
        """
        if self.goal is Goal.DEFRAGMENT and self.effort is not None:
            raise InputError("--effort", "has no meaning with --goal defragment: use --window")
        if self.goal is Goal.PLACE and self.blocks:
            raise InputError("--block", "has no meaning without --goal defragment")
        if not divide(self.blocks):
            raise InputError(
                "--block",
                f"sizes {', '.join(map(str, sorted(self.blocks)))} don't divide one another",
                "Give one size, or sizes such as 8, 4 and 2.",
            )
        if self.goal is Goal.DEFRAGMENT and self.max_evictions:
            raise InputError(
                "--max-evictions",
                "contradicts --goal defragment",
                "Blocks are freed by moves alone: limit them with --max-moves.",
            )
        if self.goal is Goal.DEFRAGMENT and self.order is not Order.PLACE_FIRST:
            raise InputError("--order", "has no meaning with --goal defragment: nobody is placed")

    def of(self, source: Source) -> model.Request:
        """Return the planner's request."""
        return model.Request(
            snapshot=source.snapshot,
            order=_ORDERS[self.order],
            window=self.window,
            effort=self.effort,
            seed=self.seed,
            max_moves=self.max_moves,
            max_evictions=self.max_evictions,
            min_age=self.min_age,
            goal=_GOALS[self.goal],
            blocks=tuple(sorted(set(self.blocks), reverse=True)),
        )


def plan(
    question: Question,
    files: Sequence[str],
    live: Live,
    output: PlanOutput,
    report: str | None,
    namespace: str | None,
    manifests: Sequence[str] = (),
    *,
    apply: Apply = ONLY_SHOW,
) -> None:
    """Make a plan and show it; `manifests` hold pods that the cluster is supposed to have too."""
    apply.possible(files, manifests)
    if manifests and question.goal is Goal.DEFRAGMENT:
        raise InputError("--with", "has no meaning with --goal defragment: nobody is placed")
    if report is not None:
        writable(report)
    with Worker() as worker, Progress() as progress:
        source = load(files, live, keep=True, progress=progress.say, manifests=manifests)
        if namespace is not None:
            _known_namespace(source, namespace)
        progress.say("looking for a plan", question.window)
        request = question.of(source)
        made = make(source, request, worker)
        supposed = suppose(source, request, made.decision, worker)
        progress.say("writing")
        if report is not None:
            write_whole(report, _page(made, source).encode())
    _warn(source, made, output)
    terminal.write(_shown(made, source, supposed, output, namespace, report))
    if report is not None:
        terminal.note(f"The nodes before and after: {report}")
    if apply.asked:
        create(made, live, dry_run=apply.dry_run)


def _shown(
    made: Made,
    source: Source,
    supposed: Outcome,
    output: PlanOutput,
    namespace: str | None,
    report: str | None,
) -> str:
    """Return a plan in the form asked for."""
    match output:
        case PlanOutput.JSON:
            return as_json(made.wire)
        case PlanOutput.YAML:
            return as_yaml(made.wire)
        case PlanOutput.DIFF:
            from fairstow.cli.diff import diff

            return diff(made.decision, made.wire["metadata"]["name"])
        case _:
            look, wide = terminal.look(), output is PlanOutput.WIDE
            page = Page(
                made=made,
                flags=source.flags,
                cluster=source.cluster,
                program=terminal.program(),
                look=look,
                wide=wide,
                namespace=namespace,
                report=report,
                heading=tuple(heading(source, supposed, made.decision, look, wide=wide)),
            )
            return plan_text(page)


def _page(made: Made, source: Source) -> str:
    from fairstow.report import page

    if made.decision.request.goal is model.Goal.DEFRAGMENT:
        title = "Plan to defragment"
        return page(made.decision, made.plan, (), title=title, source=source.flags)
    explained = explain_all(
        source.snapshot, source.snapshot.pending, made.decision, source=source.flags
    )
    title = f"What if {source.what_if} submitted" if source.what_if else "Packing plan"
    return page(made.decision, made.plan, explained, title=title, source=source.flags)


def _known_namespace(source: Source, namespace: str) -> None:
    there = {pod.namespace for pod in source.snapshot.pods} | set(source.snapshot.namespaces)
    if namespace not in there:
        raise InputError("-n", f"no namespace {namespace} in the cluster", _named(there))


def _named(names: set[str]) -> str:
    some = sorted(names)[:10]
    return f"There are: {', '.join(some)}{', ...' if len(names) > 10 else ''}" if some else ""


def _warn(source: Source, made: Made, output: PlanOutput) -> None:
    for warning in source.warnings:
        terminal.warn(warning)
    said = output in (PlanOutput.TEXT, PlanOutput.WIDE)
    if not said and source.what_if is not None:
        terminal.note(f"What if {source.what_if} submitted: no plan of the cluster as it is.")
    if not said and not made.decision.budgets_known:
        terminal.note("Warning: " + "\n".join(unknown_budgets(source.flags)))


def check(
    path: str,
    files: Sequence[str],
    live: Live,
    output: PlanOutput,
    manifests: Sequence[str] = (),
) -> None:
    """Check a plan and show the verdict; a refusal is exit code 1."""
    from fairstow.cli.checking import verdict_object, verdict_text

    written: dict[str, Any] = read_plan(path)
    with Progress() as progress:
        source = load(files, live, keep=True, progress=progress.say, manifests=manifests)
        progress.say("checking")
        verdict = judge(source, written)
    for warning in source.warnings:
        terminal.warn(warning)
    if output is PlanOutput.JSON:
        terminal.write(as_json(verdict_object(verdict)))
    elif output is PlanOutput.YAML:
        terminal.write(as_yaml(verdict_object(verdict)))
    else:
        terminal.write(verdict_text(verdict, written, source, path, terminal.look()))
    if not verdict.accepted:
        raise typer.Exit(Code.REFUSED)
