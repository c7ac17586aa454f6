"""Clients in the cluster, told apart by the ServiceAccount whose token they show.

Tokens are renewed every hour or so, and each pod has its own: as opaque keys they would be a
stranger each time. The sidecar runs in somebody's pod and may ask the API server nothing; it is
given the cluster's public keys with its configuration, and asks only whose name the cluster has
signed, for this audience, until when. That is no more than a name: whether the token is good for an
answer from memory is still for the upstream to say (`callers`). Made by `configuration`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import msgspec

from fairstow.semantic_cache.identity import Reviewed
from fairstow.web.tokens import PublicKey, Signers, account

_MOST = 4_096


class AccountsSpec(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Whose tokens are looked at.

    Attributes:
        issuer: of the cluster's tokens. audience: that they have to be made for.
        keys: the cluster's public keys (its /openid/v1/jwks).
    """

    issuer: str
    audience: str
    keys: tuple[PublicKey, ...]


class Accounts:
    """See the module. Raises ValueError for keys that can't be used."""

    def __init__(self, spec: AccountsSpec) -> None:
        if not (spec.issuer and spec.audience and spec.keys):
            raise ValueError("issuer, audience and keys are needed, all three")
        self._spec = spec
        self._signers = Signers(spec.keys)
        self._known: OrderedDict[bytes, tuple[float, float, str]] = OrderedDict()

    def whose(self, token: str, now: float) -> Reviewed | None:
        """Return whose token it is at a time (seconds since 1970); None: nobody's here."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._known.get(digest)
        if known is None:
            known = self._known[digest] = self._read(token)
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
        since, until, name = known
        return Reviewed(self._spec.issuer, name) if name and since <= now < until else None

    def _read(self, token: str) -> tuple[float, float, str]:
        said = self._signers.signed(token)
        if said is None or said.iss != self._spec.issuer or not said.meant_for(self._spec.audience):
            return 0.0, 0.0, ""
        return said.nbf, said.exp, account(said.sub)
