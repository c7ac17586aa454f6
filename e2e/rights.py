"""The rights of one program of the installation, from the table that the chart is made of.

Used by tests that run a program without the chart: what the table forgets fails them.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import yaml

from fairstow.kube.permissions import CACHE_HOLDER
from fairstow.semantic_cache.sidecar_file import holder
from tools.generate.permissions import chart_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controlplane.client import Cluster
    from fairstow.kube.permissions import Program

RBAC = "rbac.authorization.k8s.io"


def account(
    program: Program, namespace: str, *, apart: str = "", issues: bool = False
) -> list[dict[str, Any]]:
    """Return a program's ServiceAccount in a namespace and its rights, as the chart has them.

    Args:
        program: one of `fairstow.kube.permissions`.
        namespace: of the account.
        apart: name of what isn't in the namespace, for tests that run beside each other.
        issues: also the rights of an installation that issues its own certificates.
    """
    table = yaml.safe_load(chart_file())
    nothing: dict[str, list[Any]] = {"cluster": [], "own": []}
    own = {"name": "gateway", "cluster": [], "own": table["gateway"]["rules"], "issues": nothing}
    programs = [*table["programs"], own | {"borrowed": table["gateway"]["borrowed"]}]
    (rights,) = (each for each in programs if each["name"] == program.name)
    name = f"fairstow-{program.name}"
    apart = apart or name
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    everywhere, here = (
        rights[where] + (rights["issues"][where] if issues else []) for where in ("cluster", "own")
    )
    return [
        {"apiVersion": "v1", **_named("ServiceAccount", name, namespace)},
        {**_rbac("ClusterRole", apart), "rules": everywhere},
        {**_rbac("Role", name, namespace), "rules": here},
        {**_rbac("ClusterRoleBinding", apart), **_to("ClusterRole", apart, subject)},
        {**_rbac("RoleBinding", name, namespace), **_to("Role", name, subject)},
        *(_borrowed(role, apart, subject) for role in rights["borrowed"]),
    ]


@contextmanager
def bind(cluster: Cluster, program: Program, namespace: str) -> Iterator[None]:
    """Make a program's account in `namespace`; all is gone afterwards, but what goes with that."""
    made = account(program, namespace, apart=f"fairstow-{program.name}:{namespace}", issues=True)
    cluster.apply(made)
    try:
        yield
    finally:
        for obj in made:
            where = obj["metadata"].get("namespace", "")
            if where != namespace:
                inside = ["-n", where] if where else []
                cluster.kubectl(*inside, "delete", obj["kind"], obj["metadata"]["name"])


def _borrowed(role: dict[str, str], apart: str, account: dict[str, str]) -> dict[str, Any]:
    namespace = role.get("namespace", "")
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    name = f"{apart}:{role['name']}"
    return {**_rbac(kind, name, namespace), **_to(role["kind"], role["name"], account)}


def scaling(namespace: str) -> list[dict[str, Any]]:
    """Return what the operator may do besides in the namespace of a pool that is scaled."""
    rules = yaml.safe_load(chart_file())["scaling"]
    operator = {"kind": "ServiceAccount", "name": "fairstow-operator", "namespace": namespace}
    name = "fairstow-scaling"
    return [
        {**_rbac("Role", name, namespace), "rules": rules},
        {**_rbac("RoleBinding", name, namespace), **_to("Role", name, operator)},
    ]


def caching(namespace: str, operator: str, cache: str) -> list[dict[str, Any]]:
    """Return what the operator of namespace `operator` may do besides for one of `caches`."""
    rules = yaml.safe_load(chart_file().replace(CACHE_HOLDER, holder(cache)))["caching"]
    subject = {"kind": "ServiceAccount", "name": "fairstow-operator", "namespace": operator}
    name = "fairstow-caching"
    return [
        {**_rbac("Role", name, namespace), "rules": rules},
        {**_rbac("RoleBinding", name, namespace), **_to("Role", name, subject)},
    ]


def spark(namespace: str, operator: str) -> list[dict[str, Any]]:
    """Return what the operator of namespace `operator` may do in one of spark.namespaces."""
    rules = yaml.safe_load(chart_file())["spark"]
    subject = {"kind": "ServiceAccount", "name": "fairstow-operator", "namespace": operator}
    name = "fairstow-spark"
    return [
        {**_rbac("Role", name, namespace), "rules": rules},
        {**_rbac("RoleBinding", name, namespace), **_to("Role", name, subject)},
    ]


@contextmanager
def granted(cluster: Cluster, *objects: dict[str, Any]) -> Iterator[None]:
    """Have these roles and bindings meanwhile."""
    cluster.apply(objects)
    try:
        yield
    finally:
        for obj in objects:
            cluster.kubectl("delete", obj["kind"], obj["metadata"]["name"])


def writer() -> dict[str, Any]:
    """Return a role that may write plans but not approve them."""
    verbs = ["get", "list", "watch", "create", "update", "patch", "delete"]
    rule = {"apiGroups": ["fairstow.dev"], "resources": ["packingplans"], "verbs": verbs}
    return {**_rbac("ClusterRole", "e2e-writer"), "rules": [rule]}


def role_for(
    name: str, rule: dict[str, Any], subject: dict[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a cluster role of one rule, and the binding that gives it to a subject."""
    role = {**_rbac("ClusterRole", name), "rules": [rule]}
    return role, {**_rbac("ClusterRoleBinding", name), **_to("ClusterRole", name, subject)}


def grant(role: str, user: str) -> dict[str, Any]:
    """Return the binding that gives a cluster role to a user."""
    subject = {"apiGroup": RBAC, "kind": "User", "name": user}
    return {**_rbac("ClusterRoleBinding", f"e2e-{role}"), **_to("ClusterRole", role, subject)}


def _named(kind: str, name: str, namespace: str = "") -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"kind": kind, "metadata": metadata}


def _rbac(kind: str, name: str, namespace: str = "") -> dict[str, Any]:
    return {"apiVersion": f"{RBAC}/v1", **_named(kind, name, namespace)}


def _to(kind: str, name: str, account: dict[str, str]) -> dict[str, Any]:
    return {"roleRef": {"apiGroup": RBAC, "kind": kind, "name": name}, "subjects": [account]}
