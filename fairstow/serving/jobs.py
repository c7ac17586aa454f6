"""What an engine is asked for, what it tells, and what it keeps of a job.

Called by `engine`, and by whoever drives one.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from fairstow.serving.kv_cache import Key
from fairstow.serving.model import Phase


class Job(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an engine is asked for.

    Attributes:
        prompt: tokens given, those generated on another engine before among them.
        output: tokens it generates until it ends, at least 1.
        priority: smaller first.
        keys: of the prompt's full blocks, from the first on, so that others' KV is used again;
            none keep the KV to itself.
    """

    id: str
    prompt: int
    output: int
    priority: int = 0
    keys: tuple[Key, ...] = ()


class Change(StrEnum):
    """What happened to a sequence."""

    FIRST = "first"  # its first token since it was submitted or preempted
    FINISH = "finish"
    PREEMPT = "preempt"


class Event(NamedTuple):
    """A change and when it came about."""

    at: float
    change: Change
    id: str


class Tracked:
    """A job on an engine."""

    __slots__ = ("ends", "found", "generated", "job", "keys", "offset", "order", "phase", "rank")

    def __init__(self, job: Job, order: int) -> None:
        self.job = job
        self.keys: list[Key] = list(job.keys)
        self.order = order  # of arrival here
        self.rank = (job.priority, order)  # in the queue
        self.generated = 0  # when it last left a batch
        self.offset = 0  # its length less the engine's steps, while it decodes
        self.found = 0  # blocks that its prefill need not compute
        self.ends = 0  # the engine's steps when its last token is out
        self.phase = Phase.QUEUED

    def __lt__(self, other: "Tracked") -> bool:
        return self.rank < other.rank
