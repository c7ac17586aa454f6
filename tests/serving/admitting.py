"""A new pod as the API server shows it to a webhook, and what a patch makes of it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import msgspec

from fairstow.cluster import review


def reviewed(pod: Any, namespace: str = "chat") -> review.Request:
    """Return the review of a pod's creation."""
    request = {
        "uid": "1",
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": namespace,
        "object": pod,
    }
    body = {"apiVersion": review.VERSION, "kind": "AdmissionReview", "request": request}
    return review.read(msgspec.json.encode(body))


def applied(pod: Any, patch: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the pod with a JSON patch of additions."""
    made: dict[str, Any] = copy.deepcopy(pod)
    for each in patch:
        assert each["op"] == "add"
        words = (word.replace("~1", "/") for word in each["path"].split("/")[1:])
        *way, last = words
        at: Any = made
        for part in way:
            at = at[int(part)] if isinstance(at, list) else at[part]
        if isinstance(at, list):
            at.insert(len(at) if last == "-" else int(last), each["value"])
        else:
            at[last] = each["value"]
    return made
