"""A real node leaves the machine as it found it: while it runs, after it stops, after `kill -9`.

Compared are addresses, links, routes, firewall rules, mounts, kernel settings, cgroups and
processes, and the folders where the programs keep state by default. Not covered: other files
outside of the cluster's folder, which nothing lists cheaply.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.controlplane import launch
from e2e.controlplane.build import CONTROLPLANE
from e2e.controlplane.client import Cluster
from e2e.controlplane.realnode import cgroups
from e2e.controlplane.realnode.config import KERNEL_SETTINGS, PAUSE_IMAGE
from e2e.controlplane.realnode.needs import search_path

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.real_node
ROOT = Path(__file__).parent.parent
# Keeps a cluster until its input ends.
KEEPER = """
import sys
from pathlib import Path
from e2e.controlplane.cluster import LocalCluster
from e2e.controlplane.options import ClusterOptions

with LocalCluster(Path(sys.argv[1]), ClusterOptions(real_node=True, fake_nodes=False)):
    print("up", flush=True)
    sys.stdin.read()
"""
STATE = (
    *("/etc/cni", "/etc/containerd", "/opt/cni", "/opt/containerd", "/run/containerd"),
    *("/run/netns", "/usr/libexec/kubernetes", "/var/lib/cni", "/var/lib/containerd"),
    *("/var/lib/kubelet", "/var/log/containers", "/var/log/pods"),
)
VOLATILE = ("valid_life_time", "preferred_life_time")


def machine() -> dict[str, object]:
    """Return all that a node with the machine's own namespaces would change."""

    def said(*command: str) -> str:
        environ = os.environ | {"PATH": search_path()}
        return subprocess.run(
            command, env=environ, check=True, capture_output=True, text=True
        ).stdout

    addresses = json.loads(said("ip", "-json", "address"))
    for entry in (entry for link in addresses for entry in link["addr_info"]):
        for field in VOLATILE:
            entry.pop(field)
    settings = ["net/ipv4/ip_forward", *KERNEL_SETTINGS]
    return {
        "addresses": addresses,
        "routes": said("ip", "-details", "route", "show", "table", "all"),
        "firewall": said("nft", "list", "ruleset"),
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "settings": {name: Path("/proc/sys", name).read_text() for name in settings},
        "state": {
            name: sorted(map(str, Path(name).rglob("*"))) for name in STATE if Path(name).exists()
        },
    }


def identities() -> dict[int, str]:
    """Return every process of the machine with what tells it from later ones of its number."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return {pid: found for pid in pids if (found := launch.identity(pid))}


def members(folder: Path) -> dict[int, str]:
    """Return the node's processes: those in its cgroup or below, pods included."""
    name = f"/{cgroups.name_of(folder)}/"
    found = {}
    for pid, identity in identities().items():
        try:
            groups = Path(f"/proc/{pid}/cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if name in groups:
            found[pid] = identity
    return found


def groups_left(folder: Path) -> list[Path]:
    name = cgroups.name_of(folder)
    return [*cgroups.MOUNT.glob(name), *cgroups.MOUNT.glob(f"*/{name}")]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the cluster is; kubelet's sockets are in it, whose paths can't be long."""
    return tmp_path_factory.mktemp("k") / "c"


@pytest.fixture
def keeper(real_node_programs: None, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that keeps a cluster with a real node; up when handed out."""
    command = [sys.executable, "-c", KEEPER, str(folder)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def before(real_node_programs: None) -> dict[str, object]:
    return machine()


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_the_machine_stays_as_it_was(
    before: dict[str, object], keeper: subprocess.Popen[str], folder: Path, how: str
) -> None:
    cluster = Cluster(folder / "admin.kubeconfig", (str(CONTROLPLANE.path), "kubectl"))
    cluster.kubectl("run", "left-over", f"--image={PAUSE_IMAGE}", "--image-pull-policy=Never")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/left-over", "--timeout=55s")
    assert machine() == before
    ours = members(folder)
    names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in ours}
    assert names >= {"containerd", "node", "coredns", "pause"}

    if how == "stopped":
        assert keeper.stdin is not None
        keeper.stdin.close()
    else:
        keeper.send_signal(signal.SIGKILL)
    keeper.wait()
    deadline = time.monotonic() + 20
    while (alive := ours.items() & identities().items()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive
    assert machine() == before
    if how == "killed":
        cgroups.sweep()  # as the next start does
    assert not groups_left(folder)
