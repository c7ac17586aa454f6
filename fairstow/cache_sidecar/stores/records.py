"""What a store keeps of an entry: its head (what look-ups need) and its answer, each sealed.

    sealed = BLAKE2b-128(id, part) · part

A part that was torn, damaged or put under another id isn't opened: the entry is as if it had never
been there. The head is kept apart from the answer, so that a restart reads heads only.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec

from fairstow.cache_sidecar.answers import Answer

_DIGEST = 16


class Head(msgspec.Struct, frozen=True, array_like=True):
    """An entry without its answer.

    Attributes:
        namespace: who may be given it. fingerprint: in which context.
        tenant: whose quota it counts against. question: None where it is for the exact tier only.
        stored, expires: seconds since 1970.
        saved: seconds that the upstream took.
        forms: how the answer can be told (`answers.Form`).
        model: the embedding's. vector: float16, little-endian; empty where there is none.
    """

    id: str
    namespace: str
    fingerprint: str
    tenant: str
    category: str
    question: str | None
    stored: float
    expires: float
    saved: float
    forms: int
    model: str
    vector: bytes


Part = TypeVar("Part", Head, Answer)


def seal(entry: str, part: Head | Answer) -> bytes:
    """Return what is written."""
    data = msgspec.msgpack.encode(part)
    return _digest(entry, data) + data


def unseal(entry: str, sealed: bytes, kind: type[Part]) -> Part | None:
    """Return what was written, None if it isn't that any more."""
    data = sealed[_DIGEST:]
    if sealed[:_DIGEST] != _digest(entry, data):
        return None
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.MsgspecError:
        return None  # whole, but of another version


def _digest(entry: str, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST, key=entry.encode()[:64]).digest()
