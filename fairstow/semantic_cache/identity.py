"""Who asks: the hard partition that an answer never leaves.

A namespace is a string that entries, indexes, streams and flights are kept under; there is no
similarity between two, and no code compares entries of two. It is the SHA-256 of what makes the
identity, each part preceded by its length, so that no two identities can be written alike
("a" + "bc", "ab" + "c"). Client placement: the pod's Kubernetes namespace and ServiceAccount, as
the webhook wrote them. Server placement: what the token review, certificate or key says; a key
enters as an HMAC with the cache's secret, so that a namespace's name betrays none. Both are split
by the request's `user` and `safety_identifier`. Nobody known → no namespace → no cache.
Called by `decision`'s callers before any look-up.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

LONGEST_USER = 512
"""Characters of `user` or `safety_identifier`; a longer one is no name."""


class Workload(msgspec.Struct, frozen=True, tag=True):
    """The pod that a sidecar serves."""

    cluster: str
    namespace: str
    service_account: str


class Reviewed(msgspec.Struct, frozen=True, tag=True):
    """A client whose token or certificate was reviewed; `issuer` says by whom."""

    issuer: str
    subject: str


class Key(msgspec.Struct, frozen=True, tag=True):
    """A client known by an API key that the upstream accepted lately."""

    digest: str

    @classmethod
    def of(cls, key: str, secret: bytes) -> Key:
        """Return the identity that an API key is."""
        return cls(hmac.new(secret, key.encode(), hashlib.sha256).hexdigest())


Caller = Workload | Reviewed | Key


def namespace(caller: Caller | None, body: Mapping[str, Any]) -> str | None:
    """Return where answers for this request are kept, None where they must not be."""
    if caller is None or not all(msgspec.structs.astuple(caller)):
        return None
    parts = [type(caller).__name__, *map(str, msgspec.structs.astuple(caller))]
    for field in ("user", "safety_identifier"):
        said = body.get(field)
        if said is None:
            parts.append("")
        elif isinstance(said, str) and len(said) <= LONGEST_USER:
            parts.append(f"={said}")
        else:
            return None
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()
