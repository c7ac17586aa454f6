"""SemanticCache: which pods get a cache in front of their LLM requests, and what it may answer.

Written by the application's or the engine's owner; read by the webhook, which puts the sidecar into
pods, and by the cache controller, which configures the sidecars and reports on them.
"""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fairstow.api.cache_parts import Category, CategoryName, CategoryStatus, Mode
from fairstow.api.fields import (
    BigCount,
    Count,
    DurationText,
    Flag,
    ObjectName,
    Permille,
    Timestamp,
    duration,
    duration_milliseconds,
)
from fairstow.api.model import Column, CustomResource, Model, Resource
from fairstow.api.rules import Rule
from fairstow.api.selectors import LabelSelector
from fairstow.api.serving_pool import SecretKey
from fairstow.api.status import Conditions

MOST_CATEGORIES = 64
MOST_MISSED = 20
"""Missed pods that a status names."""

_URL = r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[-A-Za-z0-9._~]+)*/v1/?$"
_QUANTITY_CPU = r"^[0-9]{1,4}m?$"
_QUANTITY_BYTES = r"^[1-9][0-9]{0,5}(Mi|Gi)$"


def is_upstream(text: str) -> bool:
    """Whether requests can be passed on to an address: http or https, without a password, /v1."""
    return len(text) <= 512 and re.fullmatch(_URL, text) is not None


class Header(Model):
    """A header of requests whose values say the category."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=64,
            pattern=r"^[A-Za-z0-9-]+$",
            description="The header's name.",
        ),
    ]
    mapping: Annotated[
        dict[str, Annotated[CategoryName, Field(description="The category of a value.")]],
        Field(max_length=64, description="Its values, and the category of each."),
    ]


class Load(Model):
    """How load of the upstream is known; it relaxes what `categories[].adaptation` lets it."""

    validations = (
        Rule(
            cel="has(self.idle) == has(self.overloaded)",
            message="idle and overloaded are given together",
            holds=lambda self: (self.idle is None) == (self.overloaded is None),
        ),
        Rule(
            cel="!has(self.idle) || !has(self.overloaded) || "
            "duration(self.idle) < duration(self.overloaded)",
            message="idle is less than overloaded",
            holds=lambda self: (
                self.idle is None
                or self.overloaded is None
                or duration_milliseconds(self.idle) < duration_milliseconds(self.overloaded)
            ),
        ),
    )

    gateway: Annotated[
        Flag,
        Field(
            description="True: where the upstream is a ServingPool's gateway, what its answers say "
            "of the pool's load counts, and the times below only while it says nothing."
        ),
    ] = True
    idle: Annotated[
        DurationText | None,
        duration("idle", "1ms", "1h"),
        Field(
            description="Up to this 95th percentile of the time to the upstream's first byte "
            "nothing is relaxed. Left out: latency says nothing of load."
        ),
    ] = None
    overloaded: Annotated[
        DurationText | None,
        duration("overloaded", "1ms", "1h"),
        Field(description="From here on everything is relaxed as far as a category lets it."),
    ] = None


class Reask(Model):
    """Which hits are asked upstream again, to learn how many of them are wrong."""

    permille: Annotated[Permille, Field(description="Of all hits, in thousandths, by chance.")] = 50
    per_minute: Annotated[Count, Field(le=6_000, description="Most in a minute, by a sidecar.")] = (
        30
    )


class Judge(Model):
    """How often the comparison of two answers errs; the error budget allows for it."""

    calls_right_wrong_permille: Annotated[
        Permille, Field(le=999, description="Of equal answers, how many it takes for different.")
    ] = 0
    misses_permille: Annotated[
        Permille, Field(le=999, description="Of different answers, how many it takes for equal.")
    ] = 0


class SidecarResources(Model):
    """What the sidecar asks for, and gets at most: a Guaranteed pod stays one."""

    cpu: Annotated[
        str, Field(max_length=16, pattern=_QUANTITY_CPU, description="Such as 500m or 1.")
    ] = "500m"
    memory: Annotated[
        str,
        Field(
            max_length=16,
            pattern=_QUANTITY_BYTES,
            description="Such as 512Mi. The model takes 250Mi, 100,000 entries 200Mi more.",
        ),
    ] = "512Mi"
    storage: Annotated[
        str,
        Field(
            max_length=16,
            pattern=_QUANTITY_BYTES,
            description="Such as 1Gi: of the node's disk, for answers while the pod lives.",
        ),
    ] = "1Gi"


class CaBundle(Model):
    """Certificates in a ConfigMap of the cache's namespace."""

    name: Annotated[ObjectName, Field(description="The ConfigMap's name.")]
    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            pattern=r"^[-._a-zA-Z0-9]+$",
            description="The key of its data that holds the certificates, PEM.",
        ),
    ] = "ca.crt"


class Redis(Model):
    """A Redis, 6.2 or later, that the sidecars of the cache share."""

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=512,
            pattern=r"^rediss?(\+cluster|\+sentinel)?://[A-Za-z0-9.,:-]+(/[A-Za-z0-9._-]*)?$",
            description="redis://HOST:PORT/DATABASE, redis+cluster://HOST:PORT,… or "
            "redis+sentinel://HOST:PORT,…/SERVICE; rediss over TLS. Without a password.",
        ),
    ]
    user: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=128,
            pattern=r"^[A-Za-z0-9._@-]+$",
            description="Of its access list; docs/cache.md says what it needs.",
        ),
    ] = None
    password: Annotated[SecretKey | None, Field(description="The user's password.")] = None
    ca: Annotated[
        CaBundle | None,
        Field(description="Checks its certificate. Left out: the image's authorities."),
    ] = None


class Store(Model):
    """Where answers are kept."""

    redis: Annotated[
        Redis | None,
        Field(
            description="What one sidecar keeps, the others answer from, too: those of the same "
            "ServiceAccount beside applications, all in front of engines. Left out: each keeps "
            "its own while its pod lives."
        ),
    ] = None
    encryption_keys: Annotated[
        SecretKey | None,
        Field(
            description="Lines of ID:KEY, 32 bytes each in base64: questions and answers are "
            "encrypted by the first."
        ),
    ] = None


class Accounts(Model):
    """How ServiceAccounts of the cluster are known by their tokens."""

    audience: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            pattern=r"^[!-~]+$",
            description="For whom tokens have to be made, such as llama.chat: the audience that "
            "the engine or what checks keys before it asks for.",
        ),
    ]


class SemanticCacheSpec(Model):
    """Which pods, what stands behind them, and what may be answered from memory."""

    validations = (
        Rule(
            cel="size(self.selector.matchLabels) + size(self.selector.matchExpressions) > 0",
            message="selector names at least one label: an empty one would take every pod",
            holds=lambda self: bool(self.selector.match_labels or self.selector.match_expressions),
        ),
        Rule(
            cel="self.placement == 'Client' || !(has(self.upstream) || has(self.upstreamCa))",
            message="upstream and upstreamCa are for placement Client: in front of an engine, the "
            "engine in the same pod is the upstream",
            holds=lambda self: (
                self.placement == "Client" or (self.upstream is None and self.upstream_ca is None)
            ),
        ),
        Rule(
            cel="self.placement == 'Server' ? has(self.enginePort) : !has(self.enginePort)",
            message="enginePort is given with placement Server, and only then",
            holds=lambda self: (self.placement == "Server") == (self.engine_port is not None),
        ),
        Rule(
            cel="self.placement == 'Server' || !has(self.accounts)",
            message="accounts are for placement Server: beside an application its pod's "
            "ServiceAccount is the one caller",
            holds=lambda self: self.placement == "Server" or self.accounts is None,
        ),
        Rule(
            cel="self.placement == 'Server' || !has(self.store.redis) || has(self.upstream)",
            message="a shared store needs upstream: pods that share answers ask one server",
            holds=lambda self: (
                self.placement == "Server" or self.store.redis is None or self.upstream is not None
            ),
        ),
        Rule(
            cel="!has(self.header) || self.header.mapping.all(value, "
            "self.categories.exists(each, each.name == self.header.mapping[value]))",
            message="header.mapping names a category that isn't among categories",
            holds=lambda self: (
                self.header is None
                or set(self.header.mapping.values()) <= {each.name for each in self.categories}
            ),
        ),
        Rule(
            cel="self.categories.all(each, self.categories.exists_one(other, "
            "other.name == each.name))",
            message="two categories have the same name",
            holds=lambda self: len({each.name for each in self.categories}) == len(self.categories),
        ),
    )

    mode: Annotated[
        Mode,
        Field(
            description="Shadow: every request is passed on; answers are kept, and what would have "
            "been answered by them is counted. Enforce: it is answered. Off: nothing is kept."
        ),
    ] = "Shadow"
    selector: Annotated[
        LabelSelector,
        Field(
            description="Labels of the pods that get the sidecar when they are created, in this "
            "namespace, which has to be labelled fairstow.dev/cache=enabled."
        ),
    ]
    placement: Annotated[
        Literal["Client", "Server"],
        Field(
            description="Client: beside an application; OPENAI_BASE_URL leads it there. Server: "
            "in front of an engine; the Service's targetPort has to be 8448, the sidecar's."
        ),
    ] = "Client"
    upstream: Annotated[
        Annotated[
            str,
            Field(max_length=512),
            Rule(
                cel=f"self.matches('{_URL}')",
                message="upstream is an address that ends in /v1, without a password, such as "
                "http://llama.chat.svc/v1",
                holds=is_upstream,
            ),
        ]
        | None,
        Field(
            description="The server that requests go to where a pod's containers don't set "
            "OPENAI_BASE_URL themselves, such as http://llama.chat.svc/v1.",
        ),
    ] = None
    upstream_ca: Annotated[
        CaBundle | None,
        Field(description="Checks the upstream's certificate. Left out: the image's authorities."),
    ] = None
    engine_port: Annotated[
        Count | None,
        Field(ge=1, le=65_535, description="Of placement Server: where the engine answers HTTP."),
    ] = None
    accounts: Annotated[
        Accounts | None,
        Field(
            description="Of placement Server: callers that show a token of a ServiceAccount are "
            "known by it, so that a renewed token finds what the last one asked. Left out: each "
            "token is a caller of its own."
        ),
    ] = None
    categories: Annotated[
        tuple[Category, ...],
        Field(
            max_length=MOST_CATEGORIES,
            description="Kinds of questions; what fits none belongs to the strictest.",
        ),
        Rule(
            cel="size(self) > 0",
            message="categories has at least one entry",
            holds=lambda self: len(self) > 0,
        ),
    ] = (Category(name="default"),)
    header: Annotated[Header | None, Field(description="A header that says the category.")] = None
    load: Annotated[Load, Field(description="When the upstream counts as loaded.")] = Load()
    reask: Annotated[
        Reask, Field(description="Which hits are asked upstream again, to count wrong ones.")
    ] = Reask()
    judge: Annotated[Judge, Field(description="How often the comparison of two answers errs.")] = (
        Judge()
    )
    lookup_deadline: Annotated[
        DurationText,
        duration("lookupDeadline", "1ms", "5s"),
        Field(description="How long a request waits for a look-up before it is passed on."),
    ] = "50ms"
    most_entries: Annotated[
        Count, Field(ge=1, le=10_000_000, description="Most entries of one sidecar.")
    ] = 100_000
    store: Annotated[Store, Field(description="Where answers are kept.")] = Store()
    resources: Annotated[
        SidecarResources, Field(description="Of each sidecar, requests and limits alike.")
    ] = SidecarResources()
    recreate_missed: Annotated[
        Flag,
        Field(
            description="True: pods that were created without the sidecar are evicted, one at a "
            "time and within disruption budgets, so that their controllers make them anew; less "
            "and less often where that mends nothing."
        ),
    ] = False


class MissedPod(Model):
    """A pod of the cache that runs without the sidecar."""

    name: Annotated[ObjectName, Field(description="The pod.")]
    reason: Annotated[str, Field(max_length=512, description="Why.")]


class Recreation(Model):
    """The last eviction of a missed pod, as it was asked for."""

    at: Annotated[Timestamp, Field(description="When, RFC 3339.")]
    pod_uid: Annotated[
        str, Field(min_length=1, max_length=64, description="Of which pod, by its metadata.uid.")
    ]
    missed: Annotated[Count, Field(description="Pods that were missed then.")]
    in_vain: Annotated[
        Count,
        Field(description="Evictions in a row before it after which no fewer pods were missed."),
    ] = 0


class SemanticCacheStatus(Model):
    """The cache as last observed, every few seconds at most."""

    pods: Annotated[Count | None, Field(description="Pods that the selector takes.")] = None
    injected: Annotated[Count | None, Field(description="Of those, with the sidecar.")] = None
    missed: Annotated[
        Count | None, Field(description="Of those, without it: their requests aren't cached.")
    ] = None
    missed_pods: Annotated[
        tuple[MissedPod, ...],
        Field(max_length=MOST_MISSED, description="The first of them by name, and why."),
    ] = ()
    answering: Annotated[Count | None, Field(description="Sidecars that told what they have.")] = (
        None
    )
    entries: Annotated[Count | None, Field(description="Answers kept, in all sidecars.")] = None
    requests: Annotated[
        BigCount | None, Field(description="Requests since the sidecars started.")
    ] = None
    hit_permille: Annotated[
        Permille | None,
        Field(description="Of those, answered from memory, in thousandths."),
    ] = None
    hit_rate: Annotated[
        str | None, Field(max_length=16, description="The same, to be read: 12.3%.")
    ] = None
    load_permille: Annotated[
        Permille | None,
        Field(
            description="The upstream's load by which thresholds are relaxed now, of the sidecar "
            "that sees most of it; 0 while it is low."
        ),
    ] = None
    load_source: Annotated[
        Literal["Gateway", "Latency", "Mixed"] | None,
        Field(
            description="Whose word the load is: the gateway's of a ServingPool, or the upstream's "
            "latency; Mixed: not the same for all sidecars. Left out: nobody's."
        ),
    ] = None
    categories: Annotated[
        tuple[CategoryStatus, ...],
        Field(max_length=MOST_CATEGORIES, description="The categories, in the spec's order."),
    ] = ()
    recreation: Annotated[
        Recreation | None,
        Field(description="The last eviction of a missed pod, while there are missed ones."),
    ] = None
    conditions: Annotated[
        Conditions,
        Field(
            description="Ready: new pods get the sidecar. Injected: all pods have it. Serving: "
            "the sidecars answer, and see requests. Accounts, with spec.accounts: the cluster's "
            "keys are known."
        ),
    ] = ()
    observed_generation: Annotated[
        BigCount | None, Field(description="The metadata.generation this status describes.")
    ] = None


class SemanticCache(CustomResource):
    """A semantic cache in front of the LLM requests of some pods."""

    validations = (
        Rule(
            cel="size(self.metadata.name) <= 50",
            message="a cache's name has at most 50 characters, since other objects' names begin "
            "with fairstow-cache- and it",
            holds=lambda self: len(self.metadata.name) <= 50,
        ),
    )
    resource: ClassVar[Resource] = Resource(
        plural="semanticcaches",
        short_name="scache",
        scope="Namespaced",
        columns=(
            Column(name="Mode", path=".spec.mode"),
            Column(name="Placement", path=".spec.placement"),
            Column(name="Pods", path=".status.pods", type="integer"),
            Column(name="Missed", path=".status.missed", type="integer"),
            Column(name="Entries", path=".status.entries", type="integer"),
            Column(name="Requests", path=".status.requests", type="integer"),
            Column(name="Hits", path=".status.hitRate"),
            Column(name="Ready", path=".status.conditions[?(@.type=='Ready')].status"),
            Column(name="Serving", path=".status.conditions[?(@.type=='Serving')].status"),
        ),
    )

    kind: Annotated[Literal["SemanticCache"], Field(description="SemanticCache.")] = "SemanticCache"
    spec: Annotated[
        SemanticCacheSpec, Field(description="Which pods, and what may be answered from memory.")
    ]
    status: Annotated[
        SemanticCacheStatus | None,
        Field(description="What the cache does now; written by Fairstow."),
    ] = None
