"""Fairstow's extender and a kube-scheduler of its own, as processes beside the local cluster.

Both are the real programs with the certificates and the configuration that the chart gives them;
only that no pod runs them. Used by test_extender.py and by benchmarks/extender.py.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e.controlplane.build import CONTROLPLANE, KUBERNETES, ensure
from e2e.controlplane.components import LOOPBACK
from e2e.controlplane.processes import Processes
from e2e.controlplane.tls import Authority
from e2e.crds import install_crds
from e2e.rights import account
from fairstow.kube import permissions
from scheduler_plugins.profile import Attachment, configuration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from e2e.controlplane.client import Cluster

EXTENDER, SCHEDULER = "extender", "scheduler"
NAMESPACE = "fairstow-system"
ROOT = Path(__file__).parents[1]
_MINOR = int(KUBERNETES.split(".")[1])


@dataclass(frozen=True)
class Beside:
    """The two programs' files, ports and processes."""

    folder: Path
    cluster: Cluster
    processes: Processes
    authority: Authority
    port: int
    admin_port: int

    @property
    def url(self) -> str:
        """Where the extender listens."""
        return f"https://{LOOPBACK}:{self.port}"

    @property
    def attachment(self) -> Attachment:
        """How a scheduler reaches the extender."""
        client = self.folder / "client"
        return Attachment(
            url=self.url,
            ca=str(client / "ca.crt"),
            certificate=str(client / "tls.crt"),
            key=str(client / "tls.key"),
        )

    def issue(self) -> None:
        """Write new certificates for both, over those before."""
        pairs = {
            "server": self.authority.issue("fairstow-extender", hosts=[LOOPBACK, "localhost"]),
            "client": self.authority.issue("fairstow-scheduler"),
        }
        for name, pair in pairs.items():
            target = self.folder / name
            target.mkdir(exist_ok=True)
            shutil.copy(self.authority.pair.cert, target / "ca.crt")
            shutil.copy(pair.cert, target / "tls.crt")
            shutil.copy(pair.key, target / "tls.key")

    def client_context(self, *, certificate: bool = True) -> ssl.SSLContext:
        """Return what a client needs, with the scheduler's certificate or without any."""
        context = ssl.create_default_context(cafile=str(self.folder / "client" / "ca.crt"))
        if certificate:
            files = self.folder / "client"
            context.load_cert_chain(files / "tls.crt", files / "tls.key")
        return context

    def call(self, verb: str, content: Any, *, certificate: bool = True) -> Any:
        """POST to the extender as the scheduler does. Raises urllib.error.URLError."""
        request = urllib.request.Request(
            f"{self.url}/{verb}", json.dumps(content).encode(), method="POST"
        )
        context = self.client_context(certificate=certificate)
        with urllib.request.urlopen(request, context=context, timeout=10) as reply:
            return json.loads(reply.read())

    def serial(self) -> bytes:
        """Return the certificate that the extender presents now."""
        context = self.client_context()
        with (
            socket.create_connection((LOOPBACK, self.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=LOOPBACK) as connection,
        ):
            return connection.getpeercert(binary_form=True) or b""

    def start_extender(self, *arguments: str) -> None:
        """Start the extender and wait until it is ready."""
        server = self.folder / "server"
        account = self.cluster.as_service_account(
            NAMESPACE, "fairstow-extender", self.folder / "extender.kubeconfig"
        )
        self.processes.spawn(
            EXTENDER,
            [
                *(sys.executable, "-m", "scheduler_plugins"),
                f"--kubeconfig={account.kubeconfig}",
                f"--namespace={NAMESPACE}",
                "--replica=extender-0",
                f"--listen={LOOPBACK}:{self.port}",
                f"--admin-listen={LOOPBACK}:{self.admin_port}",
                f"--tls-cert={server / 'tls.crt'}",
                f"--tls-key={server / 'tls.key'}",
                f"--client-ca={server / 'ca.crt'}",
                "--drain-seconds=0.2",
                *arguments,
            ],
            env={"PYTHONPATH": str(ROOT)},
        )
        self.cluster.wait(lambda: self.admin("/readyz")[0] == 200, "the extender")

    def admin(self, path: str, token: str = "") -> tuple[int, str]:
        """GET from the extender's second port; status 0 while nobody answers."""
        self.processes.check()
        return self.get(self.admin_port, path, token)

    def get(self, port: int, path: str, token: str = "") -> tuple[int, str]:
        """GET from a port of one of the programs; status 0 while nobody answers."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"https://{LOOPBACK}:{port}{path}", headers=headers)
        context = self.client_context(certificate=False)
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)

    def reservations(self) -> str:
        """Return what room the extender keeps now, as JSON."""
        return self.admin("/reservations", self.token("monitor"))[1]

    def token(self, account: str) -> str:
        """Return a token of an account that may see the second port, unless it is a stranger."""
        path = self.folder / f"{account}.token"
        if not path.exists():
            self.cluster.apply(_viewer(account, may_see=account != "stranger"))
            token = self.cluster.kubectl("-n", NAMESPACE, "create", "token", account)
            path.touch(mode=0o600)
            path.write_text(token.strip())
        return path.read_text()

    def start_scheduler(
        self,
        attachment: Attachment | None = None,
        *arguments: str,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Start a kube-scheduler with schedulerName fairstow."""
        own = configuration(
            attachment or self.attachment, minor=_MINOR, leader_election_namespace="kube-system"
        )
        own |= {
            "leaderElection": {"leaderElect": False},
            "clientConnection": {
                "kubeconfig": str(self.cluster.kubeconfig),
                "qps": 1000,
                "burst": 2000,
            },
            **(config or {}),
        }
        path = self.folder / "scheduler.json"
        path.write_text(json.dumps(own, indent=1))
        command: Sequence[str] = (str(ensure(CONTROLPLANE)), "kube-scheduler")
        self.processes.spawn(
            SCHEDULER, [*command, f"--config={path}", "--secure-port=0", *arguments]
        )

    def stop(self, name: str) -> None:
        """End one of the two."""
        self.processes.stop_one(name)


@contextmanager
def beside(cluster: Cluster, folder: Path) -> Iterator[Beside]:
    """Yield the two programs, not started yet; they are gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    install(cluster)
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind((LOOPBACK, 0))
        ports = one.getsockname()[1], other.getsockname()[1]
    processes = Processes(folder, die_with_parent=True)
    own = Beside(folder, cluster, processes, Authority(folder / "pki"), *ports)
    own.issue()
    try:
        yield own
    finally:
        processes.stop()


def install(cluster: Cluster) -> None:
    """Create what the chart creates for the extender: CRDs, namespace, account and its rights."""
    install_crds(cluster)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    cluster.apply([namespace, *account(permissions.EXTENDER, NAMESPACE)])


def strict(attachment: Attachment) -> Attachment:
    """Return the attachment of a scheduler that schedules nothing without the extender."""
    return replace(attachment, ignorable=False)


def _viewer(account: str, *, may_see: bool) -> Iterator[dict[str, Any]]:
    """Yield a ServiceAccount and, if it may, its right to read what the extender shows."""
    group, here = "rbac.authorization.k8s.io", {"namespace": NAMESPACE, "name": account}
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": here}
    if may_see:
        rule = {"nonResourceURLs": ["/metrics", "/reservations"], "verbs": ["get"]}
        reference = {"apiGroup": group, "kind": "ClusterRole", "name": account}
        base = {"apiVersion": f"{group}/v1", "metadata": {"name": account}}
        yield base | {"kind": "ClusterRole", "rules": [rule]}
        subjects = [{"kind": "ServiceAccount", **here}]
        yield base | {"kind": "ClusterRoleBinding", "roleRef": reference, "subjects": subjects}
