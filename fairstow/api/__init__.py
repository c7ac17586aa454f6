"""Fairstow's custom resources (API group fairstow.dev/v1alpha1) and the reasons they give.

The pydantic models here are the one source of the CRD YAML in crds/, of the reference pages in
docs/reference/ (both written by `python -m tools.generate`) and of validation outside the API
server: by the command line before a plan is shown, by controllers when they read an object.
Nothing here knows a clock, a network or any other part of fairstow.
"""

from fairstow.api.cache_parts import Category, CategoryStatus
from fairstow.api.fields import duration_milliseconds
from fairstow.api.gpu_pool import GpuPool, GpuPoolSpec, GpuPoolStatus
from fairstow.api.instance_drain import InstanceDrain, InstanceDrainSpec, InstanceDrainStatus
from fairstow.api.model import GROUP, VERSION, ObjectMeta, problems
from fairstow.api.packing_plan import (
    PLAN_MAX_BYTES,
    WHAT_IF,
    PackingPlan,
    PackingPlanSpec,
    what_if_plan,
)
from fairstow.api.packing_policy import (
    RUN_REQUESTED_AT,
    Limits,
    MaintenanceWindow,
    PackingPolicy,
    PackingPolicySpec,
    PackingPolicyStatus,
    PoolReference,
    Triggers,
)
from fairstow.api.plan_parts import (
    OWNER_TEXT,
    PLAN_MAX_ENTRIES,
    Approval,
    Bind,
    Evict,
    Eviction,
    Move,
    PackingPlanStatus,
    Placement,
    PlanSummary,
    Step,
    Tier,
)
from fairstow.api.reasons import Reason
from fairstow.api.selectors import LabelSelector, LabelSelectorRequirement
from fairstow.api.semantic_cache import (
    MissedPod,
    Recreation,
    SemanticCache,
    SemanticCacheSpec,
    SemanticCacheStatus,
)
from fairstow.api.serving_pool import ServingPool, ServingPoolSpec, ServingPoolStatus
from fairstow.api.spark_admission import (
    SparkAdmission,
    SparkAdmissionSpec,
    SparkAdmissionStatus,
    SparkReservation,
)
from fairstow.api.spark_queue import SparkQueue, SparkQueueSpec, SparkQueueStatus
from fairstow.api.status import Condition

PACKING_KINDS = (GpuPool, PackingPolicy, PackingPlan)
SERVING_KINDS = (ServingPool, InstanceDrain)
SPARK_KINDS = (SparkQueue, SparkAdmission)
CACHE_KINDS = (SemanticCache,)
KINDS = (*PACKING_KINDS, *SERVING_KINDS, *SPARK_KINDS, *CACHE_KINDS)

__all__ = [
    "CACHE_KINDS",
    "GROUP",
    "KINDS",
    "OWNER_TEXT",
    "PACKING_KINDS",
    "PLAN_MAX_BYTES",
    "PLAN_MAX_ENTRIES",
    "RUN_REQUESTED_AT",
    "SERVING_KINDS",
    "SPARK_KINDS",
    "VERSION",
    "WHAT_IF",
    "Approval",
    "Bind",
    "Category",
    "CategoryStatus",
    "Condition",
    "Evict",
    "Eviction",
    "GpuPool",
    "GpuPoolSpec",
    "GpuPoolStatus",
    "InstanceDrain",
    "InstanceDrainSpec",
    "InstanceDrainStatus",
    "LabelSelector",
    "LabelSelectorRequirement",
    "Limits",
    "MaintenanceWindow",
    "MissedPod",
    "Move",
    "ObjectMeta",
    "PackingPlan",
    "PackingPlanSpec",
    "PackingPlanStatus",
    "PackingPolicy",
    "PackingPolicySpec",
    "PackingPolicyStatus",
    "Placement",
    "PlanSummary",
    "PoolReference",
    "Reason",
    "Recreation",
    "SemanticCache",
    "SemanticCacheSpec",
    "SemanticCacheStatus",
    "ServingPool",
    "ServingPoolSpec",
    "ServingPoolStatus",
    "SparkAdmission",
    "SparkAdmissionSpec",
    "SparkAdmissionStatus",
    "SparkQueue",
    "SparkQueueSpec",
    "SparkQueueStatus",
    "SparkReservation",
    "Step",
    "Tier",
    "Triggers",
    "duration_milliseconds",
    "problems",
    "what_if_plan",
]
