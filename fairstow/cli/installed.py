"""What the Fairstow that is installed in a cluster does about a pod, beside its explanation.

Called by `explaining`. A cluster without Fairstow, or a user who may not read its objects, gets the
explanation alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from fairstow.api.model import CustomResource
from fairstow.cli.errors import ClusterError
from fairstow.cli.layout import wrapped
from fairstow.cli.live import Live
from fairstow.cli.objects import PLANS, POLICIES, POOLS, Objects, objects
from fairstow.cli.terminal import Look
from fairstow.cluster.errors import InputError
from fairstow.packing.explain.underway import Installed, UnderWay


def installed(live: Live) -> tuple[Installed, list[str]]:
    """Return Fairstow's objects in a cluster, and what couldn't be read, a sentence each."""
    from fairstow.api import GpuPool, PackingPlan, PackingPolicy

    warnings: list[str] = []
    with objects(live) as api:
        try:
            plans = _all(api, PLANS, PackingPlan, warnings)
        except InputError:  # the kinds aren't installed
            return Installed(), warnings
        policies = _all(api, POLICIES, PackingPolicy, warnings)
        pools = _all(api, POOLS, GpuPool, warnings)
    return Installed(plans, policies, pools), warnings


def _all(
    api: Objects, resource: str, kind: type[CustomResource], warnings: list[str]
) -> tuple[Any, ...]:
    """Return a kind's objects, but for those that another version wrote."""
    from pydantic import ValidationError

    try:
        items = api.listed(resource)[0]
    except ClusterError as error:
        warnings.append(f"{resource} aren't told of: {error.cause.problem}")
        return ()
    found, foreign = [], 0
    for item in items:
        try:
            found.append(kind.model_validate(msgspec.json.decode(item)))
        except ValidationError:
            foreign += 1
    if foreign:
        warnings.append(f"{foreign} of {len(items)} {resource} are of another version of Fairstow")
    return tuple(found)


def under_way_text(said: UnderWay, look: Look) -> Iterator[str]:
    """Yield it as a person reads it."""
    lines = (*said.plans, *said.kept, *said.policies)
    if lines:
        yield from ("", "What Fairstow does about it")
        yield from (wrapped(line, look.width, "  - ", "    ") for line in lines)


def under_way_object(said: UnderWay) -> dict[str, Any]:
    """Return it as JSON types."""
    return {
        "plans": list(said.plans),
        "roomKeptForOthers": list(said.kept),
        "policies": list(said.policies),
    }
