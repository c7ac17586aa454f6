"""Records that decisions read: small, frozen, hashable, shared where equal.

A pod in a dump is some 4 KB of JSON; what placement depends on is its *shape* (requests and
rules), which hundreds of pods share. So a `Pod` is a thin record that points to an interned
`Shape`. None can be part of a cycle, so the garbage collector leaves them alone (`gc=False`).
Units are the scheduler's integers: milli-CPU, bytes, counts (see `quantity`).
"""

from collections.abc import Mapping

import msgspec

Labels = tuple[tuple[str, str], ...]
"""Sorted (key, value) pairs: hashable, comparable, small."""

Resources = tuple[tuple[str, int], ...]
"""Sorted (resource name, amount) pairs, amounts > 0."""


class Requirement(msgspec.Struct, frozen=True, gc=False):
    """One line of a label or node selector: `key operator values`."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class Selector(msgspec.Struct, frozen=True, gc=False):
    """A label selector; all requirements must hold. Empty selects everything."""

    requirements: tuple[Requirement, ...] = ()


class NodeTerm(msgspec.Struct, frozen=True, gc=False):
    """One term of a required node affinity. A term without requirements matches no node."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()


class Taint(msgspec.Struct, frozen=True, gc=False):
    """A node's taint."""

    key: str
    value: str
    effect: str


class Toleration(msgspec.Struct, frozen=True, gc=False):
    """A pod's toleration; an empty key with operator Exists tolerates everything."""

    key: str
    operator: str
    value: str
    effect: str


class PodTerm(msgspec.Struct, frozen=True, gc=False):
    """One required term of a pod's affinity or anti-affinity to other pods.

    `namespaces` empty and `namespace_selector` None means the pod's own namespace.
    `matchLabelKeys` and `mismatchLabelKeys` are in the selector: the API server merges them.
    """

    selector: Selector | None
    topology_key: str
    namespaces: tuple[str, ...]
    namespace_selector: Selector | None


class Spread(msgspec.Struct, frozen=True, gc=False):
    """One topology spread constraint with DoNotSchedule; `matchLabelKeys` are in the selector.

    Attributes:
        min_domains: with fewer domains than this, the least number of pods in one counts as 0.
        honor_affinity: nodes that the pod's node selector or affinity excludes don't count.
        honor_taints: nodes whose taints it doesn't tolerate don't count.
    """

    topology_key: str
    selector: Selector | None
    max_skew: int
    min_domains: int
    honor_affinity: bool
    honor_taints: bool


class HostPort(msgspec.Struct, frozen=True, gc=False):
    """A port of the node that a pod takes; address 0.0.0.0 takes it on all of them."""

    address: str
    protocol: str
    port: int


class ClaimUse(msgspec.Struct, frozen=True, gc=False):
    """A volume that comes from a PersistentVolumeClaim.

    For an ephemeral volume the claim belongs to the pod and is called `POD-VOLUME`; `name` is then
    the volume's.
    """

    name: str
    ephemeral: bool

    def claim_of(self, pod: str) -> str:
        """Return the claim's name, given the pod's."""
        return f"{pod}-{self.name}" if self.ephemeral else self.name


class Shape(msgspec.Struct, frozen=True, cache_hash=True, omit_defaults=True, gc=False):
    """Everything about a pod that decides where it may run, but for its labels.

    Attributes:
        requests: effective requests (init and sidecar containers, overhead, pod level), with
            `pods` = 1.
        unmodelled: rules the pod uses that the planner doesn't model yet; such a pod is never
            placed or moved.
        local_storage: the volume that ties it to its node, or "".
        affinity: one running pod must match all of these at once, each in its domain.
        features: what a node must declare to run it (KEP-5328).
    """

    requests: Resources
    node_selector: Labels
    node_affinity: tuple[NodeTerm, ...] | None
    tolerations: tuple[Toleration, ...]
    anti_affinity: tuple[PodTerm, ...]
    unmodelled: tuple[str, ...]
    local_storage: str
    priority: int
    preempts: bool
    scheduler: str
    affinity: tuple[PodTerm, ...] = ()
    spread: tuple[Spread, ...] = ()
    host_ports: tuple[HostPort, ...] = ()
    claims: tuple[ClaimUse, ...] = ()
    features: tuple[str, ...] = ()


class Owner(msgspec.Struct, frozen=True, gc=False):
    """The controller that would recreate a pod; `group` is its API group, such as apps."""

    kind: str
    name: str
    uid: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


class Pod(msgspec.Struct, frozen=True, gc=False):
    """A pod that holds or wants room (finished pods aren't kept).

    Attributes:
        node: where it is bound, else "".
        nominated: the node kept for it by a preemption under way, else "".
        terminating: holds its room until it is gone, and counts in no tier.
        gated: waits for a scheduling gate, so it isn't pending.
        gang: "namespace/name" of the gang it belongs to (`gangs`), else "".
        unschedulable: the scheduler's own last message on why it doesn't fit, else "".
        started: of a pod with a node, since when it runs, in seconds since 1970; None if unknown.
        waiting_since: since when the scheduler says that it fits nowhere, in seconds since 1970,
            or since when it was gated before that; None for others.
    """

    namespace: str
    name: str
    uid: str
    labels: Labels
    annotations: Labels
    owner: Owner | None
    shape: Shape
    node: str
    nominated: str
    terminating: bool
    gated: bool
    ready: bool
    mirror: bool
    unschedulable: str
    gang: str = ""
    started: int | None = None
    waiting_since: int | None = None

    @property
    def ref(self) -> str:
        """`namespace/name`, as people write it."""
        return f"{self.namespace}/{self.name}"

    @property
    def workload(self) -> str:
        """`namespace/Kind/name` of its controller, or of the pod itself where it has none."""
        return f"{self.namespace}/{self.owner or f'Pod/{self.name}'}"

    @property
    def home(self) -> str:
        """The node whose room it holds, bound or nominated, else ""."""
        return self.node or self.nominated

    @property
    def pending(self) -> bool:
        """Whether it waits for a node and may be given one."""
        return not (self.node or self.nominated or self.gated or self.terminating)


class Node(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A node as a target: `closed` says why it takes nothing at all, else ""."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    allocatable: Mapping[str, int]
    unschedulable: bool
    closed: str
    features: tuple[str, ...] = ()


class Budget(msgspec.Struct, frozen=True, gc=False):
    """A PodDisruptionBudget: how many of its pods may be down at once now."""

    namespace: str
    name: str
    selector: Selector | None
    allowed: int

    @property
    def ref(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


class EnginePool(msgspec.Struct, frozen=True, gc=False):
    """A ServingPool: which pods are LLM engines.

    Attributes:
        spare: one of them could go now, and the others have memory for all requests.
    """

    namespace: str
    name: str
    selector: Selector | None
    spare: bool

    @property
    def ref(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


class EngineDrain(msgspec.Struct, frozen=True, gc=False):
    """An InstanceDrain: an engine hands its requests over.

    Attributes:
        uid: the drain's own.
        pod: uid of the engine's pod.
        over: once the pod may go, why: the reason of the condition Drained; else "".
        plan: the PackingPlan that it was begun for, "" if none.
    """

    namespace: str
    name: str
    uid: str
    pool: str
    pod: str
    over: str
    plan: str


class KeptRoom(msgspec.Struct, frozen=True, gc=False):
    """Room that is kept on a node for one pod that isn't there yet.

    Attributes:
        beneficiary: whose pods may take it, as `Pod.workload` names them.
        application: the Spark application, for people.
        until: when it is kept no longer, in seconds since 1970.
        number: tells apart what is alike.
    """

    node: str
    beneficiary: str
    requests: Resources
    application: str
    until: int
    number: int = 0
