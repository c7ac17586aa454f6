"""What kube-scheduler and an extender tell each other, as msgspec types.

Source: k8s.io/kube-scheduler/extender/v1, whose Go types carry no JSON names, so field names are
Go's. `nodeCacheCapable: true` is the only mode served: nodes and victims by name and uid alone.
Of the pod only what a verb reads is decoded; `fairstow.cluster` reads the rest where it is needed.
"""

from __future__ import annotations

import msgspec


class OwnerReference(msgspec.Struct, gc=False):
    """metav1.OwnerReference."""

    kind: str
    name: str
    controller: bool | None = None


class Metadata(msgspec.Struct, rename="camel", gc=False):
    """metav1.ObjectMeta."""

    name: str
    namespace: str
    uid: str
    owner_references: list[OwnerReference] | None = None


class Pod(msgspec.Struct, gc=False):
    """The pod that is being scheduled."""

    metadata: Metadata

    @property
    def owner(self) -> str:
        """`Kind/name` of the controller that would recreate it, else ""."""
        for reference in self.metadata.owner_references or ():
            if reference.controller:
                return f"{reference.kind}/{reference.name}"
        return ""


class Args(msgspec.Struct, rename="pascal", gc=False):
    """ExtenderArgs; the names stay JSON until somebody looks at them."""

    pod: Pod
    node_names: msgspec.Raw


class WholePod(msgspec.Struct, rename="pascal", gc=False):
    """ExtenderArgs again, for the pod's JSON."""

    pod: msgspec.Raw


class FilterResult(msgspec.Struct, rename="pascal", gc=False):
    """ExtenderFilterResult: nodes that pass, and why others don't."""

    node_names: list[str] | msgspec.Raw
    failed_nodes: dict[str, str] = {}
    failed_and_unresolvable_nodes: dict[str, str] = {}
    error: str = ""


class HostPriority(msgspec.Struct, rename="pascal", gc=False):
    """A node's score, 0 to 10; a node that is left out gets none."""

    host: str
    score: int


class PreemptionArgs(msgspec.Struct, rename="pascal", gc=False):
    """ExtenderPreemptionArgs: whom the scheduler would evict, by node."""

    pod: Pod
    node_name_to_meta_victims: msgspec.Raw = msgspec.Raw(b"{}")


class PreemptionResult(msgspec.Struct, rename="pascal", gc=False):
    """ExtenderPreemptionResult: the nodes on which it may."""

    node_name_to_meta_victims: msgspec.Raw
