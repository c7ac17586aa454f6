"""Who may use an admin port. Called with each request by the admin applications."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from fairstow.web.errors import ApiError

Guard = Callable[[str, str], Awaitable[None]]
"""Is given a request's Authorization and path; raises ApiError unless it is let in."""


def token_guard(token: str) -> Guard:
    """Let in who shows this token."""

    async def guard(authorization: str, _path: str) -> None:
        scheme, _, given = authorization.partition(" ")
        same = hmac.compare_digest(given.strip().encode("latin-1", "replace"), token.encode())
        if scheme.lower() != "bearer" or not same:
            raise ApiError(401, "Send the admin token: Authorization: Bearer …")

    return guard


def scraped(guard: Guard, token: str, paths: frozenset[str] = frozenset({"/metrics"})) -> Guard:
    """Let whoever shows this token read these paths, and be strict about all else.

    Prometheus' own token would be good for more than this port, whose certificate nobody can
    verify.
    """
    reader = token_guard(token)

    async def either(authorization: str, path: str) -> None:
        if path in paths:
            try:
                await reader(authorization, path)
            except ApiError:
                await guard(authorization, path)
            return
        await guard(authorization, path)

    return either


async def local_guard(_authorization: str, _path: str) -> None:
    """Let everybody in: only this machine reaches the port."""
