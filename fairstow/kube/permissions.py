"""What each program of an installation may do: the one table of its rights, and why it has them.

tools/generate writes the chart's roles and docs/reference/permissions.md from it. `own` rights hold
in the installation's namespace alone.
"""

from dataclasses import dataclass

from fairstow.cluster.kinds import READ

WATCH = ("get", "list", "watch")
GROUP = "fairstow.dev"
SPARK_OPERATOR = "sparkoperator.k8s.io"
KINDS = (
    "gpupools",
    "packingpolicies",
    "packingplans",
    "servingpools",
    "instancedrains",
    "sparkqueues",
    "sparkadmissions",
    "semanticcaches",
)

OPERATOR_LEASE = "fairstow-operator"
WEBHOOKS = "fairstow"
"""The name of both webhook configurations."""
AUTHORITY_SECRET = "fairstow-ca"  # noqa: S105 - a name
CACHE_HOLDER = "fairstow-cache-NAME"
"""The ConfigMap and Secret of a SemanticCache; the chart has its name in place of NAME."""
LEAF_SECRETS = tuple(
    f"fairstow-{name}-tls" for name in ("operator", "webhook", "extender", "scheduler")
)


@dataclass(frozen=True, kw_only=True)
class Grant:
    """Some verbs on some resources of one API group; `names` limits it to these objects."""

    group: str = ""
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    why: str


@dataclass(frozen=True, kw_only=True)
class Borrowed:
    """A role that every cluster has. Attributes: namespace: of a Role; "" for a ClusterRole."""

    role: str
    namespace: str = ""
    why: str


@dataclass(frozen=True, kw_only=True)
class Issues:
    """What making certificates takes: not granted where cert-manager makes them."""

    cluster: tuple[Grant, ...] = ()
    own: tuple[Grant, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Program:
    """A ServiceAccount, called fairstow-NAME, and its rights."""

    name: str
    what: str
    cluster: tuple[Grant, ...] = ()
    own: tuple[Grant, ...] = ()
    issues: Issues = Issues()
    borrowed: tuple[Borrowed, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Role:
    """A ClusterRole for people, called fairstow-NAME, part of the roles it is aggregated to."""

    name: str
    what: str
    aggregated_to: tuple[str, ...]
    grants: tuple[Grant, ...]


def _snapshot() -> tuple[Grant, ...]:
    """Reading what a snapshot is made of, group by group."""
    groups: dict[str, list[str]] = {}
    for kind in READ:
        resources = groups.setdefault(kind.api_version.rpartition("/")[0], [])
        if kind.resource not in resources:
            resources.append(kind.resource)
    return tuple(
        Grant(
            group=group,
            resources=tuple(resources),
            verbs=WATCH,
            why="What a snapshot is made of.",
        )
        for group, resources in groups.items()
    )


def grants(program: Program) -> tuple[Grant, ...]:
    """Return all rights of a program, wherever they hold."""
    issues = program.issues
    return (*program.cluster, *program.own, *issues.cluster, *issues.own)


def _leases(name: str = "", why: str = "") -> tuple[Grant, ...]:
    group, resources = "coordination.k8s.io", ("leases",)
    kept = ("get", "update", "patch")
    names = (name,) if name else ()
    return (
        Grant(group=group, resources=resources, verbs=("create",), why=why),
        Grant(group=group, resources=resources, verbs=kept, names=names, why=why),
    )


OPERATOR = Program(
    name="operator",
    what="Watches pools and policies, makes plans and carries them out.",
    cluster=(
        *_snapshot(),
        Grant(
            group=GROUP,
            resources=KINDS,
            verbs=WATCH,
            why="What it is asked to do.",
        ),
        Grant(
            group=GROUP,
            resources=("packingplans",),
            verbs=("create", "patch", "delete", "approve"),
            why="Makes plans, approves those of policies in mode Auto, removes old ones.",
        ),
        Grant(
            group=GROUP,
            resources=tuple(f"{kind}/status" for kind in KINDS),
            verbs=("patch",),
            why="Reports.",
        ),
        Grant(
            group=GROUP,
            resources=("instancedrains",),
            verbs=("create", "delete"),
            why="Drains engines that a plan moves or whose node is cordoned; removes such drains.",
        ),
        Grant(
            group="discovery.k8s.io",
            resources=("endpointslices",),
            verbs=("list",),
            why="Knows the gateways of serving pools, and which replicas of the extender answer.",
        ),
        Grant(
            group=SPARK_OPERATOR,
            resources=("sparkapplications",),
            verbs=WATCH,
            why="Sees the Spark applications that wait in a queue.",
        ),
        Grant(
            group=GROUP,
            resources=("sparkadmissions",),
            verbs=("create", "delete"),
            why="Tells owners of queued Spark applications where they stand.",
        ),
        Grant(
            group=GROUP,
            resources=("sparkqueues",),
            verbs=("release",),
            why="Lets queued Spark applications go: the webhook asks for this right.",
        ),
        Grant(
            resources=("pods/eviction",),
            verbs=("create",),
            why="Carries a plan's evictions out, within disruption budgets.",
        ),
        Grant(
            resources=("nodes",),
            verbs=("patch",),
            why="Tells autoscalers to keep the nodes that a plan under way needs.",
        ),
        Grant(
            group="events.k8s.io",
            resources=("events",),
            verbs=("create", "patch"),
            why="Tells owners of pods what happens to them.",
        ),
    ),
    own=(
        *_leases(OPERATOR_LEASE, "One replica acts."),
        Grant(
            group="coordination.k8s.io",
            resources=("leases",),
            verbs=WATCH,
            why="Reads which plans each replica of the extender enforces.",
        ),
        Grant(
            resources=("configmaps",),
            verbs=("create", "list", "update", "delete"),
            why="Keeps what Spark queues owe to whom, and how much work applications were.",
        ),
        Grant(
            resources=("serviceaccounts/token",),
            verbs=("create",),
            names=("fairstow-operator",),
            why="Shows each gateway a token that is good for nothing else.",
        ),
    ),
    issues=Issues(
        cluster=(
            Grant(
                group="admissionregistration.k8s.io",
                resources=("mutatingwebhookconfigurations", "validatingwebhookconfigurations"),
                verbs=("get", "patch"),
                names=(WEBHOOKS,),
                why="Tells the API server whom to trust when it calls the webhook.",
            ),
        ),
        own=(
            Grant(
                resources=("secrets",),
                verbs=("create",),
                why="Makes the certificates' Secrets; creation can't be limited by name.",
            ),
            Grant(
                resources=("secrets",),
                verbs=("get", "update"),
                names=(AUTHORITY_SECRET, *LEAF_SECRETS),
                why="Renews certificates.",
            ),
            Grant(
                group="apps",
                resources=("deployments",),
                verbs=("get",),
                names=("fairstow-operator",),
                why="Owner of the Secrets, so that they go with the installation.",
            ),
            Grant(
                group="apps",
                resources=("deployments",),
                verbs=("get", "patch"),
                names=("fairstow-scheduler",),
                why="Starts it anew when the authority changes: it reads that at its start.",
            ),
        ),
    ),
    borrowed=(
        Borrowed(role="system:auth-delegator", why="Asks who may read its metrics."),
        Borrowed(
            role="system:service-account-issuer-discovery",
            why="Tells semantic caches the public keys by which they know ServiceAccounts.",
        ),
    ),
)

WEBHOOK = Program(
    name="webhook",
    what="Answers the API server: approvals, advice, evictions, the scheduler of opted-in pods, "
    "queues of Spark applications.",
    cluster=(
        Grant(resources=("nodes",), verbs=WATCH, why="Warns of pods that fit no node."),
        Grant(
            group=GROUP,
            resources=("gpupools", "packingpolicies"),
            verbs=WATCH,
            why="Warns of policies that overlap or whose pool is missing.",
        ),
        Grant(
            group=GROUP,
            resources=("servingpools", "instancedrains"),
            verbs=WATCH,
            why="Knows which pods are engines, and which of them have handed their requests over.",
        ),
        Grant(
            group=GROUP,
            resources=("semanticcaches",),
            verbs=WATCH,
            why="Knows which new pods get a semantic cache beside them.",
        ),
        Grant(resources=("pods",), verbs=("get",), why="Looks at a pod that is being evicted."),
        Grant(
            resources=("namespaces",), verbs=WATCH, why="Knows each namespace's queue for Spark."
        ),
        Grant(group=GROUP, resources=("sparkqueues",), verbs=WATCH, why="Knows their limits."),
        Grant(
            group=SPARK_OPERATOR,
            resources=("sparkapplications", "scheduledsparkapplications"),
            verbs=("get",),
            why="Looks whose the application is that a new driver or run belongs to.",
        ),
        Grant(
            resources=("pods",),
            verbs=("get",),
            why="Looks whether a new Spark executor was made by the driver that it names.",
        ),
        Grant(
            group=GROUP,
            resources=("instancedrains",),
            verbs=("create",),
            why="Has an engine that is being evicted hand its requests over.",
        ),
    ),
    borrowed=(
        Borrowed(
            role="system:auth-delegator",
            why="Asks whether a user may approve plans or use a queue, and who may read its "
            "metrics.",
        ),
    ),
)

EXTENDER = Program(
    name="extender",
    what="Answers schedulers: keeps the room of plans and of Spark applications, places where "
    "little is fragmented.",
    cluster=(
        Grant(resources=("nodes", "pods"), verbs=WATCH, why="Knows what is free where."),
        Grant(
            group=GROUP,
            resources=("packingplans", "packingpolicies", "sparkadmissions"),
            verbs=WATCH,
            why="Knows which room plans and Spark applications keep, and which policies act "
            "unasked.",
        ),
    ),
    own=(
        *_leases(why="Says which plans it enforces; each replica has a Lease of its own."),
        Grant(
            group="coordination.k8s.io",
            resources=("leases",),
            verbs=("delete",),
            why="Takes its Lease with it when it ends.",
        ),
        Grant(
            group="coordination.k8s.io",
            resources=("leases",),
            verbs=WATCH,
            why="Sees whether the operator lives; reservations end without it.",
        ),
    ),
    borrowed=(
        Borrowed(
            role="system:auth-delegator",
            why="Authenticates and authorises who reads its metrics and reservations.",
        ),
    ),
)

SCHEDULER = Program(
    name="scheduler",
    what="A kube-scheduler of its own.",
    own=_leases("fairstow-scheduler", "One replica schedules."),
    borrowed=(
        Borrowed(role="system:kube-scheduler", why="Schedules."),
        Borrowed(role="system:volume-scheduler", why="Schedules pods with volumes."),
        Borrowed(
            role="extension-apiserver-authentication-reader",
            namespace="kube-system",
            why="Authenticates who reads its metrics.",
        ),
        Borrowed(role="system:auth-delegator", why="Authorises who reads its metrics."),
    ),
)

TEST = Program(
    name="test",
    what="`helm test`: runs `fairstow doctor` in the cluster.",
    cluster=(
        Grant(
            group="apiextensions.k8s.io",
            resources=("customresourcedefinitions",),
            verbs=("get",),
            names=tuple(f"{kind}.{GROUP}" for kind in KINDS),
            why="Compares the definitions with its own.",
        ),
        Grant(
            group="admissionregistration.k8s.io",
            resources=("mutatingwebhookconfigurations", "validatingwebhookconfigurations"),
            verbs=("get",),
            names=(WEBHOOKS,),
            why="Looks whether the API server trusts the webhook.",
        ),
        Grant(
            group=GROUP,
            resources=("packingplans",),
            verbs=("create",),
            why="Tries the webhook by a dry run.",
        ),
    ),
    own=(
        Grant(
            group="coordination.k8s.io",
            resources=("leases",),
            verbs=("get", "list"),
            why="Looks who is alive.",
        ),
        Grant(
            group="discovery.k8s.io",
            resources=("endpointslices",),
            verbs=("list",),
            why="Looks who is in service.",
        ),
        Grant(
            group="apps",
            resources=("deployments",),
            verbs=("get",),
            names=("fairstow-scheduler",),
            why="Looks whether there is a scheduler.",
        ),
    ),
)

PROGRAMS = (OPERATOR, WEBHOOK, EXTENDER, SCHEDULER, TEST)

GATEWAY = Program(
    name="gateway",
    what="Serves a ServingPool; one for each pool, in the pool's namespace.",
    own=(
        Grant(
            group=GROUP,
            resources=("servingpools", "instancedrains"),
            verbs=WATCH,
            why="Knows its pool, and which of its engines drain.",
        ),
        Grant(resources=("pods",), verbs=WATCH, why="Knows the engines."),
        Grant(
            group="discovery.k8s.io",
            resources=("endpointslices",),
            verbs=("list",),
            why="Knows the pool's other gateways, to ask them what they have on each engine.",
        ),
    ),
    borrowed=(
        Borrowed(role="system:auth-delegator", why="Asks whose tokens its ports are shown."),
    ),
)
"""Not of an installation: the chart makes it for each of its values' gateways.

It adds `get` of the Secrets that are named there."""

SCALING = Program(
    name="scaling",
    what="What the operator may do besides where the values' `gateways[].scaling` is true.",
    own=(
        Grant(
            group="apps",
            resources=("deployments/scale", "statefulsets/scale"),
            verbs=("get", "update"),
            why="Scales the workload of a ServingPool.",
        ),
        Grant(
            group="leaderworkerset.x-k8s.io",
            resources=("leaderworkersets/scale",),
            verbs=("get", "update"),
            why="Scales the workload of a ServingPool.",
        ),
        Grant(
            group="autoscaling",
            resources=("horizontalpodautoscalers",),
            verbs=("list",),
            why="Doesn't scale what somebody else scales.",
        ),
        Grant(
            group="keda.sh",
            resources=("scaledobjects",),
            verbs=("list",),
            why="Doesn't scale what somebody else scales.",
        ),
        Grant(
            resources=("pods",),
            verbs=("patch",),
            why="Marks the drained pod as the first to go.",
        ),
    ),
)
"""In the namespace of such a pool alone, for the operator's ServiceAccount."""

SPARK = Program(
    name="spark",
    what="What the operator may do besides in each of the values' `spark.namespaces`.",
    own=(
        Grant(
            resources=("pods",),
            verbs=("patch",),
            why="Takes the gate off a driver that is let go.",
        ),
        Grant(
            resources=("configmaps",),
            verbs=("get",),
            why="Reads how many executors a driver begins with, from its Spark properties.",
        ),
        Grant(
            group=SPARK_OPERATOR,
            resources=("sparkapplications",),
            verbs=("patch",),
            why="Takes the suspension off an application that is let go.",
        ),
    ),
)
"""For the operator's ServiceAccount; other namespaces' applications are never let go."""

CACHING = Program(
    name="caching",
    what="What the operator may do besides for each of the values' `caches`.",
    own=(
        Grant(
            resources=("configmaps", "secrets"),
            verbs=("create",),
            why="Makes the sidecars' configuration and tokens; creation can't be limited by name.",
        ),
        Grant(
            resources=("configmaps",),
            verbs=("patch",),
            names=(CACHE_HOLDER,),
            why="Configures the sidecars.",
        ),
        Grant(
            resources=("secrets",),
            verbs=("get",),
            names=(CACHE_HOLDER,),
            why="Shows sidecars the token by which they tell how much they have.",
        ),
        Grant(
            resources=("services",),
            verbs=("list",),
            why="Sees whether a Service leads past the sidecars to the engines.",
        ),
    ),
)
"""In the namespace of such a cache alone, for the operator's ServiceAccount."""

ROLES = (
    Role(
        name="viewer",
        what="Sees pools, policies, plans, drains and caches.",
        aggregated_to=("view", "edit", "admin"),
        grants=(Grant(group=GROUP, resources=KINDS, verbs=WATCH, why="Reads."),),
    ),
    Role(
        name="editor",
        what="Submits plans for approval and deletes them; has serving pools, drains and caches.",
        aggregated_to=("edit", "admin"),
        grants=(
            Grant(
                group=GROUP,
                resources=("servingpools", "instancedrains"),
                verbs=("create", "update", "patch", "delete"),
                why="Whoever may delete an engine's pod may have it drained as well.",
            ),
            Grant(
                group=GROUP,
                resources=("semanticcaches",),
                verbs=("create", "update", "patch", "delete"),
                why="Whoever may change an application may have a cache beside it.",
            ),
            Grant(
                group=GROUP,
                resources=("packingplans",),
                verbs=("create", "delete"),
                why="A plan does nothing until somebody who may approves it.",
            ),
        ),
    ),
    Role(
        name="spark-user",
        what="Has Spark applications in queues.",
        aggregated_to=(),
        grants=(
            Grant(
                group=GROUP,
                resources=("sparkqueues",),
                verbs=("use",),
                why="Asked by the webhook when an application is made; all queues.",
            ),
        ),
    ),
    Role(
        name="spark-submitter",
        what="Submits Spark applications in others' names: Airflow, Argo CD, the Spark operator.",
        aggregated_to=(),
        grants=(
            Grant(
                group=GROUP,
                resources=("sparkqueues",),
                verbs=("use", "submit-as"),
                why="Asked by the webhook when an application is made for somebody else.",
            ),
        ),
    ),
    Role(
        name="approver",
        what="Approves, rejects and stops plans; has policies act unasked, beside admin.",
        aggregated_to=("admin",),
        grants=(
            Grant(
                group=GROUP,
                resources=("packingplans",),
                verbs=(*WATCH, "update", "patch", "approve"),
                why="A decision is an update of spec.approval or spec.abort.",
            ),
        ),
    ),
    Role(
        name="admin",
        what="Writes pools, policies and queues; for mode Auto, which acts unasked, beside "
        "approver.",
        aggregated_to=("admin",),
        grants=(
            Grant(
                group=GROUP,
                resources=("gpupools", "packingpolicies"),
                verbs=("create", "update", "patch", "delete"),
                why="Says what may be rearranged, and how far.",
            ),
            Grant(
                group=GROUP,
                resources=("sparkqueues",),
                verbs=("create", "update", "patch", "delete", "release"),
                why="Says who gets which share; lets an application go that waits.",
            ),
        ),
    ),
)
