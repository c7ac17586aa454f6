"""What a real node needs of the machine, and a sentence for whatever is missing.

Asked by the `real_cluster` fixture and by tools/need_go.py before they build anything.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from e2e.controlplane.realnode import cgroups

CNI_PLUGINS = Path("/usr/lib/cni")
# Command → Debian package.
COMMANDS = {
    "runc": "runc",
    "nft": "nftables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "nsenter": "util-linux",
    "mount": "mount",
}
# What a node does in its namespaces, tried in some that are dropped at once.
_TRIAL = """
mount --make-rprivate / && mount -t tmpfs tmpfs /mnt && cd /mnt && mkdir low up work all &&
mount -t overlay overlay -o lowerdir=low,upperdir=up,workdir=work all &&
ip link add one type veth peer name two &&
nft add table ip trial && nft add chain ip trial nat '{ type nat hook output priority 0; }'
"""


def search_path() -> str:
    """Return a PATH that holds the folders of system programs, too, as root's often doesn't."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def missing() -> str | None:
    """Say what a real node lacks on this machine; None if it can run."""
    if not sys.platform.startswith("linux"):
        return "a real node needs Linux"
    if os.geteuid() != 0:
        return "a real node needs root, for namespaces, mounts and cgroups"
    packages = {
        package for name, package in COMMANDS.items() if not shutil.which(name, path=search_path())
    }
    if not (CNI_PLUGINS / "ptp").exists():
        packages.add("containernetworking-plugins")
    if packages:
        return f"Debian packages {', '.join(sorted(packages))} are missing: make setup-system"
    if not os.access(cgroups.hierarchies()[0], os.W_OK):
        return f"{cgroups.MOUNT} is read-only: is this an unprivileged container?"
    return _lacking_feature()


def _lacking_feature() -> str | None:
    trial = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", _TRIAL],
        env=os.environ | {"PATH": search_path()},
        capture_output=True,
        text=True,
        check=False,
    )
    if trial.returncode:
        return f"the kernel refuses what a real node needs: {trial.stderr.strip()}"
    return None
