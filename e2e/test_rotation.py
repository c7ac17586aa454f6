"""An authority succeeded by another while pods are scheduled and plans are decided on.

On the real node, where kubelets renew mounted Secrets late: the order of trust and use is what
keeps every connection up. The authority's certificate is made to expire soon (under its own key, as
if time had passed), and the hour that everybody has to read the news is cut short once all have.
Not covered: the last step, an hour later, when the former authority is forgotten
(tests/kube/test_certificates.py and e2e/test_certificates.py have it).
"""

from __future__ import annotations

import json
import threading
import time
from base64 import b64decode, b64encode
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controllers.certs.secrets import TOLD
from e2e.helm import NAMESPACE
from e2e.plans import plan_for
from e2e.rights import grant, granted
from e2e.test_chart import BEA, cluster, gpu_pod, installed, nodes, opted_in, values
from fairstow.kube import authority
from fairstow.kube.permissions import AUTHORITY_SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controlplane.realnode.cluster import RealCluster

pytestmark = [pytest.mark.real_node, pytest.mark.full]
__all__ = ["cluster", "installed", "nodes", "opted_in", "values"]

PATIENCE = 180.0
"""The operator looks each minute, a kubelet within a minute and a half."""


def secret(cluster: RealCluster, name: str) -> dict[str, bytes]:
    data = cluster.get("-n", NAMESPACE, "secret", name)["data"]
    return {key: b64decode(value) for key, value in data.items()}


def aged(certificate: bytes, key: bytes) -> bytes:
    """Return the same authority, under the same key, with a hundred days left."""
    own = x509.load_pem_x509_certificate(certificate)
    signing = serialization.load_pem_private_key(key, password=None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(own.subject)
        .issuer_name(own.issuer)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=4 * 365))
        .not_valid_after(now + timedelta(days=100))
    )
    for extension in own.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(signing, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Load:
    """Pods that want a node and decisions on plans, one after the other, and what went wrong."""

    def __init__(self, cluster: RealCluster, namespace: str, node: str) -> None:
        self.scheduled = self.decided = 0
        self.problems: list[str] = []
        self._cluster, self._namespace, self._node = cluster, namespace, node

    def pod(self) -> None:
        name = f"pod-{self.scheduled}"
        self._cluster.apply([gpu_pod(self._namespace, name, 1)])
        ready = ("--for=condition=Ready", f"pod/{name}", "--timeout=30s")
        self._cluster.kubectl("-n", self._namespace, "wait", *ready)
        self._cluster.kubectl("-n", self._namespace, "delete", "pod", name, "--wait=false")
        self.scheduled += 1

    def decision(self) -> None:
        plan = plan_for(self._node, approval={"decision": "Rejected", "by": BEA})
        text = json.dumps(plan | {"metadata": {"name": "e2e-decision"}})
        self._cluster.kubectl("create", "--dry-run=server", f"--as={BEA}", "-f", "-", stdin=text)
        self.decided += 1

    def run(self, until: threading.Event) -> None:
        while not until.is_set():
            for what in (self.pod, self.decision):
                try:
                    what()
                except Exception as error:  # noqa: BLE001 - whatever it is, it went wrong
                    self.problems.append(f"{time.ctime()} {what.__name__}: {error}")


@contextmanager
def under(load: Load) -> Iterator[None]:
    ended = threading.Event()
    thread = threading.Thread(target=load.run, args=(ended,))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_an_authority_is_succeeded_under_load(
    installed: RealCluster, opted_in: str, nodes: list[str]
) -> None:
    load = Load(installed, opted_in, nodes[0])
    writing = grant("fairstow-editor", BEA)
    writing["metadata"]["name"] = "e2e-editor"
    with granted(installed, grant("fairstow-approver", BEA), writing), under(load):
        successor = succeed(installed)
        extender = authority.read(
            *(secret(installed, "fairstow-extender-tls")[key] for key in ("tls.crt", "tls.key"))
        )
        assert extender is not None
        assert extender.issuer == successor
        time.sleep(90)  # until every kubelet has renewed what is mounted
        # Connections that are open stay open: have the scheduler shake hands anew.
        installed.kubectl("-n", NAMESPACE, "rollout", "restart", "deployment/fairstow-extender")
        installed.kubectl(
            *("-n", NAMESPACE, "rollout", "status", "deployment/fairstow-extender"), timeout=120
        )
        time.sleep(20)
    assert load.problems == []
    assert load.scheduled > 20
    assert load.decided > 20
    logs = "".join(
        installed.kubectl("-n", NAMESPACE, "logs", pod["metadata"]["name"])
        for pod in installed.items(
            "-n", NAMESPACE, "pods", "-l=app.kubernetes.io/component=scheduler"
        )
    )
    assert "extender" not in "".join(line for line in logs.splitlines() if line.startswith("E"))
    assert "Skipping extender" not in logs


def succeed(installed: RealCluster) -> str:
    """Take an authority through all steps; return the id of its successor."""
    own = secret(installed, AUTHORITY_SECRET)
    old = b64encode(aged(own["tls.crt"], own["tls.key"])).decode()
    change(installed, {"data": {"tls.crt": old}})
    # 1. The coming authority is made, and everybody is told.
    bundle = installed.wait(lambda: coming(installed), "the coming authority", PATIENCE)
    for component in ("extender", "scheduler"):
        installed.wait(
            lambda component=component: trusts(installed, component, bundle),  # type: ignore[misc]
            f"{component} to be told",
            PATIENCE,
        )
    # 2. An hour later it signs.
    then = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    change(installed, {"metadata": {"annotations": {TOLD: then}}})
    successor = authority.read_bundle(bundle)[-1][0].id
    installed.wait(lambda: signs(installed, successor), "the successor to sign", PATIENCE)
    return successor


def change(installed: RealCluster, patch: dict[str, Any]) -> None:
    text = json.dumps(patch)
    installed.kubectl(
        "-n", NAMESPACE, "patch", "secret", AUTHORITY_SECRET, "--type=merge", "-p", text
    )


def coming(installed: RealCluster) -> bytes | None:
    """Return whom everybody trusts, once there is a coming authority and all have been told."""
    found = installed.get("-n", NAMESPACE, "secret", AUTHORITY_SECRET)
    told = TOLD in found["metadata"].get("annotations", {})
    return b64decode(found["data"]["ca.crt"]) if told and "next.crt" in found["data"] else None


def trusts(installed: RealCluster, component: str, bundle: bytes) -> bool:
    """Whether a component's pods have read whom to trust: from what is mounted, or at their start.

    The scheduler's image has no program to look with; its pods were started anew.
    """
    if component == "scheduler":
        done = installed.get("-n", NAMESPACE, "deployment", "fairstow-scheduler")
        status = done["status"]
        return bool(
            status.get("observedGeneration") == done["metadata"]["generation"]
            and status.get("updatedReplicas") == status.get("readyReplicas") == status["replicas"]
        )
    label = f"-l=app.kubernetes.io/component={component}"
    pods = [pod["metadata"]["name"] for pod in installed.items("-n", NAMESPACE, "pods", label)]
    read = (installed.kubectl("-n", NAMESPACE, "exec", p, "--", "cat", "/tls/ca.crt") for p in pods)
    return all(text.encode() == bundle for text in read)


def signs(installed: RealCluster, successor: str) -> bool:
    names = ("webhook", "extender", "scheduler")
    held = (secret(installed, f"fairstow-{name}-tls") for name in names)
    facts = [authority.read(each["tls.crt"], each["tls.key"]) for each in held]
    return all(each is not None and each.issuer == successor for each in facts)
