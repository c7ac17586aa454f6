"""What each call of the scheduler is answered, from the bytes of a request to those of its answer.

`protocol.py` calls it, `service.py` puts it together. What is decided is in `plugins/`; here is
the order of it, and nothing waits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from fairstow.cluster.items import Item
from fairstow.cluster.model import Pod
from fairstow.cluster.reading import Reader
from scheduler_plugins import metrics, wire
from scheduler_plugins.index import Index
from scheduler_plugins.plugins import preempt, steer
from scheduler_plugins.protocol import BadRequestError, Handler

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_args = msgspec.json.Decoder(wire.Args)
_names = msgspec.json.Decoder(list[str])
_whole_pod = msgspec.json.Decoder(wire.WholePod)
_reader = Reader(live=True, intern=lambda value: value)
_preemption_args = msgspec.json.Decoder(wire.PreemptionArgs)


class Verbs:
    """The verbs of one extender."""

    def __init__(self, index: Index) -> None:
        self._index = index

    @property
    def handlers(self) -> Mapping[bytes, Handler]:
        """The verbs by path."""
        verbs = {"filter": self.filter, "prioritize": self.prioritize, "preempt": self.preempt}
        return {b"/" + name.encode(): _measured(name, verb) for name, verb in verbs.items()}

    def filter(self, body: bytes) -> bytes:
        """Answer which of the nodes that passed the scheduler's own filters remain."""
        args = _args.decode(body)
        reservations, assumed = self._index.reservations, self._index.assumed

        # 1. The scheduler asks anew: what it was answered before didn't come about.
        assumed.release(args.pod.metadata.uid)
        if not reservations.plans:
            return _encode(wire.FilterResult(args.node_names))
        assumed.expire()

        # 2. Who may take what.
        pod, nodes = self._pod(args.pod, body), _names.decode(args.node_names)
        if reservations.serves(pod):
            verdict = steer.narrowed(reservations.verdict(pod, nodes, assumed))
            verdict = steer.overlooked(verdict, reservations, pod, nodes, assumed)
        else:
            verdict = self._index.kept.verdict(reservations, pod, nodes)

        # 3. It may take kept room before the watch shows it.
        if verdict.steered:
            assumed.take(pod, verdict.nodes, steered=True)
            metrics.STEERED.inc()
        elif touched := reservations.nodes & set(verdict.nodes):
            assumed.take(pod, touched, steered=False)

        # 4. Unresolvable: evicting others there would bring this pod nothing.
        if verdict.reason is not None:
            metrics.FILTERED.labels(verdict.reason).inc(len(verdict.failed))
        return _encode(
            wire.FilterResult(verdict.nodes, failed_and_unresolvable_nodes=dict(verdict.failed))
        )

    def prioritize(self, body: bytes) -> bytes:
        """Answer with the nodes' scores."""
        rooms = self._index.rooms
        if rooms.blank:
            return b"[]"
        args = _args.decode(body)
        nodes = _names.decode(args.node_names)
        scores = rooms.scores(self._pod(args.pod, body).shape.requests, nodes)
        found = zip(nodes, scores, strict=True)
        return _encode([wire.HostPriority(node, score) for node, score in found if score])

    def preempt(self, body: bytes) -> bytes:
        """Answer on which nodes the scheduler may evict the victims it has chosen."""
        args = _preemption_args.decode(body)
        if self._index.reservations.plans and self._index.policies.auto:
            pod = self._pod(args.pod, body)
            plans, auto = self._index.plans.all, self._index.policies.auto
            if preempt.veto(pod.uid, pod.workload, plans, auto):
                metrics.VETOED.inc()
                return b'{"NodeNameToMetaVictims":{}}'
        return _encode(wire.PreemptionResult(args.node_name_to_meta_victims))

    def _pod(self, pod: wire.Pod, body: bytes) -> Pod:
        """Return the pod as the watch shows it, or as the scheduler does if the watch lags."""
        known = self._index.live.pod(pod.metadata.uid)
        if known is not None:
            return known
        whole = Item("the scheduler", 0, "Pod", _whole_pod.decode(body).pod, "v1")
        read = _reader.read(whole).value
        if not isinstance(read, Pod):
            raise BadRequestError("The pod has ended already, so there is nothing to schedule.")
        return read


def _measured(name: str, verb: Handler) -> Handler:
    """Return the verb, timed, with what it can't read turned into a sentence."""
    observe = metrics.REQUEST_SECONDS.labels(name).observe
    refused = metrics.REFUSED.labels(name)

    def call(body: bytes) -> bytes:
        start = time.perf_counter()
        try:
            answer = verb(body)
        except (ValueError, RecursionError) as error:  # msgspec's and the model's own
            refused.inc()
            raise BadRequestError(
                f"The body isn't what kube-scheduler sends with nodeCacheCapable: true ({error})."
            ) from error
        observe(time.perf_counter() - start)
        return answer

    return call
