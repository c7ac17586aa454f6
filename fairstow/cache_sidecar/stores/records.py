"""What a store keeps of an entry: its head (what look-ups need) and its answer, each sealed.

    sealed = 0 · BLAKE2b-128(name, data) · data                     without keys
    sealed = 1 · len(id) · id · nonce · AES-GCM(key, nonce, data; name)     with keys, by their id

The name is of the entry and of the part. A part that was torn, damaged, or put under another name
isn't opened: the entry is as if it had never been there. Where there are keys, nothing opens that
wasn't closed with one of them. The first key closes, all of them open: to change it, put a new one
first, and take the old one out once what it closed has expired. The head is kept apart from the
answer, so that a restart reads heads only. Called by the stores.
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fairstow.cache_sidecar.kept import Answer
from fairstow.cluster.errors import InputError

_DIGEST, _NONCE = 16, 12
_PLAIN, _ENCRYPTED = b"\0", b"\1"
_EXAMPLE = "Write lines of ID:KEY; make a key by: openssl rand -base64 32."


class StoreError(Exception):
    """A store can't be had, or refuses."""


class Head(msgspec.Struct, frozen=True, array_like=True):
    """An entry without its answer.

    Attributes:
        namespace: who may be given it. fingerprint: in which context.
        tenant: whose quota it counts against. question: None where it is for the exact tier only.
        stored, expires: seconds since 1970.
        saved: seconds that the upstream took.
        forms: how the answer can be told (`kept.Form`).
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


class Label(msgspec.Struct, frozen=True, array_like=True):
    """What became known of a hit: whether its answer was wrong.

    Attributes:
        similarity: of the questions, by this model. at: the threshold that found it.
    """

    category: str
    model: str
    similarity: float
    at: float
    wrong: bool


class Purged(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which entries an owner wants gone: those that all fields name; without any, all."""

    entry: str | None = None
    category: str | None = None
    tenant: str | None = None

    def means(self, entry: str, category: str, tenant: str) -> bool:
        """Whether an entry is among them."""
        return (
            self.entry in (None, entry)
            and self.category in (None, category)
            and self.tenant in (None, tenant)
        )


MOST_LABELS = 20_000
"""A store keeps the last."""

Part = TypeVar("Part", Head, Answer)


class Seal:
    """See the module.

    Args:
        keys: by their ids, of 32 bytes each; the first closes.
        whose: what is closed for one is nobody else's.
    """

    def __init__(self, keys: Mapping[str, bytes] | None = None, whose: str = "") -> None:
        self._whose = whose
        self._keys = {name.encode(): AESGCM(key) for name, key in (keys or {}).items()}

    def close(self, entry: str, part: Head | Answer) -> bytes:
        """Return what is written of an entry."""
        return self.shut(self._name(entry, type(part)), msgspec.msgpack.encode(part))

    def open(self, entry: str, sealed: bytes, kind: type[Part]) -> Part | None:
        """Return what was written, None if it isn't that any more."""
        data = self.opened(self._name(entry, kind), sealed)
        if data is None:
            return None
        try:
            return msgspec.msgpack.decode(data, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None  # whole, but of another version

    def close_label(self, label: Label) -> bytes:
        """Return what is written of a label."""
        return self.shut(b"label", msgspec.msgpack.encode(label))

    def label(self, sealed: bytes) -> Label | None:
        """Return the label that was written, None if it isn't that any more."""
        data = self.opened(b"label", sealed)
        try:
            return None if data is None else msgspec.msgpack.decode(data, type=Label)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def shut(self, name: bytes, data: bytes) -> bytes:
        """Return data as it is written under a name."""
        if not self._keys:
            return _PLAIN + _digest(name, data) + data
        key, cipher = next(iter(self._keys.items()))
        nonce = secrets.token_bytes(_NONCE)
        closed = cipher.encrypt(nonce, data, name)
        return b"".join((_ENCRYPTED, bytes((len(key),)), key, nonce, closed))

    def opened(self, name: bytes, sealed: bytes) -> bytes | None:
        """Return what was written under a name, None if it isn't that any more."""
        kind, rest = sealed[:1], sealed[1:]
        if not self._keys:
            digest, data = rest[:_DIGEST], rest[_DIGEST:]
            return data if kind == _PLAIN and digest == _digest(name, data) else None
        if kind != _ENCRYPTED or not rest:
            return None
        size = rest[0]
        cipher = self._keys.get(rest[1 : 1 + size])
        nonce, closed = rest[1 + size : 1 + size + _NONCE], rest[1 + size + _NONCE :]
        if cipher is None or len(nonce) != _NONCE:
            return None
        try:
            return cipher.decrypt(nonce, closed, name)
        except InvalidTag:
            return None

    def _name(self, entry: str, kind: type[Head | Answer]) -> bytes:
        return f"{self._whose}{kind.__name__}:{entry}".encode()


def read_keys(path: Path) -> dict[str, bytes]:
    """Return the keys of a file by their ids. Raises InputError, OSError."""
    keys: dict[str, bytes] = {}
    for number, line in enumerate(path.read_text().split(), 1):
        name, _, coded = line.partition(":")
        try:
            key = b64decode(coded, validate=True)
        except Base64Error:
            key = b""
        if not 0 < len(name.encode()) < 256 or len(key) != 32 or name in keys:
            raise InputError(f"{path}, key {number}", "is no new id with 32 bytes", _EXAMPLE)
        keys[name] = key
    if not keys:
        raise InputError(str(path), "there is no key in it", _EXAMPLE)
    return keys


def _digest(name: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST, key=name[:64]).digest()
