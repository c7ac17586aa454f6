"""`doctor`: read what an installation consists of, have it judged (`health`), and show it.

Called by `verbs`. Changes nothing: the webhook is tried by a dry run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import typer

from fairstow.cli import health, terminal
from fairstow.cli.errors import ClusterError, Code
from fairstow.cli.health import Denied, Fact, Finding, Json, Level
from fairstow.cli.layout import wrapped
from fairstow.cli.live import Live
from fairstow.cli.objects import DRY_RUN, GROUP, PLANS, ROOT
from fairstow.cli.options import Output
from fairstow.cli.serialise import as_json
from fairstow.cluster.errors import InputError
from fairstow.cluster.kinds import READ
from fairstow.kube.permissions import WEBHOOKS

if TYPE_CHECKING:
    from fairstow.kube.client import Connection

T = TypeVar("T")

NAMESPACE = "fairstow-system"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_WEBHOOKS = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
_OWN_RIGHTS = (
    ("list", "packingplans"),
    ("create", "packingplans"),
    ("patch", "packingplans"),
    ("approve", "packingplans"),
    ("list", "packingpolicies"),
    ("patch", "packingpolicies"),
)


def doctor(live: Live, namespace: str | None, output: Output) -> None:
    """Examine an installation; exit code 1 where something is broken.

    Raises:
        ClusterError: the API server can't be reached.
    """
    from fairstow.kube.client import connect

    connection = connect(live.kubeconfig, live.context)
    try:
        findings = list(_findings(connection, namespace))
    except InputError as error:
        raise ClusterError(error) from error
    finally:
        connection.close()
    if output is Output.JSON:
        terminal.write(as_json([_object(each) for each in findings]))
    else:
        terminal.write("\n".join(text(findings, terminal.look().width)))
    if any(each.level is Level.FAIL for each in findings):
        raise typer.Exit(Code.REFUSED)


def text(findings: list[Finding], width: int | None) -> Iterator[str]:
    """Yield findings as lines, each with what to do about it."""
    long = max(len(each.check) for each in findings)
    for each in findings:
        head = f"{each.level.value:<4}  {each.check:<{long}}  "
        yield wrapped(each.said, width, head, " " * len(head))
        if each.do:
            yield wrapped(each.do, width, " " * len(head) + "→ ", " " * (len(head) + 2))
    counts = {level: sum(f.level is level for f in findings) for level in Level}
    yield ""
    yield f"{counts[Level.OK]} ok, {counts[Level.WARN]} to look at, {counts[Level.FAIL]} broken"


def _findings(connection: Connection, namespace: str | None) -> Iterator[Finding]:
    yield health.server_version(_get(connection, "/version"))
    yield health.clock(connection.date, time.time())
    digests: dict[str, str] = json.loads(files("fairstow.api").joinpath("schemas.json").read_text())
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    found = {plural: _fact(connection, f"{crds}/{plural}.{GROUP}") for plural in digests}
    yield from health.definitions(found, digests)

    hooks = {
        kind: _fact(connection, f"{_ADMISSION}/{kind.lower()}s/{WEBHOOKS}") for kind in _WEBHOOKS
    }
    there = isinstance(found[PLANS], dict) and any(hooks.values())
    yield from health.webhook(hooks, _try_webhook(connection) if there else None)

    where = namespace or _namespace(hooks)
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{where}/leases"
    deployment = f"/apis/apps/v1/namespaces/{where}/deployments/{health.SCHEDULER}"
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{where}/endpointslices"
    of_extender = {"labelSelector": f"kubernetes.io/service-name={health.EXTENDER}"}
    now = time.time()
    for each in (
        health.operator(_fact(connection, f"{leases}/{health.OPERATOR}"), now),
        health.extender(
            _items(connection, leases, {}), _items(connection, slices, of_extender), now
        ),
        health.scheduler(
            _fact(connection, f"{leases}/{health.SCHEDULER}"), _fact(connection, deployment), now
        ),
    ):
        yield Finding(each.level, each.check, each.said, each.do.replace("NAMESPACE", where))
    yield from health.rights(_rights(connection))


def _get(connection: Connection, path: str, query: dict[str, str] | None = None) -> Any:
    return msgspec.json.decode(connection.get(path, query))


def _asked(read: Callable[[], T]) -> T | Denied | None:
    """Return what is read, None where it isn't there, or why it may not be read."""
    from fairstow.kube.client import ApiError

    try:
        return read()
    except ApiError as error:
        return None if error.status == 404 else Denied(error.said)


def _fact(connection: Connection, path: str) -> Fact:
    return _asked(lambda: _object_at(connection, path))


def _object_at(connection: Connection, path: str) -> Json:
    found: Json = _get(connection, path)
    return found


def _items(connection: Connection, path: str, query: dict[str, str]) -> list[Json] | Denied:
    def read() -> list[Json]:
        items: list[Json] = _get(connection, path, query)["items"]
        return items

    return _asked(read) or []


def _namespace(hooks: dict[str, Fact]) -> str:
    """Return where the webhook's Service is, which is the installation's namespace."""
    for fact in hooks.values():
        if isinstance(fact, dict):
            for hook in fact.get("webhooks", ()):
                service = hook["clientConfig"].get("service") or {}
                if name := service.get("namespace"):
                    return str(name)
    return NAMESPACE


def _try_webhook(connection: Connection) -> str | Denied | None:
    """Reject a plan that nobody keeps, as a dry run: that calls the webhook if it can be called."""
    from fairstow.kube.client import ApiError

    plan = {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "PackingPlan",
        "metadata": {"name": "plan-doctor"},
        "spec": {
            "snapshotHash": "0" * 32,
            "rules": "Product",
            "order": "PlaceFirst",
            "seed": 0,
            "window": "1s",
            "cost": 0,
            "budgets": "Known",
            "approval": {"decision": "Rejected", "by": "doctor"},
        },
    }
    try:
        connection.create(f"{ROOT}/{PLANS}", plan, DRY_RUN)
    except ApiError as error:
        if "denied the request" in error.said:
            return ""
        return Denied(error.said) if error.status == 403 else error.said
    return ""


def _rights(connection: Connection) -> dict[str, bool]:
    asked = [(kind.api_version.rpartition("/")[0], "list", kind.resource)
             for kind in READ if not kind.extension]  # fmt: skip
    asked += [(GROUP, verb, resource) for verb, resource in _OWN_RIGHTS]
    return {
        f"{verb} {resource}{f'.{group}' if group else ''}": _may(connection, group, verb, resource)
        for group, verb, resource in asked
    }


def _may(connection: Connection, group: str, verb: str, resource: str) -> bool:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"group": group, "verb": verb, "resource": resource}},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    said = msgspec.json.decode(connection.create(path, review))
    return bool(said["status"].get("allowed"))


def _object(finding: Finding) -> dict[str, str]:
    return {
        "level": finding.level.value,
        "check": finding.check,
        "message": finding.said,
        "todo": finding.do,
    }
