"""The verdict on a plan as text and as an object."""

from dataclasses import asdict
from typing import Any

from fairstow.cli.layout import count, wrapped
from fairstow.cli.making import describe
from fairstow.cli.terminal import Look
from fairstow.packing.checker import Verdict


def verdict_text(
    verdict: Verdict, plan: dict[str, Any], snapshot_hash: str, path: str, look: Look
) -> str:
    """Return the verdict as a person reads it."""
    lines = []
    spec = plan.get("spec")
    if isinstance(spec, dict) and spec.get("snapshotHash") != snapshot_hash:
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
        return "\n".join(wrapped(line, look.width) for line in lines)
    total = len(verdict.violations) + verdict.omitted
    lines.append(f"{path}: refused, with {count(total, 'violation')}:")
    lines += [f"- {describe(v)}" for v in verdict.violations]
    if verdict.omitted:
        lines.append(f"  ... and {verdict.omitted} more")
    lines.append("Don't carry it out. Make a new plan: fairstow plan")
    return "\n".join(
        wrapped(line, look.width, hanging="  " if line.startswith("- ") else "") for line in lines
    )


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
