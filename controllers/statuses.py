"""Writes the status of one of Fairstow's own objects, as every controller does."""

from __future__ import annotations

from typing import Protocol

from fairstow.api.model import CustomResource, Model
from fairstow.kube.aio.connection import Json
from fairstow.kube.problems import ApiError


class Writer(Protocol):
    """What is asked of `fairstow.kube.aio.api.Api`."""

    async def apply(self, obj: Json, manager: str, *, subresource: str | None = None) -> Json:
        """Server-side apply."""


async def write_status(
    api: Writer, obj: CustomResource, status: Model, manager: str
) -> Json | None:
    """Return the object as it is then; None of one that is gone, or was made anew under its name.

    Raises:
        ApiError: the API server refuses it for another reason.
    """
    meta = obj.metadata
    known = {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid}
    body = {
        "apiVersion": obj.api_version,
        "kind": obj.kind,
        "metadata": {key: value for key, value in known.items() if value is not None},
        "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
    try:
        return await api.apply(body, manager, subresource="status")
    except ApiError as error:
        if error.status not in (404, 409):
            raise
        return None
