"""The fields of each kind that decide something: an allow-list, all others are dropped.

Used by the package. A field that a decision comes to read belongs here too: a test compares what
is decided on a cluster and on its anonymized copy.
"""

from typing import Any

from fairstow.cluster.anonymize.forms import (
    Form,
    amounts,
    by,
    condition,
    each,
    filled,
    flag,
    labels,
    matching,
    moment,
    name_selection,
    named,
    number,
    present,
    record,
    selection,
    taint,
    zones,
)
from fairstow.cluster.anonymize.pseudonyms import (
    BUDGET,
    CLAIM,
    CLASS,
    GANG,
    NODE,
    OTHER,
    OWNER,
    POD,
    STORAGE,
    UID,
    VALUE,
    VOLUME,
    Pseudonyms,
)
from fairstow.cluster.anonymize.vocabulary import CLASSES, SCHEDULERS

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_YES = matching("true|false|yes")
_IN_TREE = ("awsElasticBlockStore", "azureDisk", "azureFile", "cinder", "gcePersistentDisk",
            "portworxVolume", "vsphereVolume")  # fmt: skip


def _meta(name: Form, **more: Form) -> Form:
    return record(
        name=name, namespace=by(Pseudonyms.namespace), uid=named(UID), deletionTimestamp=moment,
        creationTimestamp=moment,
        ownerReferences=each(_OWNER), generation=number, **more,
    )  # fmt: skip


def _owner(names: Pseudonyms, text: str) -> str:
    """Return what stands for an owner as Kind/name."""
    kind, _, name = text.partition("/")
    return f"{names.kind(kind)}/{names.text(OWNER, name)}"


_OWNER = record(
    apiVersion=by(Pseudonyms.api_version),
    kind=by(Pseudonyms.kind),
    name=named(OWNER),
    uid=named(UID),
    controller=flag,
)
_SELECTOR = record(matchLabels=labels, matchExpressions=each(selection))
_KEYS = each(by(Pseudonyms.key))
_NODE_SELECTOR = record(
    nodeSelectorTerms=each(
        record(matchExpressions=each(selection), matchFields=each(name_selection))
    )
)
_POD_TERMS = record(**{
    _REQUIRED: each(record(
        topologyKey=by(Pseudonyms.key), labelSelector=_SELECTOR, namespaceSelector=_SELECTOR,
        namespaces=each(by(Pseudonyms.namespace)), matchLabelKeys=_KEYS, mismatchLabelKeys=_KEYS,
    ))
})  # fmt: skip
_SPREAD = record(
    topologyKey=by(Pseudonyms.key),
    whenUnsatisfiable=matching("DoNotSchedule|ScheduleAnyway"),
    maxSkew=number,
    minDomains=number,
    labelSelector=_SELECTOR,
    matchLabelKeys=_KEYS,
    nodeAffinityPolicy=matching("Honor|Ignore"),
    nodeTaintsPolicy=matching("Honor|Ignore"),
)
_RESOURCES = record(requests=amounts, limits=amounts)
_PORT = record(
    containerPort=number,
    hostPort=number,
    hostIP=by(Pseudonyms.address),
    protocol=matching("TCP|UDP|SCTP"),
)
_CONTAINER = record(
    name=named(OTHER),
    resources=_RESOURCES,
    ports=each(_PORT),
    restartPolicy=matching("Always|OnFailure|Never"),
    restartPolicyRules=each(record(action=matching("RestartAllContainers|Restart|Stop"))),
    volumeMounts=each(record(bindMountOptions=each(lambda *_: "kept"))),
)
_VOLUME = record(
    name=named(OTHER),
    emptyDir=record(medium=matching(r"|Memory|HugePages(-\d+[KMG]i)?")),
    persistentVolumeClaim=record(claimName=named(CLAIM)),
    **dict.fromkeys(
        (*_IN_TREE, "cephfs", "configMap", "csi", "downwardAPI", "ephemeral", "fc", "flexVolume",
         "flocker", "gitRepo", "glusterfs", "hostPath", "image", "iscsi", "nfs",
         "photonPersistentDisk", "projected", "quobyte", "rbd", "scaleIO", "secret", "storageos"),
        present,
    ),
)  # fmt: skip
_GRANTED = record(name=named(OTHER), allocatedResources=amounts, resources=_RESOURCES)
_POD = record(
    metadata=_meta(
        named(POD),
        labels=labels,
        annotations=record(**{
            "kubernetes.io/config.mirror": by(lambda *_: "kept"),
            "fairstow.dev/movable": _YES,
            "fairstow.dev/do-not-disrupt": _YES,
            "fairstow.dev/work-lost": matching("none"),
            "fairstow.dev/checkpointed-at": moment,
            "karpenter.sh/do-not-disrupt": _YES,
            "cluster-autoscaler.kubernetes.io/safe-to-evict": _YES,
            "scheduling.k8s.io/group-name": named(VALUE),
            "kueue.x-k8s.io/pod-group-total-count": matching(r"[0-9]{1,9}"),
        }),
    ),
    spec=record(
        containers=each(_CONTAINER),
        initContainers=each(_CONTAINER),
        ephemeralContainers=each(_CONTAINER),
        nodeName=named(NODE),
        nodeSelector=labels,
        affinity=record(
            nodeAffinity=record(**{_REQUIRED: _NODE_SELECTOR}),
            podAffinity=_POD_TERMS,
            podAntiAffinity=_POD_TERMS,
        ),
        tolerations=each(taint),
        topologySpreadConstraints=each(_SPREAD),
        priority=number,
        priorityClassName=named(CLASS, CLASSES),
        preemptionPolicy=matching("Never|PreemptLowerPriority"),
        schedulerName=named(OTHER, SCHEDULERS),
        overhead=amounts,
        resources=_RESOURCES,
        volumes=each(_VOLUME),
        resourceClaims=each(record(name=named(OTHER))),
        schedulingGates=each(record(name=named(OTHER))),
        hostNetwork=flag,
        hostUsers=flag,
        workloadRef=filled,
        schedulingGroup=filled,
    ),
    status=record(
        phase=matching("Pending|Running|Succeeded|Failed|Unknown"),
        startTime=moment,
        conditions=each(condition("PodScheduled|Ready|PodResizePending")),
        nominatedNodeName=named(NODE),
        containerStatuses=each(_GRANTED),
        initContainerStatuses=each(_GRANTED),
        allocatedResources=amounts,
        resources=_RESOURCES,
    ),
)  # fmt: skip


def _pod(names: Pseudonyms, value: Any) -> Any:
    """Rename a pod; its ephemeral volumes have claims called after both."""
    spec, metadata = value.get("spec"), value.get("metadata")
    if isinstance(spec, dict) and isinstance(metadata, dict):
        for volume in spec.get("volumes") or ():
            if isinstance(volume, dict) and "ephemeral" in volume:
                pod, own = str(metadata.get("name")), str(volume.get("name"))
                names.compose(f"{pod}-{own}", pod, own)
    return _POD(names, value)


KINDS: dict[str, Form] = {
    "Node": record(
        metadata=_meta(named(NODE), labels=labels),
        spec=record(taints=each(taint), unschedulable=flag),
        status=record(
            allocatable=amounts,
            capacity=amounts,
            conditions=each(condition("Ready")),
            declaredFeatures=each(matching("[A-Z][A-Za-z0-9]{1,63}")),
        ),
    ),
    "Pod": _pod,
    "PodDisruptionBudget": record(
        metadata=_meta(named(BUDGET)),
        spec=record(selector=_SELECTOR),
        status=record(disruptionsAllowed=number, observedGeneration=number),
    ),
    "PriorityClass": record(
        metadata=_meta(named(CLASS, CLASSES)),
        value=number,
        preemptionPolicy=matching("Never|PreemptLowerPriority"),
        globalDefault=flag,
    ),
    "Job": record(
        metadata=_meta(named(OWNER)),
        spec=record(podFailurePolicy=record(rules=each(record(
            action=matching("Ignore|Count|FailJob|FailIndex"),
            onPodConditions=each(record(
                type=by(lambda _, t: t if t == "DisruptionTarget" else "Other"),
                status=matching("True|False|Unknown"),
            )),
        )))),
    ),
    "Namespace": record(metadata=_meta(by(Pseudonyms.namespace), labels=labels)),
    "ReplicaSet": record(metadata=_meta(named(OWNER))),
    "StatefulSet": record(metadata=_meta(named(OWNER))),
    "PodGroup": record(metadata=_meta(named(GANG)), spec=record(minMember=number)),
    "ServingPool": record(
        metadata=_meta(named(OTHER)),
        spec=record(engines=record(selector=_SELECTOR)),
        status=record(gateways=number, spareInstances=number),
    ),
    "InstanceDrain": record(
        metadata=_meta(named(OTHER)),
        spec=record(pool=named(OTHER), podUid=named(UID)),
        status=record(conditions=each(condition("Drained"))),
    ),
    "SparkAdmission": record(
        metadata=_meta(named(OTHER)),
        spec=record(name=named(OWNER)),
        status=record(reservation=record(
            until=moment,
            rooms=each(record(
                node=named(NODE), owner=by(_owner), pods=number, requests=amounts,
            )),
        )),
    ),
    "PersistentVolumeClaim": record(
        metadata=_meta(
            named(CLAIM),
            annotations=record(**{
                "pv.kubernetes.io/bind-completed": by(lambda *_: "yes"),
                "volume.kubernetes.io/selected-node": named(NODE),
                "volume.beta.kubernetes.io/storage-class": named(STORAGE),
            }),
        ),
        spec=record(
            volumeName=named(VOLUME),
            storageClassName=named(STORAGE),
            accessModes=each(matching("ReadWriteOnce|ReadOnlyMany|ReadWriteMany|ReadWriteOncePod")),
        ),
        status=record(phase=matching("Pending|Bound|Lost")),
    ),
    "PersistentVolume": record(
        metadata=_meta(named(VOLUME), labels=zones),
        spec=record(
            nodeAffinity=record(required=_NODE_SELECTOR),
            csi=record(driver=by(Pseudonyms.driver), volumeHandle=named(VOLUME)),
            **dict.fromkeys((*_IN_TREE, "hostPath", "local", "nfs"), present),
        ),
    ),
    "StorageClass": record(
        metadata=_meta(named(STORAGE)),
        provisioner=by(Pseudonyms.driver),
        volumeBindingMode=matching("Immediate|WaitForFirstConsumer"),
        allowedTopologies=each(record(matchLabelExpressions=each(selection))),
    ),
    "CSIDriver": record(
        metadata=_meta(by(Pseudonyms.driver)),
        spec=record(preventPodSchedulingIfMissing=flag, storageCapacity=flag),
    ),
    "CSINode": record(
        metadata=_meta(named(NODE)),
        spec=record(drivers=each(record(
            name=by(Pseudonyms.driver), allocatable=record(count=number)
        ))),
    ),
    "VolumeAttachment": record(
        metadata=_meta(named(OTHER)),
        spec=record(
            attacher=by(Pseudonyms.driver),
            nodeName=named(NODE),
            source=record(persistentVolumeName=named(VOLUME)),
        ),
    ),
}  # fmt: skip
