"""Every reason Fairstow gives, in one place: the same word in conditions, Events and metric labels.

Whoever reports something picks its reason here; docs/reference/reasons.md is generated from it.
"""

from enum import StrEnum


class Reason(StrEnum):
    """A PascalCase word with the sentence that explains it (`reason.sentence`)."""

    sentence: str

    def __new__(cls, word: str, sentence: str) -> "Reason":
        """Make the member equal to `word`, carrying `sentence`."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.sentence = sentence
        return member

    @classmethod
    def named(cls, word: str) -> "Reason | None":
        """Return the reason of a word, None if it is none of ours."""
        return next((reason for reason in cls if reason.value == word), None)

    # Pools
    POOL_READY = ("PoolReady", "The pool has nodes that offer its accelerator resource.")
    NO_NODES = ("NoNodes", "The pool's node selector matches no node.")
    NO_ACCELERATORS = (
        "NoAccelerators",
        "No node of the pool has the accelerator resource in its allocatable.",
    )

    # Pods of a pool that wait
    NO_SUCH_ACCELERATOR = (
        "NoSuchAccelerator",
        "No node with the accelerator matches the pod's node selector and affinity.",
    )
    NODES_UNAVAILABLE = (
        "NodesUnavailable",
        "All nodes that match the pod are cordoned, not Ready or being removed.",
    )
    TAINTED = ("Tainted", "All nodes that match the pod have a taint that it doesn't tolerate.")
    TOO_LARGE = ("TooLarge", "The pod would fit none of its nodes even if they were empty.")
    FITS_NOW = (
        "FitsNow",
        "A node has room for the pod: other rules or its scheduler keep it waiting.",
    )
    FRAGMENTED = (
        "Fragmented",
        "No node has room for the pod, though its nodes together have all that it asks for.",
    )
    NO_ROOM = ("NoRoom", "All nodes that the pod may run on have too little free, even together.")

    # Policies
    POLICY_READY = ("PolicyReady", "The policy's pool exists and no other policy packs it.")
    POOL_NOT_FOUND = ("PoolNotFound", "The GpuPool that the policy names doesn't exist.")
    POLICY_OVERLAP = ("PolicyOverlap", "Another policy packs the same nodes; the older one acts.")
    NOT_HELD = ("NotHeld", "Nothing keeps the policy from looking for a plan when one is due.")
    SUSPENDED = ("Suspended", "The policy's spec.suspend is true.")
    OUTSIDE_MAINTENANCE_WINDOW = (
        "OutsideMaintenanceWindow",
        "A plan is ready, and the policy's next maintenance window hasn't opened yet.",
    )
    SCHEDULE_INVALID = (
        "ScheduleInvalid",
        "A schedule of the policy never fires, or its time zone doesn't exist.",
    )
    RESERVATION_ENFORCED = (
        "ReservationEnforced",
        "All pods that may land on the pool pass Fairstow's filter.",
    )
    RESERVATION_NOT_ENFORCED = (
        "ReservationNotEnforced",
        "Pods may land on the pool without passing Fairstow's filter, so plans need approval.",
    )

    # Serving pools
    SERVING = ("Serving", "A gateway answers, and an instance takes requests.")
    NO_GATEWAY = ("NoGateway", "No gateway serves the pool.")
    GATEWAY_SILENT = (
        "GatewaySilent",
        "A gateway of the pool doesn't answer, so nobody knows all of its requests.",
    )
    NO_INSTANCE = ("NoInstance", "No engine of the pool takes requests.")
    MEMORY_MOVES = ("MemoryMoves", "Running requests go on elsewhere with their memory copied.")
    RECOMPUTES = (
        "Recomputes",
        "Running requests go on elsewhere, but at least one engine has them computed again.",
    )

    # Scaling of serving pools
    WITHIN_BOUNDS = ("WithinBounds", "The pool has as many instances as its load asks for.")
    IDLE = ("Idle", "The pool could do with one instance less, and waits whether that lasts.")
    SCALING_OUT = ("ScalingOut", "An instance is added.")
    SCALING_IN = ("ScalingIn", "An instance hands its requests over and is removed then.")
    STARTING = ("Starting", "Instances that were asked for haven't started yet.")
    AT_MAXIMUM = ("AtMaximum", "The load asks for more instances than spec.scaling.maxReplicas.")
    SCALED_ELSEWHERE = (
        "ScaledElsewhere",
        "A HorizontalPodAutoscaler or ScaledObject scales the workload, so Fairstow doesn't.",
    )
    TARGET_NOT_FOUND = ("TargetNotFound", "The workload that spec.scaling names doesn't exist.")
    TARGET_REFUSED = ("TargetRefused", "The API server refused to show or scale the workload.")
    TARGET_CHANGING = ("TargetChanging", "The workload is being rolled out or paused.")
    CAPACITY_UNKNOWN = (
        "CapacityUnknown",
        "The engines don't say how much memory they have, so nobody knows what is free.",
    )
    SCALED_OUT = ("ScaledOut", "The workload was given one more instance.")
    SCALED_IN = ("ScaledIn", "A drained instance was removed.")
    SCALE_IN_CANCELLED = (
        "ScaleInCancelled",
        "An instance that was to be removed serves again.",
    )
    WRONG_POD_REMOVED = (
        "WrongPodRemoved",
        "The workload removed another pod than the one that was drained.",
    )

    # Semantic caches
    CACHE_READY = ("CacheReady", "New pods that the cache selects get the sidecar.")
    KUBERNETES_TOO_OLD = ("KubernetesTooOld", "Init containers that stay need Kubernetes 1.29.")
    CACHE_NOT_KEPT = (
        "CacheNotKept",
        "The operator can't keep the ConfigMap and the Secret of the cache's sidecars.",
    )
    NAMESPACE_NOT_ENABLED = (
        "NamespaceNotEnabled",
        "The namespace isn't labelled fairstow.dev/cache=enabled, so its pods get no sidecar.",
    )
    NO_PODS = ("NoPods", "The cache selects no pod.")
    ALL_INJECTED = ("AllInjected", "Every pod that the cache selects has the sidecar.")
    PODS_MISSED = ("PodsMissed", "Pods that the cache selects run without the sidecar.")
    CACHE_SERVING = ("CacheServing", "The sidecars answer, and see requests.")
    SIDECARS_SILENT = ("SidecarsSilent", "A sidecar doesn't tell what it has.")
    NO_TRAFFIC = ("NoTraffic", "The sidecars have seen no request: these may lead elsewhere.")
    BYPASSED = ("Bypassed", "A Service leads to the engines' port, past the sidecars.")
    ACCOUNTS_KNOWN = ("AccountsKnown", "The sidecars know ServiceAccounts by their tokens.")
    ACCOUNTS_UNKNOWN = (
        "AccountsUnknown",
        "The API server doesn't tell the keys of its tokens: each token is a caller of its own.",
    )
    POD_RECREATED = ("PodRecreated", "A pod without the sidecar was evicted, to be made anew.")
    POD_STAYS = ("PodStays", "A pod without the sidecar was to be evicted, and wasn't.")
    TIER_OFF = (
        "TierOff",
        "A category's semantic tier has switched itself off: its hit rate doesn't pay.",
    )
    TIER_ON = ("TierOn", "A category's semantic tier pays again.")

    # Drains
    DRAINED = ("Drained", "No request is on the instance any more.")
    REQUESTS_REMAIN = ("RequestsRemain", "Requests are on the instance still.")
    DEADLINE_OVER = (
        "DeadlineOver",
        "The time for requests that can't be moved is over; the instance may go with them.",
    )

    # Spark applications in queues
    ADMITTING = ("Admitting", "Applications are let go as cores become free.")
    QUEUE_HELD = ("QueueHeld", "The queue's spec.hold is true: nothing more is let go.")
    QUEUE_NOT_FOUND = ("QueueNotFound", "The application's SparkQueue doesn't exist.")
    NOT_PERMITTED = (
        "NotPermitted",
        "Fairstow may not let applications of this namespace go: spark.namespaces lacks it.",
    )
    PROPERTIES_UNKNOWN = (
        "PropertiesUnknown",
        "The driver's Spark properties aren't there yet, so nobody knows its executors.",
    )
    HELD_BY_PERSON = ("HeldByPerson", "Somebody holds the application by an annotation.")
    SUSPENDED_BY_USER = ("SuspendedByUser", "Its user suspended the application themselves.")
    EXCEEDS_LIMIT = (
        "ExceedsLimit",
        "The application's driver and first executors are more than the queue's limits allow.",
    )
    NEVER_FITS = (
        "NeverFits",
        "The nodes couldn't take the driver and its first executors even if they were empty.",
    )
    USER_AT_LIMIT = ("UserAtLimit", "Its user has as many cores as the queue allows one user.")
    RESERVED_TAKEN = (
        "ReservedTaken",
        "The cores set aside for applications that never end are taken.",
    )
    WAITS_FOR_CORES = ("WaitsForCores", "The queue has too few free cores for it; it is next.")
    WAITS_FOR_ROOM = (
        "WaitsForRoom",
        "No nodes have room for its driver and first executors together; it is next.",
    )
    BEHIND_OTHERS = ("BehindOthers", "Others are due earlier, and it would delay the next one.")
    ITS_TURN = ("ItsTurn", "The application was let go, since it was its turn.")
    BACKFILLED = (
        "Backfilled",
        "The application was let go before its turn, since that delays nobody beyond their due.",
    )
    WAITED_TOO_LONG = (
        "WaitedTooLong",
        "The application was let go since it had waited for spec.maxWait.",
    )
    KEEPING_ROOM = (
        "KeepingRoom",
        "Room is kept for the driver and first executors; the application is let go next.",
    )
    STARTING_PODS = (
        "StartingPods",
        "The application was let go; room is kept for its first pods until they have nodes.",
    )
    PODS_LATE = (
        "PodsLate",
        "The first pods got no nodes within spec.bindTimeout: room is no longer kept for them.",
    )
    HAS_CORES = ("HasCores", "The application runs.")
    EXECUTORS_HELD = (
        "ExecutorsHeld",
        "The application runs; more of its executors wait until the queue has cores for them.",
    )
    EXECUTOR_RECLAIMED = (
        "ExecutorReclaimed",
        "An executor on borrowed cores was ended, since the queue that lent them needs them.",
    )
    CHARGED = ("Charged", "The application ended, and its user was charged for what it used.")
    MISSED = (
        "Missed",
        "The application runs without having been queued: it is counted and charged.",
    )

    # Runs
    PLAN_CREATED = ("PlanCreated", "A plan was made.")
    PLAN_OBSERVED = (
        "PlanObserved",
        "A better placement was found; in mode Observe no plan is made of it.",
    )
    PLAN_UNFINISHED = (
        "PlanUnfinished",
        "Another plan for the pool's nodes waits for approval or is being carried out.",
    )
    PLAN_REPEATED = (
        "PlanRepeated",
        "A person rejected or stopped a plan for the same pods a short while ago.",
    )
    PLAN_UNDOES = ("PlanUndoes", "The best plan would undo one carried out a short while ago.")
    BACKING_OFF = ("BackingOff", "The last plans could not be carried out to their end.")
    PLAN_REFUSED = ("PlanRefused", "The API server refused the plan.")
    SOLVER_FAILED = ("SolverFailed", "The search for a plan failed by a fault of Fairstow's own.")
    NOTHING_PENDING = ("NothingPending", "No pod of the pool is waiting for a node.")
    PROVED_OPTIMAL = (
        "ProvedOptimal",
        "Proved: under these rules no plan places more pods than are placed now.",
    )
    NO_BETTER_PLAN = (
        "NoBetterPlan",
        "No better placement was found in the time given; one may exist.",
    )
    GAIN_TOO_SMALL = (
        "GainTooSmall",
        "The best plan places too few pods for what it moves (spec.minimumGainPermille).",
    )
    LIMIT_REACHED = (
        "LimitReached",
        "The best plan would exceed what the policy allows to be moved or evicted.",
    )
    COOLING_DOWN = ("CoolingDown", "The pods in question were moved a short while ago.")

    # Plans
    WAITING_FOR_APPROVAL = ("WaitingForApproval", "The plan waits for a person's approval.")
    REJECTED = ("Rejected", "A person rejected the plan.")
    BUDGETS_UNKNOWN = (
        "BudgetsUnknown",
        "The snapshot held no PodDisruptionBudgets, so the plan can't be approved.",
    )
    PLAN_VALID = ("PlanValid", "Every remaining step is legal in the cluster as it is now.")
    RESERVING = (
        "Reserving",
        "Not every replica of the scheduler extender has said yet that it keeps the plan's room.",
    )
    RESERVED = ("Reserved", "Every replica of the scheduler extender keeps the plan's room.")
    BEST_EFFORT = (
        "BestEffort",
        "No scheduler extender keeps the plan's room: others may take it, and the plan then stops.",
    )
    RESERVATION_LOST = (
        "ReservationLost",
        "A replica of the scheduler extender no longer says that it keeps the plan's room.",
    )
    ROOM_KEPT = ("RoomKept", "The node's free room is kept for a plan or a Spark application.")
    STEERED = ("Steered", "Room is kept for this pod on another node.")
    GANG_WAITS = ("GangWaits", "A plan under way makes room for all of the pod's gang first.")
    EXECUTING = ("Executing", "The plan is being carried out.")
    HANDING_OVER = (
        "HandingOver",
        "The step's LLM engines hand their requests over before they are evicted.",
    )
    ENGINE_BUSY = (
        "EngineBusy",
        "An LLM engine of the step couldn't hand all of its requests over in time.",
    )
    ENGINE_NEEDED = (
        "EngineNeeded",
        "A serving pool can't do without an instance while another one is away.",
    )
    EVICTING = ("Evicting", "The step's pods are being evicted.")
    WAITING_FOR_PODS = ("WaitingForPods", "The step's pods have yet to arrive on their nodes.")
    ABORTED = ("Aborted", "A person stopped the plan.")
    POLICY_GONE = ("PolicyGone", "The policy that the plan was made under no longer exists.")
    SUCCEEDED = ("Succeeded", "Every step has been carried out.")
    POD_GONE = ("PodGone", "A pod of the plan no longer exists under its uid.")
    POD_CHANGED = ("PodChanged", "A pod of the plan has moved, finished or changed its requests.")
    NODE_GONE = ("NodeGone", "A node of the plan no longer exists or is being removed.")
    NODE_CHANGED = ("NodeChanged", "A node of the plan no longer takes the pod planned for it.")
    BUDGET_EXHAUSTED = (
        "BudgetExhausted",
        "A PodDisruptionBudget no longer allows the step's evictions.",
    )
    EVICTION_REFUSED = ("EvictionRefused", "The API server refused an eviction of the plan.")
    POD_PROTECTED = ("PodProtected", "A pod of the plan may no longer be moved or evicted.")
    STEP_TOO_LARGE = (
        "StepTooLarge",
        "A step concerns more pods than a plan's status has room to name.",
    )
    STEP_TIMED_OUT = ("StepTimedOut", "A step wasn't finished in time.")
