"""The API server's language: an AdmissionReview as a request, a reply as an AdmissionReview.

Called by controllers/webhook. Source: admission.k8s.io/v1; patches are JSONPatch (RFC 6902).
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from fairstow.cluster.errors import InputError, printable
from fairstow.cluster.items import sentence

Json = dict[str, Any]

VERSION = "admission.k8s.io/v1"
LONGEST_WARNING = 256
"""Characters of a warning beyond which the API server may cut it off."""

_REASONS = {403: "Forbidden", 429: "TooManyRequests"}
T = TypeVar("T", bound=msgspec.Struct)


class MalformedError(InputError):
    """The request's body isn't what the API server sends."""


class User(msgspec.Struct, frozen=True):
    """Who sent the request, as the API server authenticated them."""

    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = {}


class _Resource(msgspec.Struct, frozen=True):
    group: str
    version: str
    resource: str


class Request(msgspec.Struct, frozen=True, rename="camel"):
    """What somebody wants to do to one object."""

    uid: str
    resource: _Resource
    operation: str
    user_info: User = User()
    namespace: str = ""
    sub_resource: str = ""
    dry_run: bool = False
    object: Json | None = None
    old_object: Json | None = None

    @property
    def plural(self) -> str:
        """The resource as RBAC names it, such as packingplans.fairstow.dev."""
        group = f".{self.resource.group}" if self.resource.group else ""
        part = f"/{self.sub_resource}" if self.sub_resource else ""
        return self.resource.resource + part + group


class _Metadata(msgspec.Struct, frozen=True):
    name: str | None = None


class _Review(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    request: Request


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the API server is told.

    Attributes:
        denied: why the request is refused; "" lets it pass.
        status: the HTTP status of a refusal, 403 or 429.
        warnings: what the user is shown beside, a sentence each.
        patch: JSONPatch operations on the object.
    """

    denied: str = ""
    status: int = 403
    warnings: tuple[str, ...] = ()
    patch: tuple[Json, ...] = ()


def read(body: bytes) -> Request:
    """Return the request in a POST's body.

    Raises:
        MalformedError: it isn't an AdmissionReview of a version known here, or not complete.
    """
    try:
        review = msgspec.json.decode(body, type=_Review)
    except (ValueError, RecursionError) as error:
        problem = f"isn't an AdmissionReview ({sentence(error)})"
        raise MalformedError("request body", problem) from error
    if (review.api_version, review.kind) != (VERSION, "AdmissionReview"):
        found = printable(f"{review.api_version} {review.kind}")
        raise MalformedError("request body", f"is {found}, not {VERSION} AdmissionReview")
    return review.request


def write(request: Request, reply: Reply) -> bytes:
    """Return the body that answers `request`."""
    response: Json = {"uid": request.uid, "allowed": not reply.denied}
    if reply.denied:
        reason = _REASONS[reply.status]
        response["status"] = {"code": reply.status, "reason": reason, "message": reply.denied}
    if reply.warnings:
        response["warnings"] = [printable(text, LONGEST_WARNING - 1) for text in reply.warnings]
    if reply.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = b64encode(msgspec.json.encode(reply.patch)).decode()
    return msgspec.json.encode(
        {"apiVersion": VERSION, "kind": "AdmissionReview", "response": response}
    )


def name_of(request: Request) -> str:
    """Return the object's name, "" where the API server is yet to generate it."""
    return read_part(request.object, "metadata", _Metadata).name or ""


def read_part(obj: Json | None, name: str, of: type[T]) -> T:
    """Return a part of an object, an empty one where there is none.

    Raises:
        MalformedError: it isn't what it should be.
    """
    try:
        return msgspec.convert((obj or {}).get(name) or {}, of)
    except (ValueError, RecursionError) as error:
        problem = f"shows an object whose {name} is malformed ({sentence(error)})"
        raise MalformedError("request body", problem) from error
