"""Asks the API server who signs the tokens of its ServiceAccounts, and by which public keys.

Called by the cache controller each turn: a cluster publishes a new key before it signs by it. What
the API server says holds; the address that an issuer's name is isn't asked, since that may be
outside of the cluster.

Rights used: those of the role system:service-account-issuer-discovery.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from fairstow.kube.aio.api import Api
from fairstow.kube.problems import ApiError
from fairstow.semantic_cache.sidecar_file import Issuer
from fairstow.web.tokens import PublicKey, Signers

DISCOVERY, KEYS = "/.well-known/openid-configuration", "/openid/v1/jwks"
_ROLE = "system:service-account-issuer-discovery"


class UnknownIssuerError(Exception):
    """Why the keys of ServiceAccounts' tokens aren't known."""


class _Discovery(msgspec.Struct, frozen=True):
    issuer: Annotated[str, msgspec.Meta(min_length=1)]


class _Keys(msgspec.Struct, frozen=True):
    keys: list[PublicKey]


async def issuer_of(api: Api) -> Issuer:
    """Return the cluster's issuer; keys that sidecars couldn't use are left out.

    Raises:
        UnknownIssuerError: the API server doesn't tell.
    """
    try:
        name = msgspec.convert(await api.get(DISCOVERY), _Discovery).issuer
        found = msgspec.convert(await api.get(KEYS), _Keys).keys
    except ApiError as error:
        if error.status == 403:
            said = f"the operator may not get {DISCOVERY} and {KEYS}: bind the ClusterRole {_ROLE}"
            raise UnknownIssuerError(said) from error
        if error.status == 404:
            said = f"the API server has no {DISCOVERY}: its --service-account-issuer is no URL"
            raise UnknownIssuerError(said) from error
        raise
    except msgspec.ValidationError as error:
        raise UnknownIssuerError(f"{DISCOVERY} or {KEYS} can't be read: {error}") from error
    usable = sorted((key for key in found if _usable(key)), key=lambda key: key.kid)
    if not usable:
        raise UnknownIssuerError(f"{KEYS} has no key that is known: RSA from 2048 bits, or ECDSA")
    return Issuer(name, tuple(_said(key) for key in usable))


def _said(key: PublicKey) -> dict[str, str]:
    return {name: text for name, text in msgspec.structs.asdict(key).items() if text}


def _usable(key: PublicKey) -> bool:
    try:
        Signers([key])
    except ValueError:
        return False
    return True
