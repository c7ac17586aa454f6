"""Tokens of Kubernetes' ServiceAccounts: what they say, and whether the cluster has signed it.

    token = base64url(head) . base64url(claims) . base64url(signature of "head.claims")     RFC 7519

A signature is checked by the cluster's public keys (RFC 7517), which say nothing of a token that
was taken back: who needs to know asks the API server (`kube.review`). A key checks the one
algorithm that Kubernetes signs with by a key of its kind, whatever a token says of itself. Called
by the gateway and the semantic cache's sidecar.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

LONGEST = 8192
_SUBJECT = "system:serviceaccount:"
_CURVES: dict[str, tuple[str, ec.EllipticCurve, HashAlgorithm]] = {
    "P-256": ("ES256", ec.SECP256R1(), SHA256()),
    "P-384": ("ES384", ec.SECP384R1(), SHA384()),
    "P-521": ("ES512", ec.SECP521R1(), SHA512()),
}
_SMALLEST_RSA = 2048

Check = Callable[[bytes, bytes], None]
Part = TypeVar("Part")


class Claims(msgspec.Struct, frozen=True):
    """What a token says. `nbf`, `exp`: seconds since 1970 between which it is good."""

    sub: str
    aud: list[str] | str
    iss: str = ""
    nbf: float = 0.0
    exp: float = 0.0

    def meant_for(self, audience: str) -> bool:
        """Whether it was made for an audience."""
        return audience in ([self.aud] if isinstance(self.aud, str) else self.aud)


class PublicKey(msgspec.Struct, frozen=True):
    """A key as RFC 7517 writes it; what isn't for signatures by RSA or ECDSA is left out."""

    kty: str
    kid: str = ""
    n: str = ""
    e: str = ""
    crv: str = ""
    x: str = ""
    y: str = ""


class _Head(msgspec.Struct, frozen=True):
    alg: str
    kid: str = ""


def claims(token: str) -> Claims | None:
    """Return what a token says of itself, which nobody has checked; None if it is none."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > LONGEST:
        return None
    return _read(parts[1], Claims)


def account(user: str) -> str:
    """Return a ServiceAccount as NAMESPACE/NAME, "" if the user is none."""
    if not user.startswith(_SUBJECT):
        return ""
    return user.removeprefix(_SUBJECT).replace(":", "/", 1)


class Signers:
    """A cluster's public keys. Raises ValueError for one that can't be used."""

    def __init__(self, keys: Sequence[PublicKey]) -> None:
        self._checks = {each.kid: _check_by(each) for each in keys}

    def signed(self, token: str) -> Claims | None:
        """Return what a token says if one of the keys has signed it."""
        said = claims(token)
        head = None if said is None else _read(token.split(".", maxsplit=1)[0], _Head)
        if head is None or head.kid not in self._checks:
            return None
        algorithm, check = self._checks[head.kid]
        signed, _, signature = token.rpartition(".")
        try:
            if head.alg == algorithm:
                check(_bytes(signature), signed.encode())
                return said
        except (InvalidSignature, ValueError):
            pass
        return None


def _check_by(key: PublicKey) -> tuple[str, Check]:
    """Return the algorithm of a key, and what raises InvalidSignature."""
    if key.kty == "RSA":
        public = rsa.RSAPublicNumbers(_number(key.e), _number(key.n)).public_key()
        if public.key_size < _SMALLEST_RSA:
            raise ValueError(f"a key of {public.key_size} bits is too small")
        return "RS256", lambda it, said: public.verify(it, said, padding.PKCS1v15(), SHA256())
    if key.kty != "EC" or key.crv not in _CURVES:
        raise ValueError(f"a key of the kind {key.kty} {key.crv} isn't known".replace("  ", " "))
    algorithm, curve, digest = _CURVES[key.crv]
    point = ec.EllipticCurvePublicNumbers(_number(key.x), _number(key.y), curve).public_key()

    def check(signature: bytes, said: bytes) -> None:
        half = (curve.key_size + 7) // 8
        if len(signature) != 2 * half:
            raise InvalidSignature
        r, s = (int.from_bytes(part) for part in (signature[:half], signature[half:]))
        point.verify(encode_dss_signature(r, s), said, ec.ECDSA(digest))

    return algorithm, check


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text))


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _read(part: str, kind: type[Part]) -> Part | None:
    try:
        return msgspec.json.decode(_bytes(part), type=kind)
    except (ValueError, RecursionError):
        return None
