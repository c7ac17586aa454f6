"""Clients within the cluster: whose projected ServiceAccount token is shown instead of a key.

The token has to be made for this pool's gateways (its audience): one that leaks, or that a gateway
would misuse, is good for nothing else. What it says of itself is read first, so that the API server
is asked of none that isn't by a tenant's ServiceAccount, and of few at once: whoever shows forged
ones can neither keep it busy nor make the others wait for long. Its answers are remembered for a
minute (`Reviewer`), so that a token that was taken back is good for as long.

Called by `tenants`, made by `following`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container

import structlog

from fairstow.cluster.errors import InputError
from fairstow.kube import problems
from fairstow.kube.review import Access, Reviewer
from fairstow.web.errors import ApiError
from fairstow.web.tokens import account, claims

AT_ONCE = 4
MOST_WAITING = 64

log = structlog.get_logger(__name__)


class TokenAccounts:
    """See the module."""

    def __init__(self, reviewer: Reviewer, audience: str) -> None:
        self._reviewer = reviewer
        self._audience = audience
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def name(self, token: str, known: Container[str]) -> str:
        """Return the ServiceAccount, "" if it is none of those known. Raises ApiError."""
        said = claimed(token, self._audience)
        if said not in known:
            return ""
        if self._waiting >= MOST_WAITING:
            raise ApiError(503, "Too many tokens are being looked at.", retry_after=1)
        self._waiting += 1
        try:
            async with self._turn:
                answer = await self._reviewer.whose(token, self._audience)
        except (problems.ApiError, InputError) as error:
            log.error("can't ask whose token it is", error=str(error))
            raise ApiError(
                503, "The API server can't be asked whose token that is.", retry_after=5
            ) from error
        finally:
            self._waiting -= 1
        allowed = answer.access is Access.ALLOWED and account(answer.user) == said
        return said if allowed else ""


def claimed(token: str, audience: str) -> str:
    """Return whose token it says to be, as NAMESPACE/NAME, "" if it isn't for the audience."""
    said = claims(token)
    return account(said.sub) if said is not None and said.meant_for(audience) else ""
