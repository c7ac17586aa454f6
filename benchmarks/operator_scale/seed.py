"""Fills a cluster with tens of thousands of objects in seconds: straight into its etcd.

One object of each kind of pod goes through the API server, with all that its admission adds; the
others are copies of what came back, under their own names, UIDs and nodes, written where the API
server would store them. It reads JSON there as it reads what it writes itself, and shows them to
watches like any other change. Nothing of that is in the measured time.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.request
import uuid
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from e2e.controlplane.client import batched
from e2e.controlplane.components import LOOPBACK

if TYPE_CHECKING:
    from e2e.controlplane.components import Blueprint

Json = dict[str, Any]

_AT_ONCE = 100
"""Objects of one transaction; etcd takes 128 operations and 1.5 MB."""


def copies(stored: Json, wanted: Iterable[Json]) -> Iterator[Json]:
    """Yield what the API server would store for objects like one that it has stored already."""
    for each in wanted:
        own = each["metadata"] | {"uid": str(uuid.uuid4())}
        copied = stored | {"metadata": stored["metadata"] | own}
        if node := each.get("spec", {}).get("nodeName"):
            copied["spec"] = stored["spec"] | {"nodeName": node}
        copied["metadata"].pop("resourceVersion", None)  # etcd counts those
        yield copied


def key(obj: Json) -> str:
    """Return under which key the API server stores a node or a pod."""
    name = obj["metadata"]["name"]
    if obj["kind"] == "Node":
        return f"/registry/minions/{name}"
    return f"/registry/pods/{obj['metadata']['namespace']}/{name}"


class Etcd:
    """The etcd of a local cluster, by its JSON gateway."""

    def __init__(self, plan: Blueprint) -> None:
        self._url = f"https://{LOOPBACK}:{plan.ports.etcd}/v3/kv/txn"
        pair = plan.authority.issue("seed")
        self._context = ssl.create_default_context(cafile=str(plan.authority.pair.cert))
        self._context.load_cert_chain(pair.cert, pair.key)

    def put(self, objects: Iterable[Json]) -> None:
        """Store objects."""
        for batch in batched(list(objects), _AT_ONCE):
            puts = [
                {"requestPut": {"key": _coded(key(obj)), "value": _coded(json.dumps(obj))}}
                for obj in batch
            ]
            body = json.dumps({"success": puts}).encode()
            request = urllib.request.Request(self._url, body, method="POST")
            with urllib.request.urlopen(request, context=self._context, timeout=60) as reply:
                reply.read()


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
