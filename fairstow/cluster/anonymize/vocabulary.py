"""Words that say nothing about whose cluster it is: kept as they are.

Labels, taints and annotations that Kubernetes, device plugins and autoscalers set; resources of
public device plugins; namespaces and classes that every cluster has.
"""

import re

NAMESPACES = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})
SCHEDULERS = frozenset({"default-scheduler", "fairstow"})
CLASSES = frozenset({"system-cluster-critical", "system-node-critical"})

OWNERS = frozenset(
    {"ReplicaSet", "StatefulSet", "DaemonSet", "Deployment", "Job", "CronJob", "Node",
     "ReplicationController", "Pod", "PodGroup", "Workload", "JobSet", "LeaderWorkerSet",
     "PyTorchJob", "MPIJob", "TFJob", "RayCluster", "RayJob", "SparkApplication", "Workflow"}
)  # fmt: skip
"""Kinds of owners."""

GROUPS = frozenset(
    {"", "apps", "batch", "policy", "scheduling.k8s.io", "storage.k8s.io",
     "scheduling.x-k8s.io", "scheduling.volcano.sh", "batch.volcano.sh", "kubeflow.org", "ray.io",
     "jobset.x-k8s.io", "leaderworkerset.x-k8s.io", "kueue.x-k8s.io", "sparkoperator.k8s.io",
     "argoproj.io"}
)  # fmt: skip
"""API groups."""

DRIVERS = frozenset(
    {"ebs.csi.aws.com", "efs.csi.aws.com", "disk.csi.azure.com", "file.csi.azure.com",
     "pd.csi.storage.gke.io", "filestore.csi.storage.gke.io", "cinder.csi.openstack.org",
     "pxd.portworx.com", "csi.vsphere.vmware.com", "driver.longhorn.io", "local.csi.storage.io",
     "rbd.csi.ceph.com", "cephfs.csi.ceph.com", "nfs.csi.k8s.io"}
)  # fmt: skip
"""CSI drivers."""

_IN_TREE = re.compile(r"kubernetes\.io/[a-z-]{1,40}\Z")

KEYS = frozenset(
    {"app", "job-name", "controller-uid", "pod-template-hash", "controller-revision-hash",
     "k8s-app", "tier", "component", "role", "name", "version", "release", "environment"}
    | {f"app.kubernetes.io/{k}" for k in ("name", "instance", "component", "part-of", "version",
       "managed-by")}
    | {f"batch.kubernetes.io/{k}" for k in ("job-name", "controller-uid", "job-completion-index")}
    | {f"kubernetes.io/{k}" for k in ("hostname", "arch", "os", "metadata.name", "config.mirror")}
    | {f"beta.kubernetes.io/{k}" for k in ("arch", "os", "instance-type")}
    | {f"topology.kubernetes.io/{k}" for k in ("zone", "region")}
    | {f"failure-domain.beta.kubernetes.io/{k}" for k in ("zone", "region")}
    | {f"node.kubernetes.io/{k}" for k in ("instance-type", "unschedulable", "not-ready",
       "unreachable", "memory-pressure", "disk-pressure", "pid-pressure", "network-unavailable",
       "out-of-service", "exclude-from-external-load-balancers")}
    | {f"node-role.kubernetes.io/{k}" for k in ("control-plane", "master", "worker")}
    | {"node.cloudprovider.kubernetes.io/uninitialized", "statefulset.kubernetes.io/pod-name",
       "apps.kubernetes.io/pod-index"}
    | {"ToBeDeletedByClusterAutoscaler", "DeletionCandidateOfClusterAutoscaler",
       "karpenter.sh/disrupted", "karpenter.sh/disruption", "karpenter.sh/do-not-disrupt",
       "karpenter.sh/nodepool", "karpenter.sh/capacity-type", "karpenter.sh/registered",
       "karpenter.k8s.aws/instance-gpu-name",
       "cluster-autoscaler.kubernetes.io/safe-to-evict"}
    | {f"nvidia.com/{k}" for k in ("gpu", "gpu.present", "gpu.product", "gpu.count", "gpu.memory",
       "gpu.family", "gpu.machine", "gpu.replicas", "gpu.sharing-strategy", "mig.config",
       "mig.strategy", "mig.capable")}
    | {"amd.com/gpu", "amd.com/gpu.product-name", "beta.amd.com/gpu.product-name",
       "gpu.intel.com/product", "cloud.google.com/gke-accelerator",
       "cloud.google.com/gke-tpu-accelerator"}
    | {"scheduling.x-k8s.io/pod-group", "pod-group.scheduling.sigs.k8s.io",
       "scheduling.k8s.io/group-name", "kueue.x-k8s.io/pod-group-name",
       "kueue.x-k8s.io/pod-group-total-count", "kueue.x-k8s.io/queue-name", "pod-group-name",
       "yunikorn.apache.org/task-group-name", "leaderworkerset.sigs.k8s.io/name"}
    | {"pv.kubernetes.io/bind-completed", "volume.kubernetes.io/selected-node",
       "volume.beta.kubernetes.io/storage-class"}
    | {f"fairstow.dev/{k}" for k in ("movable", "do-not-disrupt", "work-lost", "checkpointed-at")}
)  # fmt: skip
"""Keys of labels, taints and annotations."""

PRODUCTS = frozenset(
    {"nvidia.com/gpu.product", "nvidia.com/gpu.family", "amd.com/gpu.product-name",
     "beta.amd.com/gpu.product-name", "gpu.intel.com/product", "cloud.google.com/gke-accelerator",
     "cloud.google.com/gke-tpu-accelerator", "karpenter.k8s.aws/instance-gpu-name"}
)  # fmt: skip
"""Labels whose values name a vendor's product."""

_PRODUCT = re.compile(
    r"(?i)(?=nvidia|tesla|geforce|quadro|rtx|gtx|amd|radeon|instinct|intel|tpu|[abghlmptv]\d{1,3})"
    r"(?:(?:nvidia|tesla|geforce|quadro|rtx|gtx|amd|radeon|instinct|intel|tpu|super|titan|pro|max"
    r"|flex|arc|sxm|pcie|nvl|hbm|oam|mig|shared|replica|ada|lovelace|generation|graphics|device"
    r"|data|center|server|workstation|edition|gpu|mega|ultra|lite|slice|podslice|grace|kepler"
    r"|maxwell|pascal|volta|turing|ampere|hopper|blackwell|[a-z]{0,3}\d{1,5}[a-z]{0,3}\d{0,3})"
    r"(?:[-._]|\Z))+\Z",
    re.ASCII,
)
"""A product's name is made of words like these; whatever an administrator adds to it isn't."""

VALUES = frozenset(
    {"", "true", "false", "True", "False", "Exists", "present", "yes", "no", "amd64", "arm64",
     "linux", "windows", "fairstow", "NoSchedule", "spot", "on-demand", "none",
     "reserved", "single", "mixed"}
)  # fmt: skip
"""Values of labels, taints and annotations."""

ACCELERATORS = (
    "nvidia.com/gpu", "nvidia.com/mig-", "amd.com/gpu", "gpu.intel.com/", "google.com/tpu",
    "habana.ai/gaudi", "aws.amazon.com/neuron", "huawei.com/Ascend", "cambricon.com/",
    "tenstorrent.com/",
)  # fmt: skip
"""How resources start that count as accelerators, whatever an administrator called them."""

_RESOURCE = re.compile(
    r"(?:cpu|memory|ephemeral-storage|pods|storage|hugepages-\d{1,4}[KMGT]i"
    r"|attachable-volumes-(?:aws-ebs|azure-disk|gce-pd|cinder)"
    r"|nvidia\.com/(?:gpu(?:\.shared|cores|mem|mem-percentage)?"
    r"|mig-\d{1,2}g\.\d{1,3}gb(?:\.me)?(?:\.all)?(?:\.shared)?)"
    r"|amd\.com/gpu|gpu\.intel\.com/(?:i915|xe|tiles|millicores)|google\.com/tpu"
    r"|habana\.ai/gaudi|aws\.amazon\.com/neuron(?:core|device)?|huawei\.com/Ascend\d{3}[A-Z]?"
    r"|cambricon\.com/mlu\d{0,3}|tenstorrent\.com/[np]\d{3}"
    r"|rdma/hca(?:_shared_devices_[a-z])?|vpc\.amazonaws\.com/efa)",
    re.ASCII,
)


def public_resource(name: str) -> bool:
    """Whether a resource's name is a vendor's or Kubernetes' own."""
    return bool(_RESOURCE.fullmatch(name))


def public_value(key: str, value: str) -> bool:
    """Whether a label's or taint's value says nothing about whose cluster it is."""
    return value in VALUES or (key in PRODUCTS and bool(_PRODUCT.match(value)))


def public_driver(name: str) -> bool:
    """Whether a storage driver is one that anybody can get."""
    return name in DRIVERS or bool(_IN_TREE.match(name))
