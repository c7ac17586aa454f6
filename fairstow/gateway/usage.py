"""Limits of tenants over all gateways of a pool: each counts what is used at any of them.

Gateways tell each other what each tenant has used since they began to count, along with their loads
(`peers`). What is more than the last time is taken from the tenant's buckets here, as if it had
been used here. So all of them hold the same limit, but for what comes in between two hearings. A
gateway that is new learns how much is left from those that are there. Where one of them isn't
heard, or tells of other tenants, nobody knows what it lets in: each has its part of the limits
then, as if nobody spoke.

A tenant is told by a digest with the pool's secret, which is all that the gateways need. Whoever
poses as a gateway could have tenants refused, and not have them let in.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from fairstow.gateway.tenants import Tenant, Tenants
from fairstow.serving.wire import Usage


class SharedUsage:
    """See the module. Args: secret: the same at all gateways of a pool."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._names: dict[str, str] = {}
        self._before: dict[tuple[str, str], Usage] = {}
        self._new, self._whole = True, False

    def told(self, tenants: Tenants) -> list[Usage]:
        """Return what this gateway tells the others."""
        return [_usage(self._name(each), each) for each in tenants.all if each.limited]

    def heard(self, tenants: Tenants, said: Mapping[str, Sequence[Usage]], gateways: int) -> None:
        """Take in what others tell.

        Args:
            tenants: whose limits count.
            said: by their names.
            gateways: how many there are, this one too.
        """
        known = {self._name(each): each for each in tenants.all if each.limited}
        now = {
            (gateway, usage.tenant): usage
            for gateway, usages in said.items()
            for usage in usages
            if usage.tenant in known and min(usage.running, usage.requests, usage.tokens) >= 0
        }
        alike = all(known.keys() <= {each.tenant for each in told} for told in said.values())
        whole = alike and len(said) == gateways - 1
        running: Counter[str] = Counter()
        for (_, name), usage in now.items():
            running[name] += usage.running
        if whole and self._new:
            self._begin(known, now.values())
            self._new = False
        elif whole and self._whole:
            for key, usage in now.items():
                _take(known[key[1]], self._before.get(key, usage), usage)
        for name, tenant in known.items():
            tenant.shared(1.0 if whole else 1 / gateways, running[name] if whole else 0)
        self._before, self._whole = now, whole

    def _begin(self, known: Mapping[str, Tenant], usages: Iterable[Usage]) -> None:
        """Learn how much is left of the limits."""
        left: dict[str, tuple[float, float]] = {}
        for each in usages:
            requests, tokens = left.get(each.tenant, (1.0, 1.0))
            left[each.tenant] = min(requests, each.requests_left), min(tokens, each.tokens_left)
        for name, parts in left.items():
            for bucket, part in zip((known[name].requests, known[name].tokens), parts, strict=True):
                if bucket is not None:
                    bucket.begin(part)

    def _name(self, tenant: Tenant) -> str:
        name = self._names.get(tenant.name)
        if name is None:
            said = f"limits of {tenant.name}".encode()
            name = hmac.new(self._secret, said, "sha256").hexdigest()[:32]
            self._names[tenant.name] = name
        return name


def _take(tenant: Tenant, before: Usage, now: Usage) -> None:
    """Count what was used at another gateway since it was heard before; it may have begun anew."""
    if tenant.requests is not None:
        tenant.requests.elsewhere(max(0, now.requests - before.requests))
    if tenant.tokens is not None:
        tenant.tokens.elsewhere(max(0, now.tokens - before.tokens))


def _usage(name: str, tenant: Tenant) -> Usage:
    requests, tokens = tenant.requests, tenant.tokens
    return Usage(
        tenant=name,
        running=tenant.running,
        requests=requests.used if requests else 0,
        tokens=tokens.used if tokens else 0,
        requests_left=requests.left if requests else 1.0,
        tokens_left=tokens.left if tokens else 1.0,
    )
