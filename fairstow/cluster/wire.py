"""The fields of Kubernetes objects that matter here, typed for msgspec.

Decoding straight into these structs skips every other field, which is what keeps a dump of
50,000 pods small, and turns a wrong type into an error that names the field. Kubernetes leaves
out empty fields and sometimes sends null, hence the `| None`.
"""

from typing import Annotated, Any

import msgspec

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?\Z", max_length=253)]
"""A DNS subdomain, as Kubernetes asks of the names of all kinds read here."""

Int32 = Annotated[int, msgspec.Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
Strings = dict[str, str] | None
Quantities = dict[str, str | int | float] | None


class Wire(msgspec.Struct, rename="camel"):
    """Base: camelCase names, unknown fields ignored."""


class OwnerReference(Wire):
    """metav1.OwnerReference."""

    kind: str
    name: str
    uid: str = ""
    api_version: str = ""
    controller: bool | None = None


class Metadata(Wire):
    """metav1.ObjectMeta."""

    name: Name
    namespace: Name | None = None
    uid: str | None = None
    labels: Strings = None
    annotations: Strings = None
    owner_references: list[OwnerReference] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    generation: int | None = None


class Requirement(Wire):
    """A label or node selector requirement."""

    key: str
    operator: str
    values: list[str] | None = None


class LabelSelector(Wire):
    """metav1.LabelSelector."""

    match_labels: Strings = None
    match_expressions: list[Requirement] | None = None


class NodeSelectorTerm(Wire):
    """core/v1 NodeSelectorTerm."""

    match_expressions: list[Requirement] | None = None
    match_fields: list[Requirement] | None = None


class NodeSelector(Wire):
    """core/v1 NodeSelector."""

    node_selector_terms: list[NodeSelectorTerm] | None = None


class NodeAffinity(Wire):
    """core/v1 NodeAffinity; preferences aren't rules and are left out."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class PodAffinityTerm(Wire):
    """core/v1 PodAffinityTerm."""

    topology_key: str
    label_selector: LabelSelector | None = None
    namespaces: list[str] | None = None
    namespace_selector: LabelSelector | None = None
    match_label_keys: list[str] | None = None
    mismatch_label_keys: list[str] | None = None


class PodAffinity(Wire):
    """core/v1 PodAffinity or PodAntiAffinity."""

    required_during_scheduling_ignored_during_execution: list[PodAffinityTerm] | None = None


class Affinity(Wire):
    """core/v1 Affinity."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class Toleration(Wire):
    """core/v1 Toleration."""

    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None


class ResourceRequirements(Wire):
    """core/v1 ResourceRequirements."""

    requests: Quantities = None
    limits: Quantities = None
    claims: list[Any] | None = None


class ContainerPort(Wire):
    """core/v1 ContainerPort."""

    container_port: int | None = None
    host_port: int | None = None
    host_ip: str | None = msgspec.field(default=None, name="hostIP")
    protocol: str | None = None


class RestartRule(Wire):
    """core/v1 ContainerRestartRule."""

    action: str = ""


class VolumeMount(Wire):
    """core/v1 VolumeMount; only what a node must declare to support."""

    bind_mount_options: list[str] | None = None


class Container(Wire):
    """core/v1 Container."""

    name: str = ""
    resources: ResourceRequirements | None = None
    ports: list[ContainerPort] | None = None
    restart_policy: str | None = None
    restart_policy_rules: list[RestartRule] | None = None
    volume_mounts: list[VolumeMount] | None = None


class TopologySpreadConstraint(Wire):
    """core/v1 TopologySpreadConstraint."""

    when_unsatisfiable: str
    topology_key: str = ""
    max_skew: Int32 = 1
    min_domains: Int32 | None = None
    label_selector: LabelSelector | None = None
    match_label_keys: list[str] | None = None
    node_affinity_policy: str | None = None
    node_taints_policy: str | None = None


class SchedulingGate(Wire):
    """core/v1 PodSchedulingGate."""

    name: str


class PodSpec(Wire):
    """core/v1 PodSpec."""

    containers: list[Container]
    init_containers: list[Container] | None = None
    node_name: str | None = None
    node_selector: Strings = None
    affinity: Affinity | None = None
    tolerations: list[Toleration] | None = None
    topology_spread_constraints: list[TopologySpreadConstraint] | None = None
    priority: Int32 | None = None
    preemption_policy: str | None = None
    scheduler_name: str | None = None
    overhead: Quantities = None
    resources: ResourceRequirements | None = None
    volumes: list[dict[str, Any]] | None = None
    resource_claims: list[Any] | None = None
    scheduling_gates: list[SchedulingGate] | None = None
    host_network: bool | None = None
    host_users: bool | None = None
    workload_ref: Any | None = None
    scheduling_group: Any | None = None


class Condition(Wire):
    """A status condition of any kind."""

    type: str
    status: str
    reason: str | None = None
    message: str | None = None
    last_heartbeat_time: str | None = None
    last_transition_time: str | None = None


class ContainerStatus(Wire):
    """core/v1 ContainerStatus; what an in-place resize has granted."""

    name: str = ""
    allocated_resources: Quantities = None
    resources: ResourceRequirements | None = None


class PodStatus(Wire):
    """core/v1 PodStatus."""

    phase: str | None = None
    start_time: str | None = None
    conditions: list[Condition] | None = None
    nominated_node_name: str | None = None
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None
    allocated_resources: Quantities = None
    resources: ResourceRequirements | None = None


class Pod(Wire):
    """core/v1 Pod."""

    metadata: Metadata
    spec: PodSpec
    status: PodStatus | None = None


class Taint(Wire):
    """core/v1 Taint."""

    key: str
    effect: str
    value: str | None = None


class NodeSpec(Wire):
    """core/v1 NodeSpec."""

    taints: list[Taint] | None = None
    unschedulable: bool | None = None


class NodeStatus(Wire):
    """core/v1 NodeStatus."""

    allocatable: Quantities = None
    capacity: Quantities = None
    conditions: list[Condition] | None = None
    declared_features: list[str] | None = None


class Node(Wire):
    """core/v1 Node."""

    metadata: Metadata
    spec: NodeSpec | None = None
    status: NodeStatus | None = None


class BudgetSpec(Wire):
    """policy/v1 PodDisruptionBudgetSpec."""

    selector: LabelSelector | None = None


class BudgetStatus(Wire):
    """policy/v1 PodDisruptionBudgetStatus."""

    disruptions_allowed: Int32 = 0
    observed_generation: int | None = None


class Budget(Wire):
    """policy/v1 PodDisruptionBudget."""

    metadata: Metadata
    spec: BudgetSpec | None = None
    status: BudgetStatus | None = None


class PriorityClass(Wire):
    """scheduling.k8s.io/v1 PriorityClass."""

    metadata: Metadata
    value: Int32
    preemption_policy: str | None = None
    global_default: bool | None = None


class ConditionPattern(Wire):
    """batch/v1 PodFailurePolicyOnPodConditionsPattern."""

    type: str
    status: str | None = None


class ExitRule(Wire):
    """batch/v1 PodFailurePolicyRule."""

    action: str
    on_pod_conditions: list[ConditionPattern] | None = None


class FailurePolicy(Wire):
    """batch/v1 PodFailurePolicy."""

    rules: list[ExitRule] | None = None


class JobSpec(Wire):
    """batch/v1 JobSpec."""

    pod_failure_policy: FailurePolicy | None = None


class Job(Wire):
    """batch/v1 Job."""

    metadata: Metadata
    spec: JobSpec | None = None


class PodGroupSpec(Wire):
    """PodGroupSpec of coscheduling, Volcano and others."""

    min_member: Int32 | None = None


class PodGroup(Wire):
    """PodGroup of any API group."""

    metadata: Metadata
    spec: PodGroupSpec | None = None


class Namespace(Wire):
    """core/v1 Namespace."""

    metadata: Metadata


class Engines(Wire):
    """fairstow.dev/v1alpha1 Engines."""

    selector: LabelSelector | None = None


class ServingPoolSpec(Wire):
    """fairstow.dev/v1alpha1 ServingPoolSpec."""

    engines: Engines | None = None


class ServingPoolStatus(Wire):
    """fairstow.dev/v1alpha1 ServingPoolStatus."""

    gateways: Int32 | None = None
    spare_instances: Int32 | None = None


class ServingPool(Wire):
    """fairstow.dev/v1alpha1 ServingPool."""

    metadata: Metadata
    spec: ServingPoolSpec | None = None
    status: ServingPoolStatus | None = None


class InstanceDrainSpec(Wire):
    """fairstow.dev/v1alpha1 InstanceDrainSpec."""

    pool: str
    pod_uid: str


class InstanceDrainStatus(Wire):
    """fairstow.dev/v1alpha1 InstanceDrainStatus."""

    conditions: list[Condition] | None = None


class InstanceDrain(Wire):
    """fairstow.dev/v1alpha1 InstanceDrain."""

    metadata: Metadata
    spec: InstanceDrainSpec
    status: InstanceDrainStatus | None = None
