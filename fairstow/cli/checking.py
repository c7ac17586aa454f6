"""The verdict on a plan as text and as an object."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from fairstow.api import WHAT_IF
from fairstow.cli.layout import count, wrapped
from fairstow.cli.making import describe
from fairstow.cli.sources import Source
from fairstow.cli.terminal import Look
from fairstow.packing.checker import Verdict


def verdict_text(
    verdict: Verdict, plan: dict[str, Any], source: Source, path: str, look: Look
) -> str:
    """Return the verdict as a person reads it."""
    lines = list(_supposes(plan, source))
    spec = plan.get("spec")
    if isinstance(spec, dict) and spec.get("snapshotHash") != source.snapshot.hash:
        lines.append(
            "The cluster isn't the one the plan was made from, or has changed since; the plan is "
            "checked against it as it is here."
        )
    if verdict.accepted:
        lines.append(
            f"{path}: accepted. All {count(verdict.steps_replayed, 'step')} are feasible one "
            f"after the other: {count(verdict.placements, 'placement')}, "
            f"{count(verdict.moves, 'move')}, {count(verdict.evictions, 'eviction')} for good, "
            f"cost {verdict.cost}."
        )
        lines += [f"- not checked: {note}" for note in verdict.notes]
        return _laid(lines, look)
    total = len(verdict.violations) + verdict.omitted
    lines.append(f"{path}: refused, with {count(total, 'violation')}:")
    lines += [f"- {describe(v)}" for v in verdict.violations]
    if verdict.omitted:
        lines.append(f"  ... and {verdict.omitted} more")
    lines += [f"- not checked: {note}" for note in verdict.notes]
    lines.append("Don't carry it out. Make a new plan: fairstow plan")
    return _laid(lines, look)


def _laid(lines: Sequence[str], look: Look) -> str:
    return "\n".join(
        wrapped(line, look.width, hanging="  " if line.startswith("- ") else "") for line in lines
    )


def _supposes(plan: dict[str, Any], source: Source) -> Iterator[str]:
    """Say where one of plan and cluster supposes pods that nobody has submitted."""
    metadata = plan.get("metadata")
    notes = metadata.get("annotations") if isinstance(metadata, dict) else None
    files = notes.get(WHAT_IF) if isinstance(notes, dict) else None
    if files is not None and source.what_if is None:
        yield (
            f"This is a what-if plan: it supposes that {files} was submitted, so without those "
            "pods it can't hold. Give them to the check too, with --with."
        )
    elif files is None and source.what_if is not None:
        yield ("The plan is of a cluster without the pods of --with. Leave --with out to check it.")
    elif source.what_if is not None:
        yield f"What if {source.what_if} submitted: no plan of the cluster as it is."


def verdict_object(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as JSON types, camelCase."""
    return _camel(asdict(verdict))  # type: ignore[no-any-return]


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {_name(key): _camel(each) for key, each in value.items()}
    return [_camel(each) for each in value] if isinstance(value, list | tuple) else value


def _name(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(part.title() for part in rest)
