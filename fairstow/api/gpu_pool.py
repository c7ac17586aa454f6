"""GpuPool: which nodes form a pool of accelerators, and what is free in it now.

Written by the platform engineer; its status by the controller that watches the pool.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fairstow.api.fields import BigCount, Count, Permille
from fairstow.api.model import Column, CustomResource, Model, Resource
from fairstow.api.rules import Rule
from fairstow.api.selectors import LabelSelector
from fairstow.api.status import Conditions

_EXTENDED_RESOURCE = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"


class GpuPoolSpec(Model):
    """Which nodes belong to the pool and what it shares out."""

    node_selector: Annotated[
        LabelSelector,
        Field(
            description="Labels of the pool's nodes. Left out: every node that has the "
            "accelerator resource."
        ),
    ] = LabelSelector()
    accelerator_resource: Annotated[
        str,
        Field(
            min_length=3,
            max_length=317,
            pattern=_EXTENDED_RESOURCE,
            description="The extended resource that counts the pool's accelerators, as in a "
            "node's allocatable.",
        ),
    ] = "nvidia.com/gpu"


class PendingPods(Model):
    """Pending pods that wait for the same reason."""

    reason: Annotated[
        str,
        Field(
            min_length=1,
            max_length=63,
            pattern="^[A-Z][A-Za-z0-9]*$",
            description="Why they wait, as one PascalCase word such as Fragmented.",
        ),
    ]
    pods: Annotated[Count, Field(description="How many wait for this reason.")]


class GpuPoolStatus(Model):
    """The pool as last observed; a number that is absent isn't known yet."""

    nodes: Annotated[Count | None, Field(description="Nodes in the pool.")] = None
    nodes_closed: Annotated[
        Count | None,
        Field(description="Of those, nodes that take no pods now: cordoned, not Ready, going."),
    ] = None
    gpus_total: Annotated[
        Count | None, Field(description="Accelerators allocatable on the pool's nodes.")
    ] = None
    gpus_allocated: Annotated[
        Count | None, Field(description="Accelerators requested by pods on the pool's nodes.")
    ] = None
    gpus_free: Annotated[
        Count | None,
        Field(description="Accelerators that no pod has requested, on nodes that take pods."),
    ] = None
    largest_free_block: Annotated[
        Count | None,
        Field(description="The most accelerators free on one node: the largest pod that can fit."),
    ] = None
    fragmentation_permille: Annotated[
        Permille | None,
        Field(
            description="Share of the free accelerators, in thousandths, that the pool's typical "
            "pods can't use where they are."
        ),
    ] = None
    pending_pods: Annotated[
        Count | None,
        Field(
            description="Pods that ask for the accelerator and wait for a node of this pool, or "
            "match no node of the cluster at all."
        ),
    ] = None
    pending_by_reason: Annotated[
        tuple[PendingPods, ...],
        Field(
            max_length=16,
            description="Why they wait, by the nodes' rules and room, most first.",
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["reason"],
            },
        ),
    ] = ()
    schedulers: Annotated[
        tuple[
            Annotated[
                str, Field(min_length=1, max_length=253, description="A pod's schedulerName.")
            ],
            ...,
        ],
        Field(
            max_length=16,
            description="The schedulers whose pods run on the pool or wait for it, DaemonSets "
            "apart, by name.",
        ),
    ] = ()
    conditions: Annotated[
        Conditions,
        Field(description="Ready: the pool has nodes that offer the accelerator resource."),
    ] = ()
    observed_generation: Annotated[
        BigCount | None, Field(description="The metadata.generation this status describes.")
    ] = None


class GpuPool(CustomResource):
    """A set of nodes whose accelerators are shared and packed together."""

    validations = (
        Rule(
            cel="size(self.metadata.name) <= 63",
            message="a pool's name has at most 63 characters, since it is used as a label value",
            holds=lambda self: len(self.metadata.name) <= 63,
        ),
    )
    resource: ClassVar[Resource] = Resource(
        plural="gpupools",
        short_name="gpool",
        scope="Cluster",
        columns=(
            Column(name="Nodes", path=".status.nodes", type="integer"),
            Column(name="GPUs", path=".status.gpusTotal", type="integer"),
            Column(name="Free", path=".status.gpusFree", type="integer"),
            Column(name="Largest", path=".status.largestFreeBlock", type="integer"),
            Column(name="Pending", path=".status.pendingPods", type="integer"),
        ),
    )

    kind: Annotated[Literal["GpuPool"], Field(description="GpuPool.")] = "GpuPool"
    spec: Annotated[GpuPoolSpec, Field(description="Which nodes form the pool.")]
    status: Annotated[
        GpuPoolStatus | None, Field(description="What is in the pool now; written by Fairstow.")
    ] = None
