"""Writes what each program may do: the chart's files/rbac.yaml, and the page people read.

Called by tools.generate.__main__. The table itself is fairstow/kube/permissions.py.
"""

from collections.abc import Iterable
from typing import Any

import yaml

from fairstow.kube.permissions import (
    CACHING,
    GATEWAY,
    PROGRAMS,
    ROLES,
    SCALING,
    SPARK,
    Borrowed,
    Grant,
)

SOURCE = "fairstow/kube/permissions.py"
PAGE = "docs/reference/permissions.md"
CHART_FILE = "helm/fairstow/files/rbac.yaml"


def chart_file() -> str:
    """Return the YAML that the chart's templates make roles of."""
    table = {
        "programs": [
            {
                "name": program.name,
                "cluster": [_rule(grant) for grant in program.cluster],
                "own": [_rule(grant) for grant in program.own],
                "issues": {
                    "cluster": [_rule(grant) for grant in program.issues.cluster],
                    "own": [_rule(grant) for grant in program.issues.own],
                },
                "borrowed": [_borrowed(role) for role in program.borrowed],
            }
            for program in PROGRAMS
        ],
        "gateway": {
            "rules": [_rule(grant) for grant in GATEWAY.own],
            "borrowed": [_borrowed(role) for role in GATEWAY.borrowed],
        },
        "scaling": [_rule(grant) for grant in SCALING.own],
        "spark": [_rule(grant) for grant in SPARK.own],
        "caching": [_rule(grant) for grant in CACHING.own],
        "roles": [
            {
                "name": role.name,
                "aggregatedTo": list(role.aggregated_to),
                "rules": [_rule(grant) for grant in role.grants],
            }
            for role in ROLES
        ],
    }
    head = f"# Generated from {SOURCE} by `make generate`: change the table, not this file.\n"
    return head + yaml.safe_dump(table, sort_keys=False, width=100)


def page() -> str:
    """Return the page that says who may do what, and why."""
    lines = [
        f"<!-- Generated from {SOURCE} by `make generate`: change the table, not this file. -->",
        "# Permissions",
        "",
        "What the chart grants. Each program has a ServiceAccount `fairstow-NAME` of its own; its",
        "rights in the namespace of the installation alone are marked *own*. Those marked † make",
        "certificates: with `certificates.issuer=CertManager` they aren't granted.",
        "",
        "What RBAC can't say, ValidatingAdmissionPolicies do (Kubernetes 1.30 and later): of nodes",
        "the operator changes its own label and annotations alone, of pods three annotations and",
        "its own gate, and only pods of the installation's namespace get the PriorityClass",
        "`fairstow`.",
    ]
    for program in PROGRAMS:
        lines += ["", f"## {program.name}", "", program.what, "", *_HEAD]
        lines += _rows(program.cluster, "cluster")
        lines += _rows(program.own, "own")
        lines += _rows(program.issues.cluster, "cluster †")
        lines += _rows(program.issues.own, "own †")
        lines += [_borrowed_row(role) for role in program.borrowed]
    lines += ["", "## gateway", "", GATEWAY.what, "", *_HEAD]
    lines += _rows(GATEWAY.own, "the pool's namespace")
    named = "`secrets` (those of the values' `gateways[].secrets`)"
    why = "Reads the engines' key and who its tenants are."
    lines.append(f"| the pool's namespace | {named} | get | {why} |")
    lines += [_borrowed_row(role) for role in GATEWAY.borrowed]
    lines += ["", "## scaling", "", SCALING.what, "", *_HEAD]
    lines += _rows(SCALING.own, "the pool's namespace")
    lines += ["", "## spark", "", SPARK.what, "", *_HEAD]
    lines += _rows(SPARK.own, "such a namespace")
    lines += ["", "## caching", "", CACHING.what, "", *_HEAD]
    lines += _rows(CACHING.own, "the cache's namespace")
    lines += [
        "",
        "## Roles for people",
        "",
        "ClusterRoles `fairstow-NAME`; what they are part of has to be bound by a",
        "ClusterRoleBinding, since all kinds of Fairstow's are of cluster scope.",
        "",
        "| Role | Part of | Resources | Verbs | Why |",
        "|---|---|---|---|---|",
    ]
    for role in ROLES:
        part = ", ".join(role.aggregated_to)
        lines += [
            f"| {role.name} | {part} | {_resources(grant)} | {', '.join(grant.verbs)} | "
            f"{grant.why} |"
            for grant in role.grants
        ]
    return "\n".join(lines) + "\n"


_HEAD = ("| Where | Resources | Verbs | Why |", "|---|---|---|---|")


def _rows(grants: Iterable[Grant], where: str) -> list[str]:
    return [
        f"| {where} | {_resources(grant)} | {', '.join(grant.verbs)} | {grant.why} |"
        for grant in grants
    ]


def _resources(grant: Grant) -> str:
    group = f".{grant.group}" if grant.group else ""
    named = f" ({', '.join(grant.names)})" if grant.names else ""
    texts = []
    for resource in grant.resources:
        plural, slash, part = resource.partition("/")
        texts.append(f"`{plural}{group}{slash}{part}`")
    return ", ".join(texts) + named


def _borrowed_row(role: Borrowed) -> str:
    where = role.namespace or "cluster"
    return f"| {where} | the role `{role.role}` | | {role.why} |"


def _rule(grant: Grant) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "apiGroups": [grant.group],
        "resources": list(grant.resources),
        "verbs": list(grant.verbs),
    }
    return rule | ({"resourceNames": list(grant.names)} if grant.names else {})


def _borrowed(role: Borrowed) -> dict[str, str]:
    if role.namespace:
        return {"kind": "Role", "name": role.role, "namespace": role.namespace}
    return {"kind": "ClusterRole", "name": role.role}
