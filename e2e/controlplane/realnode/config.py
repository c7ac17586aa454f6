"""The configuration of a real node's programs. Pure; node.py writes it to files.

Sources: the KubeletConfiguration v1beta1, KubeProxyConfiguration v1alpha1 and containerd
configuration version 3 references. A setting that isn't plain has its reason beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from e2e.controlplane.build import KUBERNETES

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.controlplane.tls import KeyPair

NODE_NAME = "real-node"
ADDRESS = "10.99.0.1"
"""Where the API server, the kubelet and CoreDNS are reached from pods."""
POD_RANGE = "10.244.0.0/24"
DOMAIN = "cluster.local"
PAUSE_IMAGE = "fairstow.dev/e2e/pause:1"
SCHEDULER_IMAGE = f"fairstow.dev/e2e/kube-scheduler:v{KUBERNETES}"
KUBELET_PORT = 10250
# The kubelet wants these values; it finds them in files of ours laid over the machine's.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def kubelet(
    *, authority: Path, serving: KeyPair, runtime: Path, cgroup: str, folder: Path
) -> dict[str, Any]:
    """Return the kubelet's configuration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "port": KUBELET_PORT,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(serving.cert),
        "tlsPrivateKeyFile": str(serving.key),
        "containerRuntimeEndpoint": f"unix://{runtime}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [ADDRESS],
        "clusterDomain": DOMAIN,
        "resolvConf": str(folder / "resolv.conf"),
        "volumePluginDir": str(folder / "volume-plugins"),
        # A developer's disk is often nearly full, and no image can be fetched a second time.
        "evictionHard": {"nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
    }


def kube_proxy(kubeconfig: Path) -> dict[str, Any]:
    """Return kube-proxy's configuration."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": NODE_NAME,
        "clusterCIDR": POD_RANGE,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        # The size of the connection table is the machine's, not the namespace's.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }


def pod_network(folder: Path) -> dict[str, Any]:
    """Return the CNI configuration: a veth pair per pod, everything routed.

    Not a bridge: an answer between two pods of one bridge would not pass the rules that
    translate it back to the Service's address.
    """
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(folder / "pod-addresses"),
                    "ranges": [[{"subnet": POD_RANGE}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }


def containerd(*, root: Path, socket: Path, networks: Path, plugins: Path) -> str:
    """Return containerd's configuration (TOML)."""
    return f"""\
version = 3
root = "{root}"
state = "/run/containerd"

[grpc]
address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
path = "{root}/opt"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
# A machine that is itself a container may not lower the score.
restrict_oom_score_adj = true
# Profiles are loaded into the machine's kernel and stay.
disable_apparmor = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{plugins}"]
conf_dir = "{networks}"
"""


def corefile(kubeconfig: Path) -> str:
    """Return CoreDNS's configuration: the names of the cluster and no others."""
    return f"""\
. {{
    bind {ADDRESS}
    errors
    kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        ttl 5
    }}
}}
"""


def dns_access(user: str) -> list[dict[str, Any]]:
    """Return the ClusterRole CoreDNS needs and its binding to `user`."""
    api = "rbac.authorization.k8s.io"
    name = "fairstow-e2e:dns"
    read = ["list", "watch"]
    return [
        {
            "apiVersion": f"{api}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": read},
                {
                    "apiGroups": ["discovery.k8s.io"],
                    "resources": ["endpointslices"],
                    "verbs": read,
                },
            ],
        },
        {
            "apiVersion": f"{api}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": api, "kind": "User", "name": user}],
        },
    ]
