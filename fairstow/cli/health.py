"""What `doctor` finds: each check a pure function from what was read to findings.

Called by `doctoring`, which reads. A fact is an object, None where there is none, or a `Denied`
where the caller may not read it: then nothing is claimed, and the finding says which permission is
missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from fairstow.api.model import SCHEMA_LABEL
from fairstow.cli.layout import count
from fairstow.cluster.times import seconds
from fairstow.kube.permissions import OPERATOR_LEASE, WEBHOOKS
from fairstow.kube.versions import NEWEST, OLDEST

Json = Mapping[str, Any]

SKEW_WARN, SKEW_FAIL = 5, 60
"""Seconds between two clocks that are told of, and that break things."""

OPERATOR, SCHEDULER, EXTENDER = OPERATOR_LEASE, "fairstow-scheduler", "fairstow-extender"
"""Names of Deployments, and of the Leases of the first two."""


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Denied:
    """Why something can't be read."""

    said: str


@dataclass(frozen=True)
class Finding:
    """A line of `doctor`. Attributes: do: what to do about it, "" where it is well."""

    level: Level
    check: str
    said: str
    do: str = ""


Fact = Json | Denied | None


def server_version(version: Json) -> Finding:
    """Judge the API server's version."""
    text = str(version.get("gitVersion", ""))
    match = re.match(r"v?1\.(\d+)", text)
    check = "Kubernetes"
    if match is None:
        return Finding(Level.WARN, check, f"the API server's version is unreadable ({text!r})")
    minor = int(match[1])
    said = f"{text}; supported are 1.{OLDEST} to 1.{NEWEST}"
    if minor < OLDEST:
        return Finding(Level.FAIL, check, said, "Upgrade the cluster, or use an older Fairstow.")
    if minor > NEWEST:
        return Finding(Level.WARN, check, f"{said}: not tried yet", "Look for a newer Fairstow.")
    return Finding(Level.OK, check, said)


def clock(date: str, now: float) -> Finding:
    """Compare the API server's clock (its Date header) with this machine's."""
    try:
        there = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return Finding(Level.WARN, "clock", "the API server doesn't tell the time")
    skew = now - there
    said = (
        f"this machine is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the API server"
    )
    do = "Synchronise the clocks (NTP): Leases, certificates and ages are judged by them."
    if abs(skew) > SKEW_FAIL:
        return Finding(Level.FAIL, "clock", said, do)
    if abs(skew) > SKEW_WARN:
        return Finding(Level.WARN, "clock", said, do)
    return Finding(Level.OK, "clock", f"within {SKEW_WARN} s of the API server's")


def definitions(found: Mapping[str, Fact], wanted: Mapping[str, str]) -> Iterator[Finding]:
    """Judge the custom resource definitions; `wanted` are our own schemas' digests by plural."""
    apply = "helm upgrade, or: kubectl apply --server-side -f crds/"
    for plural, digest in wanted.items():
        check, fact = f"crd/{plural}", found.get(plural)
        if isinstance(fact, Denied):
            yield _denied(check, fact, f"get customresourcedefinitions/{plural}.fairstow.dev")
        elif fact is None:
            yield Finding(Level.FAIL, check, "isn't installed", f"Install it: {apply}")
        elif not _has(fact, "Established"):
            yield Finding(
                Level.FAIL, check, "isn't established", f"kubectl describe {check}.fairstow.dev"
            )
        elif (fact["metadata"].get("labels") or {}).get(SCHEMA_LABEL) != digest:
            said = "is of another version than this program"
            do = f"Where the chart is older: {apply}; else use the program of the chart's version."
            yield Finding(Level.WARN, check, said, do)
        else:
            yield Finding(Level.OK, check, "is of this program's version")


def webhook(configurations: Mapping[str, Fact], tried: str | Denied | None) -> Iterator[Finding]:
    """Judge the admission webhook.

    Args:
        configurations: the Validating- and MutatingWebhookConfiguration by kind.
        tried: "" if a decision on a plan, as a dry run, got through to it; what the API server said
            if not; Denied if the caller may not try; None if it wasn't tried.
    """
    for kind, fact in configurations.items():
        check = kind.lower()
        if isinstance(fact, Denied):
            yield _denied(check, fact, f"get {check}s/{WEBHOOKS}")
            continue
        if fact is None:
            said = (
                f"there is none called {WEBHOOKS}: whoever may patch a plan may approve it, under "
                "any name"
            )
            yield Finding(Level.FAIL, check, said, "Install the chart.")
            continue
        bare = [
            w["name"] for w in fact.get("webhooks", ()) if not w["clientConfig"].get("caBundle")
        ]
        if bare:
            yield Finding(
                Level.FAIL,
                check,
                f"{', '.join(bare)} has no caBundle, so the API server can't call it",
                "The operator writes it: see whether it runs, and its log.",
            )
        else:
            yield Finding(Level.OK, check, "is there, and knows whom to trust")
    if isinstance(tried, Denied):
        yield _denied("webhook", tried, "create packingplans.fairstow.dev")
    elif tried:
        do = "kubectl -n NAMESPACE get pods -l app.kubernetes.io/component=webhook, and their log."
        yield Finding(Level.FAIL, "webhook", f"can't be called: {tried}", do)
    elif tried is not None:
        yield Finding(Level.OK, "webhook", "answers the API server")


def operator(lease: Fact, now: float) -> Finding:
    """Judge the operator by its Lease."""
    return _leased("operator", lease, OPERATOR, now, Level.FAIL, "no plan is made or carried out")


def scheduler(lease: Fact, deployment: Fact, now: float) -> Finding:
    """Judge the scheduler that has the extender attached by its Lease."""
    if deployment is None and lease is None:
        said = "none of our own; room is kept where the extender is attached to another"
        return Finding(Level.WARN, "scheduler", said, "See docs/extender.md.")
    what = "pods with schedulerName fairstow wait"
    return _leased("scheduler", lease, SCHEDULER, now, Level.FAIL, what)


def extender(
    leases: Sequence[Json] | Denied, slices: Sequence[Json] | Denied, now: float
) -> Finding:
    """Judge the extender's replicas: each one in service renews a Lease of its own."""
    check = "extender"
    if isinstance(leases, Denied):
        return _denied(check, leases, "list leases.coordination.k8s.io")
    if isinstance(slices, Denied):
        return _denied(check, slices, "list endpointslices.discovery.k8s.io")
    own = [each for each in leases if each["metadata"]["name"].startswith(f"{EXTENDER}-")]
    live = {str(each["spec"].get("holderIdentity")) for each in own if _alive(each, now)}
    ready = _ready(slices)
    if not own and not ready:
        said = "isn't there: no room is kept for plans, and mode Auto stops at Recommend"
        return Finding(Level.WARN, check, said, "Set extender.enabled in the chart's values.")
    silent = sorted(ready - live)
    if silent or not ready:
        names = ", ".join(silent) or "no replica"
        said = f"{names} {'keep' if len(silent) > 1 else 'keeps'} no live Lease; plans wait"
        if not ready:
            said = "no replica is ready; plans wait"
        return Finding(Level.FAIL, check, said, "See their log: is the API server reachable there?")
    return Finding(Level.OK, check, f"{count(len(ready), 'replica')} ready, each with a live Lease")


def rights(answers: Mapping[str, bool]) -> Iterator[Finding]:
    """Judge what the caller may do; `answers` by what it is for, as `list nodes`."""
    missing = [ask for ask, allowed in answers.items() if not allowed]
    if not missing:
        yield Finding(Level.OK, "your rights", f"all {len(answers)} that these commands use")
    for ask in missing:
        yield Finding(
            Level.WARN,
            "your rights",
            f"you may not {ask}",
            "An administrator grants fairstow-viewer, -editor, -approver or -admin.",
        )


def _leased(
    check: str, lease: Fact, name: str, now: float, level: Level, consequence: str
) -> Finding:
    if isinstance(lease, Denied):
        return _denied(check, lease, f"get leases/{name}")
    if lease is None:
        do = "Is -n the installation's namespace? kubectl get pods -n NAMESPACE"
        return Finding(level, check, f"has no Lease {name}: {consequence}", do)
    spec = lease["spec"]
    holder = spec.get("holderIdentity") or "nobody"
    if not _alive(lease, now):
        said = (
            f"Lease {name} of {holder} isn't renewed since {spec.get('renewTime')}: {consequence}"
        )
        return Finding(level, check, said, f"kubectl -n NAMESPACE logs deploy/{name}")
    return Finding(Level.OK, check, f"alive, {holder} acts")


def _alive(lease: Json, now: float) -> bool:
    spec = lease["spec"]
    renewed = seconds(str(spec.get("renewTime") or ""))
    long = int(spec.get("leaseDurationSeconds") or 15)
    return (
        renewed is not None
        and bool(spec.get("holderIdentity"))
        and now - renewed <= long + SKEW_WARN
    )


def _ready(slices: Sequence[Json]) -> set[str]:
    endpoints = (e for each in slices for e in each.get("endpoints") or ())
    return {
        str((e.get("targetRef") or {}).get("name") or e.get("hostname") or "?")
        for e in endpoints
        if (e.get("conditions") or {}).get("ready", True)
    }


def _has(fact: Json, type_: str) -> bool:
    conditions = (fact.get("status") or {}).get("conditions") or ()
    return any(c["type"] == type_ and c["status"] == "True" for c in conditions)


def _denied(check: str, fact: Denied, right: str) -> Finding:
    said = f"not looked at: {fact.said}"
    return Finding(Level.WARN, check, said, f"kubectl auth can-i {right}")
