"""What a ServingPool's status says of single engines and of the last requests that moved.

Written by the serving controller from the ledgers of the pool's gateways; shown by
`kubectl fairstow pools --serving` and `migrations`. It says nothing of what requests say.
"""

from typing import Annotated, Literal

from pydantic import Field

from fairstow.api.fields import BigCount, Count, Permille, Timestamp, Uid
from fairstow.api.model import Model

MOST_ENGINES = 256
MOST_MIGRATIONS = 50

Steps = Annotated[
    int,
    Field(strict=True, ge=-1_000_000, le=1_000_000, json_schema_extra={"format": "int32"}),
]
Short = Annotated[str, Field(max_length=253)]
Instance = Annotated[
    Short, Field(description="An engine's pod; the start of its uid where the name isn't known.")
]


class EngineStatus(Model):
    """One engine of the pool."""

    pod: Annotated[Short, Field(description="Its pod.")]
    pod_uid: Annotated[Uid, Field(description="The pod's metadata.uid.")]
    state: Annotated[
        Literal["Starting", "Serving", "Draining", "Lost"],
        Field(description="What the gateways do with it; the worst where they differ."),
    ]
    running: Annotated[Count, Field(description="Requests that run on it.")] = 0
    waiting: Annotated[Count, Field(description="Requests that wait on it for room.")] = 0
    memory_permille: Annotated[
        Permille | None, Field(description="How full its KV cache is, in thousandths.")
    ] = None
    freeness_steps: Annotated[
        Steps | None, Field(description="Decode steps for which its free memory lasts.")
    ] = None
    compatibility: Annotated[
        Short,
        Field(
            description="Requests go on only on engines of the same class: weights and the like."
        ),
    ] = ""
    problem: Annotated[str, Field(max_length=512, description="What is wrong with it.")] = ""


class Migration(Model):
    """One request that moved from an engine to another, or was to."""

    time: Annotated[Timestamp, Field(description="When it ended, or was last seen under way.")]
    request: Annotated[Short, Field(description="The request's id in its gateway.")]
    from_: Annotated[Instance, Field(alias="from")]
    to: Instance
    outcome: Annotated[
        Literal["UnderWay", "Copied", "Recomputed", "Stayed"],
        Field(
            description="Copied: its memory went with it. Recomputed: it was computed again there. "
            "Stayed: it goes on where it was."
        ),
    ]
    reason: Annotated[Short, Field(description="Why it moved, or what kept it.")] = ""
    tokens: Annotated[BigCount, Field(description="Tokens it had then, with its prompt's.")] = 0
    pause_milliseconds: Annotated[
        BigCount | None, Field(description="How long its client heard nothing.")
    ] = None
