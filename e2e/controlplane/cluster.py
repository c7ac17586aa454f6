"""Starts and ends a local Kubernetes control plane. Used by provider.py, tests and the CLI.

All of its state lies in one folder. `start` is a page of steps, the first of which ends what a
crashed predecessor left in that folder.
"""

from __future__ import annotations

import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.controlplane import kwok
from e2e.controlplane.build import CONTROLPLANE, KWOK_CONTROLLER, ensure
from e2e.controlplane.client import Cluster, KubectlError, WaitTimeoutError
from e2e.controlplane.components import (
    KUBELET_CLIENT,
    KWOK_USER,
    LOOPBACK,
    Blueprint,
    Ports,
)
from e2e.controlplane.options import ClusterOptions
from e2e.controlplane.processes import ComponentError, Processes
from e2e.controlplane.realnode import needs, network, node
from e2e.controlplane.realnode.config import ADDRESS, NODE_NAME, dns_access
from e2e.controlplane.tls import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from e2e.controlplane.tls import KeyPair

_PORT_TAKEN = "address already in use"
_ATTEMPTS = 3
_PROBE_SECONDS = 2.0


class LocalCluster:
    """One control plane in `folder`; as a context manager it is up inside and gone after.

    With `detached` it outlives this process, and whoever opens the folder next can stop it.
    """

    def __init__(
        self, folder: Path, options: ClusterOptions | None = None, *, detached: bool = False
    ) -> None:
        self.folder = folder.absolute()
        self.options = options or ClusterOptions()
        self.processes = Processes(self.folder, die_with_parent=not detached)
        self.admin_kubeconfig = self.folder / "admin.kubeconfig"
        self._blueprint: Blueprint | None = None
        self._inside: tuple[str, ...] = ()

    def __enter__(self) -> Cluster:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> Cluster:
        """Return the cluster once every component answers.

        Whatever interrupts the start, Ctrl-C included, no process is left. Raises ComponentError,
        BuildError or, before anything is begun, NodeError.
        """
        if self.options.real_node:
            node.check(self.folder)
        binary = ensure(CONTROLPLANE)
        kwok_binary = ensure(KWOK_CONTROLLER) if self.options.fake_nodes else None
        for program in node.PROGRAMS if self.options.real_node else ():
            ensure(program)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._start(binary, kwok_binary)
            except ComponentError as error:
                self.stop()
                if _PORT_TAKEN not in str(error) or attempt == _ATTEMPTS:
                    raise
            except BaseException:
                self.stop()
                raise
        raise AssertionError("unreachable")

    def _start(self, binary: Path, kwok_binary: Path | None) -> Cluster:
        # 1. A clean folder: end what a crashed predecessor left, forget what it stored.
        self.stop()
        shutil.rmtree(self.folder / "logs", ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

        # 2. Names, ports and certificates.
        authority = Authority(self.folder / "pki")
        plan = Blueprint(self.folder, binary, Ports.pick(), authority, self.options)
        self._blueprint = plan
        serving = plan.serving()
        plan.kubeconfig("admin", "fairstow-e2e:admin", "system:masters")
        self._probe_context = _tls(authority, authority.issue("probe", groups=["system:masters"]))

        # 3. Storage and the API server, which waits for its storage by itself.
        self._inside = self._network(plan.ports) if self.options.real_node else ()
        self._spawn("etcd", plan.etcd(serving))
        self._spawn("kube-apiserver", plan.apiserver(serving))
        self._await_ready("kube-apiserver", f"{plan.server}/readyz")

        # 4. Those that act through it, side by side.
        cluster = Cluster(self.admin_kubeconfig, (str(binary), "kubectl"))
        ports = plan.ports
        self._spawn("kube-controller-manager", plan.controller_manager(serving))
        self._spawn("kube-scheduler", plan.scheduler(serving))
        self._grant(cluster)
        if kwok_binary is not None:
            kubeconfig = plan.kubeconfig("kwok", KWOK_USER)
            lease = self.options.node_lease_seconds
            arguments = kwok.command(kwok_binary, kubeconfig, node_lease_seconds=lease)
            self._spawn("kwok", arguments)
        for name, port in (
            ("kube-controller-manager", ports.controller_manager),
            ("kube-scheduler", ports.scheduler),
        ):
            self._await_ready(name, f"https://{LOOPBACK}:{port}/healthz")

        # 5. Ready means that a pod can be created: its ServiceAccount exists, and a node.
        cluster.wait(
            lambda: cluster.get("serviceaccount", "default"),
            "the default ServiceAccount",
            timeout=self.options.ready_timeout,
        )
        if self.options.real_node:
            self._start_node(cluster)
        self.processes.check()
        return cluster

    def _spawn(
        self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> None:
        self.processes.spawn(name, [*self._inside, *command], env)

    def _network(self, ports: Ports) -> tuple[str, ...]:
        """Start the process that holds the network, and return how to start others in it."""
        ready = self.folder / "network.ready"
        ready.unlink(missing_ok=True)
        inner = (ports.apiserver, ports.controller_manager, ports.scheduler)
        command = [sys.executable, "-I", "-S", network.__file__, ready, ADDRESS, *inner]
        self.processes.spawn("network", [str(each) for each in command])
        deadline = time.monotonic() + self.options.ready_timeout
        while not ready.exists():
            self.processes.check()
            if time.monotonic() > deadline:
                raise self.processes.error("network", "did not become ready")
            time.sleep(0.02)
        enter = shutil.which("nsenter", path=needs.search_path())
        return (str(enter), f"--net={self.network}", "--")

    def _start_node(self, cluster: Cluster) -> None:
        real = node.RealNode(self.blueprint)
        cluster.apply(dns_access(node.DNS_USER))
        self._spawn("node", real.command(), real.environ())
        ready = ("wait", "--for=condition=Ready", f"node/{NODE_NAME}", "--timeout=1s")

        def becomes(done: Callable[[], object], what: str) -> None:
            def check() -> object:
                self.processes.check()
                return done()

            cluster.wait(check, what, timeout=self.options.ready_timeout)

        try:
            becomes(real.socket.exists, "containerd's socket")
            real.load_pause()
            becomes(lambda: cluster.kubectl(*ready), f"{NODE_NAME} Ready")
        except (node.NodeError, WaitTimeoutError) as error:
            raise self.processes.error("node", f"did not become ready: {error}") from error

    def stop(self) -> None:
        """End every process of this cluster, whoever started it, and drop its data; keep logs."""
        self.processes.stop()
        node.clean(self.folder)
        for name in ("etcd", "pki", "pids", "kubectl-cache"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for kubeconfig in self.folder.glob("*.kubeconfig"):
            kubeconfig.unlink()

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """Write a kubeconfig of a user with a certificate of their own."""
        assert self._blueprint is not None, "the cluster has not been started"
        return self._blueprint.kubeconfig(user.replace(":", "-"), user, *groups)

    @property
    def blueprint(self) -> Blueprint:
        """The addresses and the authority of the running cluster, for a real node beside it."""
        assert self._blueprint is not None, "the cluster has not been started"
        return self._blueprint

    @property
    def network(self) -> Path:
        """The network namespace of a cluster with a real node."""
        return Path(f"/proc/{self.processes.pid('network')}/ns/net")

    def _grant(self, cluster: Cluster) -> None:
        api = "rbac.authorization.k8s.io"
        kubelet_access = {
            "apiVersion": f"{api}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "fairstow-e2e:kubelet-api"},
            "roleRef": {
                "apiGroup": api,
                "kind": "ClusterRole",
                "name": "system:kubelet-api-admin",
            },
            "subjects": [{"apiGroup": api, "kind": "User", "name": KUBELET_CLIENT}],
        }
        try:
            cluster.apply([kubelet_access, *kwok.access(KWOK_USER)])
        except KubectlError as error:
            raise ComponentError(f"The API server refused the first objects: {error}") from error

    def _await_ready(self, name: str, url: str) -> None:
        deadline = time.monotonic() + self.options.ready_timeout
        last = "no attempt"
        while time.monotonic() < deadline:
            self.processes.check()
            try:
                request = urllib.request.urlopen(
                    url, context=self._probe_context, timeout=_PROBE_SECONDS
                )
                with request:
                    return
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                last = str(error)
            time.sleep(0.1)
        limit = self.options.ready_timeout
        raise self.processes.error(name, f"was not ready within {limit:g} s ({url}: {last})")


def _tls(authority: Authority, pair: KeyPair) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.pair.cert))
    context.load_cert_chain(pair.cert, pair.key)
    return context
