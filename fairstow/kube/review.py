"""Who may use a port: the API server knows, as with kube-rbac-proxy.

A bearer token is shown to it by a TokenReview; whether that user may `get` the path, a
nonResourceURL, or act on a resource, is asked by a SubjectAccessReview. Called by `admin` and by
gateways.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from fairstow.kube.aio.api import Api
from fairstow.kube.aio.paths import path_of

REMEMBER_SECONDS = 60.0
_MOST = 1000


class Access(Enum):
    """What became of a request."""

    ALLOWED = "allowed"
    UNKNOWN_USER = "unknown user"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True)
class Answer:
    """An answer of the API server. Attributes: user: whose token it is, "" if nobody's."""

    access: Access
    user: str = ""


class Reviewer:
    """Asks the API server, and remembers its answers for a minute."""

    def __init__(self, api: Api, clock: Callable[[], float]) -> None:
        self._api = api
        self._clock = clock
        self._answers: dict[tuple[bytes, str, str], tuple[float, Answer]] = {}

    async def review(self, token: str, path: str) -> Answer:
        """Return whether the holder of a token may get a path.

        Raises:
            ApiError, InputError: the API server can't be asked.
        """
        return await self._known(token, {"nonResourceAttributes": {"path": path, "verb": "get"}})

    async def review_resource(
        self, token: str, attributes: Mapping[str, str], audience: str
    ) -> Answer:
        """Return whether the holder of a token made for an audience may do something to a resource.

        A token that was made for somebody else is nobody's here. Raises as `review`.
        """
        return await self._known(token, {"resourceAttributes": dict(attributes)}, audience)

    async def whose(self, token: str, audience: str) -> Answer:
        """Return whose token it is, made for an audience; ALLOWED if anybody's. As `review`."""
        return await self._known(token, {}, audience)

    async def _known(self, token: str, asked: dict[str, Any], audience: str = "") -> Answer:
        key = hashlib.sha256(token.encode()).digest(), repr(asked), audience
        until, answer = self._answers.get(key, (0.0, None))
        if answer is not None and until > self._clock():
            return answer
        answer = await self._ask(token, asked, audience)
        if len(self._answers) >= _MOST:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = self._clock() + REMEMBER_SECONDS, answer
        return answer

    async def _ask(self, token: str, asked: dict[str, Any], audience: str) -> Answer:
        spec: dict[str, Any] = {"token": token} | ({"audiences": [audience]} if audience else {})
        told = await self._create("authentication.k8s.io/v1", "TokenReview", spec)
        meant = not audience or audience in (told.get("audiences") or ())
        if not told.get("authenticated") or not meant:
            return Answer(Access.UNKNOWN_USER)
        user = told.get("user") or {}
        if not asked:
            return Answer(Access.ALLOWED, user.get("username", ""))
        subject = {
            "user": user.get("username", ""),
            "uid": user.get("uid", ""),
            "groups": user.get("groups") or [],
            "extra": user.get("extra") or {},
            **asked,
        }
        told = await self._create("authorization.k8s.io/v1", "SubjectAccessReview", subject)
        access = Access.ALLOWED if told.get("allowed") else Access.FORBIDDEN
        return Answer(access, subject["user"])

    async def _create(self, version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        review = {"apiVersion": version, "kind": kind, "spec": spec}
        reply = await self._api.create(path_of(version, kind), review)
        status: dict[str, Any] = reply.get("status") or {}
        return status
