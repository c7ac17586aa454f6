"""A real node on paper and in motion: its files, its one process, its images.

Used by cluster.py, which gives it the control plane's blueprint. All of its state lies in
`<cluster folder>/node`; what else it touches is hidden by init.py's mount namespace.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e.controlplane.build import (
    ALIAS,
    CONTROLPLANE,
    CTR,
    DNS,
    NODE,
    PAUSE,
    RUNTIME,
    SHIM,
    ensure,
)
from e2e.controlplane.realnode import cgroups, config, images, needs

if TYPE_CHECKING:
    from e2e.controlplane.components import Blueprint

PROGRAMS = (NODE, PAUSE, RUNTIME, SHIM, CTR, DNS)
ROOT = Path(__file__).parents[3]
DNS_USER = "fairstow-e2e:dns"
# Where programs keep state at fixed paths: theirs inside, ours in truth.
_SOCKETS = ("containerd.sock.ttrpc", "kubelet/device-plugins/kubelet.sock")
"""The longest that are in the node's folder."""
_LONGEST_SOCKET = 107
"""Bytes of a socket's path in Linux (`sun_path`, less the zero at its end)."""
_HIDDEN = {"/run": "run", "/var/lib": "var-lib", "/var/log": "var-log"}


class NodeError(Exception):
    """The real node refused something; the message holds what it said."""


@dataclass(frozen=True)
class RealNode:
    """The real node of the cluster that `blueprint` describes."""

    blueprint: Blueprint

    @property
    def folder(self) -> Path:
        """Where all of its state lies."""
        return self.blueprint.folder / "node"

    @property
    def socket(self) -> Path:
        """Where containerd listens."""
        return self.folder / "containerd.sock"

    def command(self) -> list[str]:
        """Write every file the node reads, and return the command that becomes the node."""
        cgroups.sweep()  # those of nodes that were killed, in whatever folder
        self.folder.mkdir(parents=True, exist_ok=True)
        plan = self._write("plan.json", self._plan())
        module = "e2e.controlplane.realnode.init"
        return [sys.executable, "-S", "-m", module, str(plan)]

    def environ(self) -> dict[str, str]:
        """Return what the node's process needs in its environment."""
        return {"PYTHONPATH": str(ROOT), "PATH": needs.search_path()}

    def load(self, archive: Path) -> None:
        """Import a docker-archive. Raises NodeError."""
        client = [ensure(CTR), "--address", self.socket, "--namespace", "k8s.io"]
        # Unpacked, the layers aren't needed a second time: that halves the memory they take.
        command = [*client, "images", "import", "--local", "--discard-unpacked-layers", archive]
        reply = subprocess.run(
            [str(each) for each in command], capture_output=True, text=True, check=False
        )
        if reply.returncode:
            raise NodeError(f"containerd could not import {archive}: {reply.stderr.strip()}")

    def load_pause(self) -> None:
        """Import the image that every pod's sandbox runs."""
        archive = self.folder / "pause.tar"
        images.of_programs(archive, {"/pause": ensure(PAUSE)}, config.PAUSE_IMAGE)
        self.load(archive)

    def load_scheduler(self) -> str:
        """Import an image of kube-scheduler, laid out as the official one; return its name."""
        archive = self.folder / "scheduler.tar"
        if not archive.exists():
            programs = {
                "/usr/local/bin/kube-scheduler": ensure(ALIAS),
                "/controlplane": ensure(CONTROLPLANE),
            }
            images.of_programs(archive, programs, config.SCHEDULER_IMAGE)
            self.load(archive)
        return config.SCHEDULER_IMAGE

    def _plan(self) -> dict[str, Any]:
        binds = {target: str(self._folder(name)) for target, name in _HIDDEN.items()}
        for setting, value in config.KERNEL_SETTINGS.items():
            copy = self._write(setting.replace("/", "."), value)
            binds[f"/proc/sys/{setting}"] = str(copy)
        logs = self.blueprint.folder / "logs"
        programs = [self._containerd(), self._kube_proxy(), self._dns(), self._kubelet()]
        return {
            "cgroup": cgroups.name_of(self.blueprint.folder),
            "binds": binds,
            "images": str(self._folder("containerd")),
            "programs": [{**each, "log": str(logs / f"{each['name']}.log")} for each in programs],
        }

    def _containerd(self) -> dict[str, Any]:
        networks = self._folder("networks")
        self._write("networks/10-pods.conflist", config.pod_network(self.folder))
        text = config.containerd(
            root=self._folder("containerd"),
            socket=self.socket,
            networks=networks,
            plugins=needs.CNI_PLUGINS,
        )
        path = f"{ensure(SHIM).parent}:{needs.search_path()}"
        command = [str(ensure(RUNTIME)), f"--config={self._write('containerd.toml', text)}"]
        return {"name": "containerd", "command": command, "env": {"PATH": path}}

    def _kubelet(self) -> dict[str, Any]:
        plan = self.blueprint
        user = f"system:node:{config.NODE_NAME}"
        kubeconfig = plan.kubeconfig("kubelet", user, "system:nodes")
        self._write("resolv.conf", f"nameserver {config.ADDRESS}\n")
        serving = plan.authority.issue("kubelet", hosts=[config.NODE_NAME, config.ADDRESS])
        settings = config.kubelet(
            authority=plan.authority.pair.cert,
            serving=serving,
            runtime=self.socket,
            cgroup=cgroups.name_of(plan.folder),
            folder=self.folder,
        )
        command = [
            str(ensure(NODE)),
            "kubelet",
            f"--config={self._write('kubelet.json', settings)}",
            f"--kubeconfig={kubeconfig}",
            f"--root-dir={self._folder('kubelet')}",
            f"--hostname-override={config.NODE_NAME}",
            f"--node-ip={config.ADDRESS}",
        ]
        return {"name": "kubelet", "command": command, "after": str(self.socket)}

    def _kube_proxy(self) -> dict[str, Any]:
        kubeconfig = self.blueprint.kubeconfig("kube-proxy", "system:kube-proxy")
        settings = self._write("kube-proxy.json", config.kube_proxy(kubeconfig))
        return {
            "name": "kube-proxy",
            "command": [str(ensure(NODE)), "kube-proxy", f"--config={settings}"],
        }

    def _dns(self) -> dict[str, Any]:
        kubeconfig = self.blueprint.kubeconfig("dns", DNS_USER)
        corefile = self._write("Corefile", config.corefile(kubeconfig))
        return {"name": "coredns", "command": [str(ensure(DNS)), "-conf", str(corefile)]}

    def _folder(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _write(self, name: str, content: str | dict[str, Any]) -> Path:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
        return path


def check(folder: Path) -> None:
    """Refuse a cluster's folder that is too long for a real node. Raises NodeError."""
    below = max(len(f"/node/{each}") for each in _SOCKETS)
    most, length = _LONGEST_SOCKET - below, len(os.fsencode(folder.absolute()))
    if length > most:
        raise NodeError(
            f"{folder.absolute()} has {length} characters, and the folder of a cluster with a real "
            f"node at most {most}: sockets of kubelet and containerd are in it, whose paths Linux "
            "limits. Choose a shorter one; for tests that is TMPDIR or pytest's --basetemp."
        )


def clean(folder: Path) -> None:
    """Remove what a node of the cluster in `folder` left, once its process has ended."""
    if (folder / "node").exists():
        shutil.rmtree(folder / "node")
        cgroups.sweep()
