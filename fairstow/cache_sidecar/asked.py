"""A request as the cache looks at it: who, what, in which category, how far it may be looked up.

Called by `memory`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fairstow.cache_sidecar import metrics
from fairstow.cache_sidecar.answers import repeated
from fairstow.cache_sidecar.configuration import Rules
from fairstow.cache_sidecar.kept import Form
from fairstow.semantic_cache.canonical import Canonical, canonical
from fairstow.semantic_cache.categories import choose
from fairstow.semantic_cache.decision import Policy, tightened
from fairstow.semantic_cache.eligibility import Control, Eligibility, control, eligibility
from fairstow.semantic_cache.identity import Caller, namespace
from fairstow.serving.requests import Endpoint

_REMEMBERED = 16_384
_NEVER = 2.0
"""A threshold that nothing reaches: for a client's that can't be read."""


class Asked(msgspec.Struct, frozen=True):
    """A request as far as the cache looks at it.

    Attributes:
        entry: the id its answer has, or would have.
        tenant: whose quota it counts against.
        said: by `Cache-Control`.
        by: which rule chose the category.
        trusted: whether it may be answered from memory.
        repeated: what its answer has of it that isn't in the key.
    """

    endpoint: Endpoint
    form: Form
    request: Canonical
    namespace: str
    tenant: str
    entry: str
    policy: Policy
    eligibility: Eligibility
    said: Control
    by: str
    trusted: bool
    client_threshold: float | None = None
    repeated: Mapping[str, Any] = {}


class Repeats:
    """Since when the same client asked the same; the last `_REMEMBERED` requests."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._asked: OrderedDict[str, float] = OrderedDict()

    def since(self, entry: str) -> float | None:
        """Return the seconds since this was asked, None if it wasn't; it is asked now."""
        now, before = self._clock(), self._asked.get(entry)
        self._asked[entry] = now
        self._asked.move_to_end(entry)
        if len(self._asked) > _REMEMBERED:
            self._asked.popitem(last=False)
        return None if before is None else now - before


def read(
    rules: Rules,
    endpoint: Endpoint,
    body: Mapping[str, Any],
    form: Form,
    caller: Caller | None,
    header: Callable[[bytes], str | None],
    *,
    trusted: bool,
    repeats: Repeats | None,
) -> Asked | None:
    """Return a request as the cache sees it, None where nobody is known to ask.

    Args:
        rules: in force now.
        endpoint: its path.
        body: decoded.
        form: how its answer is wanted.
        caller: who asks.
        header: of the request, by its lower-case name.
        trusted: whether the upstream would let the caller in.
        repeats: where it is remembered; None: it isn't asked, only explained.
    """
    where, tenant = namespace(caller, body), namespace(caller, {})
    if where is None or tenant is None:
        return None
    request = canonical(endpoint, body)
    entry = hashlib.sha256(f"{where}{request.key}".encode()).hexdigest()[:32]
    choice = choose(
        request.question or "",
        rules.categories,
        mapped=_mapped(rules, header, counted=repeats is not None),
        tools=bool(body.get("tools")),
    )
    policy = rules.policies[choice.category]
    own = _threshold(header(b"x-cache-threshold"))
    named = header(b"x-cache-category")
    claimed = rules.policies.get(named or "")
    if repeats is not None and named and claimed is None:
        metrics.UNKNOWN_CATEGORIES.labels("x-cache-category").inc()
    if claimed is not None and claimed is not policy:
        policy = tightened(policy, claimed)
        own = max(own or 0.0, policy.threshold)
    said = control(header(b"cache-control"))
    since = repeats.since(entry) if repeats is not None else None
    return Asked(
        endpoint=endpoint,
        form=form,
        request=request,
        namespace=where,
        tenant=tenant,
        entry=entry,
        policy=policy,
        eligibility=eligibility(request, body, said, rules.limits, seconds_since_same=since),
        said=said,
        by=choice.by,
        trusted=trusted,
        client_threshold=own,
        repeated=repeated(endpoint, body),
    )


def _mapped(rules: Rules, header: Callable[[bytes], str | None], *, counted: bool) -> str | None:
    """Return the category that the owner's header names."""
    spec = rules.said.header
    value = None if spec is None else header(spec.name.lower().encode())
    if spec is None or value is None:
        return None
    found = spec.mapping.get(value)
    if found is None and counted:
        metrics.UNKNOWN_CATEGORIES.labels("header").inc()
    return found


def _threshold(said: str | None) -> float | None:
    """Return a client's own threshold from permille."""
    if said is None:
        return None
    digits = said.strip()
    read = digits.isascii() and digits.isdigit() and len(digits) <= 4
    return int(digits) / 1_000 if read else _NEVER
