"""Fairstow's objects in a running cluster: read, created and changed for the commands.

Each refusal of the API server becomes a sentence here: kinds that aren't installed, missing
permissions, unknown names. Nothing is written that the caller didn't ask for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from fairstow.cli import terminal
from fairstow.cli.errors import ClusterError
from fairstow.cli.seen import Meta, Plan, Policy, View
from fairstow.cluster.errors import InputError, printable

if TYPE_CHECKING:
    from fairstow.cli.live import Live
    from fairstow.kube.client import ApiError, Connection

GROUP = "fairstow.dev"
ROOT = f"/apis/{GROUP}/v1alpha1"
PLANS, POLICIES, POOLS = "packingplans", "packingpolicies", "gpupools"
SERVING_POOLS, DRAINS = "servingpools", "instancedrains"
CACHES = "semanticcaches"

_PAGE = "100"
T = TypeVar("T", bound=View)
_NAME = re.compile(r"[a-z0-9][-.a-z0-9]{0,252}")

DRY_RUN = {"dryRun": "All"}


def _path(resource: str, namespace: str | None) -> str:
    return f"{ROOT}/namespaces/{namespace}/{resource}" if namespace else f"{ROOT}/{resource}"


class ConflictError(Exception):
    """The object has changed since it was read."""


class Objects:
    """Fairstow's objects, with the rights of one user."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def get(self, resource: str, name: str) -> bytes:
        """Return an object's JSON.

        Raises:
            InputError: there is no such object, or its kind isn't installed.
            ClusterError: the server can't be reached or refuses.
        """
        with self._refusals(resource, name, "get"):
            return self.connection.get(f"{ROOT}/{resource}/{name}")

    def plan(self, name: str) -> Plan:
        """Return a plan. Raises as `get`."""
        return read(self.get(PLANS, name), Plan)

    def listed(self, resource: str, namespace: str | None = None) -> tuple[list[msgspec.Raw], str]:
        """Return the JSON of all objects of a kind, and the list's resourceVersion.

        Raises as `get`.
        """
        items: list[msgspec.Raw] = []
        query = {"limit": _PAGE}
        while True:
            with self._refusals(resource, "", "list"):
                page = msgspec.json.decode(
                    self.connection.get(_path(resource, namespace), query), type=_Page
                )
            items += page.items
            if not page.metadata.continue_:
                return items, page.metadata.resource_version
            query = {"limit": _PAGE, "continue": page.metadata.continue_}

    def core(self, path: str, what: str, query: Mapping[str, str] | None = None) -> Any:
        """Return what Kubernetes' own API has at a path below /api/v1; `what` names it.

        Raises:
            InputError: there is no such object.
            ClusterError: as `get`.
        """
        from fairstow.kube.client import ApiError

        try:
            return msgspec.json.decode(self.connection.get(f"/api/v1/{path}", query))
        except InputError as error:
            raise ClusterError(error) from error
        except ApiError as error:
            if error.status == 404:
                raise InputError(what, "there is no such object") from error
            said = f"the API server refuses it ({error.status}): {error.said}"
            raise ClusterError(InputError(what, said)) from error

    def plans(self) -> list[Plan]:
        """Return all plans, oldest first. Raises as `get`."""
        return in_order(read(item, Plan) for item in self.listed(PLANS)[0])

    def policies(self) -> list[Policy]:
        """Return all policies by name. Raises as `get`."""
        found = [read(item, Policy) for item in self.listed(POLICIES)[0]]
        return sorted(found, key=lambda policy: policy.metadata.name)

    def create(self, resource: str, content: Mapping[str, Any], *, dry_run: bool) -> bool:
        """Create an object; False if one of that name is there. Raises as `get`."""
        from fairstow.kube.client import ApiError

        meta = content["metadata"]
        within = f"/namespaces/{meta['namespace']}" if meta.get("namespace") else ""
        path = f"{ROOT}{within}/{resource}"
        with self._refusals(resource, meta["name"], "create"):
            try:
                self.connection.create(path, content, DRY_RUN if dry_run else None)
            except ApiError as error:
                if error.status == 409:
                    return False
                raise
        return True

    def patch(
        self, resource: str, name: str, content: Mapping[str, Any], *, dry_run: bool
    ) -> bytes:
        """Change an object by merge patch.

        Raises:
            ConflictError: it isn't at the resourceVersion that the patch names.
            InputError, ClusterError: as `get`.
        """
        from fairstow.kube.client import ApiError

        with self._refusals(resource, name, "patch"):
            try:
                return self.connection.patch(
                    f"{ROOT}/{resource}/{name}", content, DRY_RUN if dry_run else None
                )
            except ApiError as error:
                if error.status == 409:
                    raise ConflictError(error.said) from error
                raise

    def patch_path(
        self, path: str, what: str, content: Mapping[str, Any], *, dry_run: bool
    ) -> None:
        """Change an object of another group by merge patch; `what` names it.

        Raises:
            InputError: there is no such object.
            ClusterError: as `get`.
        """
        from fairstow.kube.client import ApiError

        try:
            self.connection.patch(path, content, DRY_RUN if dry_run else None)
        except InputError as error:
            raise ClusterError(error) from error
        except ApiError as error:
            if error.status == 404:
                raise InputError(what, "there is no such object") from error
            said = f"the API server refuses it ({error.status}): {error.said}"
            raise ClusterError(InputError(what, said)) from error

    def watch(
        self, resource: str, version: str, seconds: int, namespace: str | None = None
    ) -> Iterator[bytes]:
        """Yield a kind's events since a list, for so long. Raises as `get`."""
        from fairstow.kube.client import ApiError

        query = {"resourceVersion": version, "timeoutSeconds": str(seconds)}
        with self._refusals(resource, "", "watch"):
            try:
                yield from self.connection.watch(_path(resource, namespace), query)
            except ApiError as error:
                if error.status != 410:  # too old a version: the caller lists anew
                    raise

    def user(self) -> str:
        """Return what the API server calls the caller."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        with self._refusals("selfsubjectreviews", "", "create"):
            said = self.connection.create(
                "/apis/authentication.k8s.io/v1/selfsubjectreviews", review
            )
        name: str = msgspec.json.decode(said)["status"]["userInfo"]["username"]
        return name

    @contextmanager
    def _refusals(self, resource: str, name: str, verb: str) -> Iterator[None]:
        """Turn what the server refuses into what the user can do about it."""
        from fairstow.kube.client import ApiError

        try:
            yield
        except InputError as error:  # it can't be reached, or doesn't know who is asking
            raise ClusterError(error) from error
        except ApiError as error:
            raise self._meaning(error, resource, name, verb) from error

    def _meaning(self, error: ApiError, resource: str, name: str, verb: str) -> Exception:
        where = f"{resource}/{name}" if name else resource
        if error.status == 404 and not self._installed(resource):
            return InputError(
                self.connection.name,
                f"has no {resource}.{GROUP}: Fairstow's custom resources aren't installed",
                "Install the chart, or the definitions alone: kubectl apply --server-side -f crds/",
            )
        if error.status == 404:
            return InputError(where, "there is no such object", self._like(resource, name))
        if error.status == 403:
            return ClusterError(_forbidden(where, resource, verb, error.said))
        if error.status in (400, 422):
            return InputError(where, f"the API server refuses it: {error.said}")
        return ClusterError(
            InputError(where, f"the API server refuses it ({error.status}): {error.said}")
        )

    def _installed(self, resource: str) -> bool:
        from fairstow.kube.client import ApiError

        try:
            found = msgspec.json.decode(self.connection.get(ROOT))
        except ApiError as error:
            return error.status != 404
        return any(each.get("name") == resource for each in found.get("resources", ()))

    def _like(self, resource: str, name: str) -> str:
        from fairstow.kube.client import ApiError

        try:
            items = self.listed(resource)[0]
        except (InputError, ClusterError, ApiError):
            return ""
        names = [read(item, _Named).metadata.name for item in items]
        close = [n for n in names if name and name in n] or get_close_matches(name, names, 5, 0.6)
        short = "policy" if resource == POLICIES else "plan"
        if close:
            return "\n".join(["Did you mean:", *(f"  {short}/{n}" for n in sorted(close)[:5])])
        return f"There is none of that name; {short}s are removed some time after they end."


def _forbidden(where: str, resource: str, verb: str, said: str) -> InputError:
    """Say whose permission is missing: RBAC's, or that of a webhook."""
    if said.startswith("admission webhook"):
        return InputError(where, said.partition("denied the request: ")[2] or said)
    return InputError(
        where,
        f"you may not {verb} it (403 Forbidden): {said}",
        f"Check with: kubectl auth can-i {verb} {resource}.{GROUP}",
    )


class _Named(View, frozen=True):
    metadata: Meta


class _ListMeta(View, frozen=True):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _Page(View, frozen=True):
    metadata: _ListMeta
    items: tuple[msgspec.Raw, ...] = ()


def read(item: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Return an object as a view.

    Raises:
        InputError: it has fields of other types than any version of Fairstow wrote.
    """
    try:
        return msgspec.json.decode(item, type=kind)
    except msgspec.ValidationError as error:
        raise InputError("the cluster", f"holds an object that can't be read: {error}") from error


def in_order(plans: Any) -> list[Plan]:
    """Return plans oldest first."""
    return sorted(plans, key=lambda plan: (plan.metadata.creation_timestamp, plan.name))


def named(what: Sequence[str], kinds: tuple[str, ...]) -> str:
    """Return the name in `plan/X`, `plan X` or, since a verb takes one kind only, `X`.

    Raises:
        InputError: it isn't of one of these kinds.
    """
    parts = "/".join(what).split("/")
    if len(parts) == 1:
        parts = [kinds[0], *parts]
    if len(parts) == 2 and parts[0].lower() in kinds and _NAME.fullmatch(parts[1]):
        return parts[1]
    raise InputError(
        printable(" ".join(what)) or "arguments",
        f"names no {kinds[0]}",
        f"Write it as {kinds[0]}/NAME.",
    )


PLAN_WORDS = ("plan", "plans", "pplan", "packingplan", "packingplans")
POLICY_WORDS = ("policy", "policies", "ppol", "packingpolicy", "packingpolicies")


@contextmanager
def objects(live: Live) -> Iterator[Objects]:
    """Yield the objects of the cluster that the flags name."""
    from fairstow.kube.client import connect

    connection = connect(live.kubeconfig, live.context)
    try:
        yield Objects(connection)
    finally:
        connection.close()
        for warning in connection.warnings:
            terminal.warn(warning)
