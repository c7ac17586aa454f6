"""What each call of the scheduler is answered, from the bytes of a request to those of its answer.

`protocol.py` calls it, `service.py` puts it together. What is decided is in `plugins/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from scheduler_plugins import wire
from scheduler_plugins.protocol import BadRequestError, Handler

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_filter_args = msgspec.json.Decoder(wire.Args)
_preemption_args = msgspec.json.Decoder(wire.PreemptionArgs)


class Verbs:
    """The verbs of one extender."""

    @property
    def handlers(self) -> Mapping[bytes, Handler]:
        """The verbs by path."""
        return {
            b"/filter": self.filter,
            b"/prioritize": self.prioritize,
            b"/preempt": self.preempt,
        }

    def filter(self, body: bytes) -> bytes:
        """Answer which of the nodes that passed the scheduler's own filters remain."""
        args = _decoded(_filter_args.decode, body)
        return _encode(wire.FilterResult(args.node_names))

    def prioritize(self, body: bytes) -> bytes:
        """Answer with the nodes' scores."""
        _decoded(_filter_args.decode, body)
        return b"[]"

    def preempt(self, body: bytes) -> bytes:
        """Answer on which nodes the scheduler may evict the victims it has chosen."""
        args = _decoded(_preemption_args.decode, body)
        return _encode(wire.PreemptionResult(args.node_name_to_meta_victims))


def _decoded(decode: Callable[[bytes], T], body: bytes) -> T:
    try:
        return decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequestError(
            f"The body isn't what kube-scheduler sends with nodeCacheCapable: true ({error})."
        ) from error
