"""The webhook beside a cluster, with the rights that the chart gives it and the chart's settings.

The webhook configurations are the chart's, but that they point to a URL. Used by tests of what the
API server is told.
"""

from __future__ import annotations

import socket
import ssl
import sys
import urllib.error
import urllib.request
import uuid
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e.controlplane.components import LOOPBACK
from e2e.controlplane.processes import Processes
from e2e.controlplane.tls import Authority
from e2e.crds import install_crds
from e2e.helm import rendered
from e2e.rights import bind, grant, granted, writer
from fairstow.kube.permissions import WEBHOOK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controlplane.client import Cluster

ROOT = Path(__file__).parents[1]
ANA, BEA = "ana@example.com", "bea@example.com"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass
class Webhook:
    """The program and its cluster. Attributes: image: of what it gives pods; "": nothing."""

    cluster: Cluster
    folder: Path
    processes: Processes
    authority: Authority
    port: int
    admin: int
    image: str = ""

    def start(self) -> None:
        command = [sys.executable, str(ROOT / "operator" / "webhook.py")]
        command += [f"--listen={LOOPBACK}:{self.port}", f"--admin-listen={LOOPBACK}:{self.admin}"]
        command += [f"--kubeconfig={self.folder / 'sa'}"]
        command += [f"--tls-cert={self.folder / 'tls.crt'}", f"--tls-key={self.folder / 'tls.key'}"]
        command.append(f"--helper-image={self.image}")
        self.processes.spawn("webhook", [*command, "--drain-seconds=0.2"])
        self.cluster.wait(lambda: self.ask("/readyz", port=self.admin)[0] == 200, "the webhook")

    def issue(self) -> None:
        pair = self.authority.issue("webhook", hosts=["localhost"])
        (self.folder / "tls.crt").write_bytes(pair.cert.read_bytes())
        (self.folder / "tls.key").write_bytes(pair.key.read_bytes())

    def ask(
        self, path: str, body: bytes | None = None, *, port: int = 0, token: str = ""
    ) -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=str(self.authority.pair.cert))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"https://localhost:{port or self.port}{path}"
        request = urllib.request.Request(url, body, headers)
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (urllib.error.URLError, ConnectionError):
            return 0, b""

    def configurations(self) -> list[dict[str, Any]]:
        """The chart's, with a URL in place of the Service."""
        bundle = b64encode(self.authority.pair.cert.read_bytes()).decode()
        found = [o for o in rendered() if o["kind"].endswith("WebhookConfiguration")]
        for webhook in (webhook for each in found for webhook in each["webhooks"]):
            path = webhook["clientConfig"]["service"]["path"]
            url = f"https://localhost:{self.port}{path}"
            webhook["clientConfig"] = {"url": url, "caBundle": bundle}
        return found


@contextmanager
def beside(cluster: Cluster, folder: Path, *, image: str = "") -> Iterator[Webhook]:
    """Run the webhook; Bea may approve plans, Ana may only write them."""
    processes = Processes(folder, die_with_parent=True)
    authority = Authority(folder / "pki")
    own = Webhook(cluster, folder, processes, authority, free_port(), free_port(), image)
    namespace = f"e2e-{uuid.uuid4().hex[:8]}"
    install_crds(cluster)
    cluster.kubectl("create", "namespace", namespace)
    people = [o for o in rendered() if o["metadata"]["name"].startswith("fairstow-approver")]
    try:
        with bind(cluster, WEBHOOK, namespace):
            cluster.as_service_account(namespace, "fairstow-webhook", folder / "sa")
            own.issue()
            own.start()
            cluster.apply([*people, *own.configurations()])
            own_rights = (writer(), grant("fairstow-approver", BEA), grant("e2e-writer", ANA))
            with granted(cluster, *own_rights):
                yield own
    finally:
        kinds = "validatingwebhookconfiguration,mutatingwebhookconfiguration"
        cluster.kubectl("delete", kinds, "fairstow", "--ignore-not-found")
        cluster.kubectl("delete", "clusterrole", "fairstow-approver", "--ignore-not-found")
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
        processes.stop()
