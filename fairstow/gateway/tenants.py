"""Who may use the gateway, how urgently and how much.

A YAML list, usually a Secret that is mounted as a file:

    - name: team-a
      keys: [sk-…]              # any of them; kept here as digests only
      serviceAccounts: [ml/notebooks]  # on a cluster: NAMESPACE/NAME, by tokens made for the pool
      priorities: [normal, high]  # the first where a request names none
      weight: 2                 # share of the queue, against other tenants'
      requestsPerMinute: 600    # a minute's worth may come at once; left out: no limit
      tokensPerMinute: 1000000  # of prompts and answers; what was used is counted afterwards
      concurrent: 100           # requests at the same time
      deadlines: true           # its requests may name deadlines; left out: no

A bucket of b tokens that fills at r a second holds min(b, level + r·dt); a request is let in while
its level is positive, so that one may go over by one request's tokens and pays it back. Each of n
gateways has 1/n of the limits, until they hear what is used at each other (`usage`). A tenant that
is still there when the file has changed keeps its counts and levels, these up to a new b: whatever
changes, a minute's worth and ∫ r dt is all that it is ever let in.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import yaml

from fairstow.cluster.errors import InputError
from fairstow.web.errors import ApiError

PRIORITIES: Mapping[str, int] = {"high": 0, "normal": 1, "low": 2}
"""As engines order their queues, smaller first."""

_ACCOUNT = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
_EXAMPLE = "It is a YAML list such as: - {name: team-a, keys: [sk-…], priorities: [normal]}"


class Entry(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """One tenant in the file."""

    name: str
    keys: list[str] = []
    service_accounts: list[str] = []
    priorities: tuple[str, ...] = ("normal",)
    weight: float = 1.0
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None
    deadlines: bool = False


class Bucket:
    """So much a minute.

    Attributes:
        used: all that was taken by this gateway's requests.
        share: of the limit, that is this gateway's.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float], share: float) -> None:
        self._per_minute, self._clock = float(per_minute), clock
        self.share = share
        self.used = 0
        self._level = self._most
        self._at = clock()

    @property
    def left(self) -> float:
        """The part of the limit that may be used at once."""
        self._fill()
        return self._level / self._most

    def take(self, amount: int) -> None:
        """Count what was used here."""
        self.used += amount
        self.elsewhere(amount)

    def elsewhere(self, amount: int) -> None:
        """Count what was used at another gateway."""
        self._fill()
        self._level -= amount

    def wait(self, amount: float) -> float:
        """Return the seconds until so much may be used; 0 is now."""
        self._fill()
        return max(0.0, (amount - self._level) / self._rate)

    def begin(self, left: float) -> None:
        """Have all of the limit, of which so much is left elsewhere, less what is used up here."""
        self._fill()
        used_up = self._most - self._level
        self.share = 1.0
        self._level = left * self._most - used_up

    def cut(self, share: float) -> None:
        """Let so much of the limit be this gateway's."""
        self._become(self._per_minute, share)

    def change(self, per_minute: float) -> None:
        """Have another limit."""
        self._become(float(per_minute), self.share)

    def _become(self, per_minute: float, share: float) -> None:
        self._fill()
        self._per_minute, self.share = per_minute, share
        self._level = min(self._level, self._most)

    @property
    def _most(self) -> float:
        return self._per_minute * self.share

    @property
    def _rate(self) -> float:
        return self._most / 60

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._most, self._level + (now - self._at) * self._rate)
        self._at = now


class Tenant:
    """One of them.

    Attributes:
        running: its requests now; `elsewhere` those at other gateways, as far as they are heard.
        requests, tokens: its limits a minute, None where it has none.
    """

    requests: Bucket | None = None
    tokens: Bucket | None = None

    def __init__(self, entry: Entry, clock: Callable[[], float], share: float) -> None:
        self.running = self.elsewhere = 0
        self._clock, self._share = clock, share
        self.become(entry)

    def become(self, entry: Entry) -> None:
        """Be what the file says now; what was counted stays."""
        self.name = entry.name
        self.weight = entry.weight
        self.priorities = entry.priorities
        self.deadlines = entry.deadlines
        self._concurrent = entry.concurrent
        self.requests = self._limit(self.requests, entry.requests_per_minute)
        self.tokens = self._limit(self.tokens, entry.tokens_per_minute)

    def _limit(self, bucket: Bucket | None, per_minute: int | None) -> Bucket | None:
        if per_minute is None:
            return None
        if bucket is None:
            return Bucket(per_minute, self._clock, self._share)
        bucket.change(per_minute)
        return bucket

    @property
    def limited(self) -> bool:
        """Whether it has a limit."""
        return self._concurrent is not None or bool(self.requests or self.tokens)

    def shared(self, share: float, elsewhere: int) -> None:
        """Let so much of its limits be this gateway's, with so many requests at the others."""
        self._share, self.elsewhere = share, elsewhere
        for bucket in (self.requests, self.tokens):
            if bucket is not None and bucket.share != share:
                bucket.cut(share)

    def priority(self, wanted: str | None) -> int:
        """Return the priority of a request that names one, or none."""
        if wanted is None:
            return PRIORITIES[self.priorities[0]]
        if wanted not in PRIORITIES:
            raise ApiError(400, f"A priority is one of {', '.join(PRIORITIES)}.", param="priority")
        if wanted not in self.priorities:
            allowed = ", ".join(self.priorities)
            raise ApiError(403, f"This key's requests may have the priority {allowed}.")
        return PRIORITIES[wanted]

    def enter(self) -> None:
        """Count a request in. Raises ApiError at a limit."""
        if self._concurrent is not None:
            most = max(1, int(self._concurrent * self._share))
            if self.running + self.elsewhere >= most:
                raise _limited("concurrent", f"{most} requests run already.", 1.0)
        if self.tokens is not None and (wait := self.tokens.wait(1)):
            raise _limited("tokens", "The limit of tokens per minute is reached.", wait)
        if self.requests is not None:
            if wait := self.requests.wait(1):
                raise _limited("requests", "The limit of requests per minute is reached.", wait)
            self.requests.take(1)
        self.running += 1

    def leave(self, tokens: int) -> None:
        """Count a request out, and what it used."""
        self.running -= 1
        if self.tokens is not None:
            self.tokens.take(tokens)


class LimitError(ApiError):
    """A limit is reached. Attributes: limit: which."""

    limit = ""


class Accounts(Protocol):
    """What knows whose token a client shows."""

    async def name(self, token: str, known: Container[str]) -> str:
        """Return the ServiceAccount, "" if it is none of those known. Raises ApiError."""
        ...


class Tenants:
    """All of them, by key and by ServiceAccount.

    Args:
        replicas: gateways that each have their part of the limits, until they hear each other.
        before: those whose place these take; who stays, by name, keeps its counts.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        clock: Callable[[], float],
        replicas: int = 1,
        accounts: Accounts | None = None,
        before: Tenants | None = None,
    ) -> None:
        self._by_key: dict[bytes, Tenant] = {}
        self._by_account: dict[str, Tenant] = {}
        self._accounts = accounts
        self._anybody: Tenant | None = None
        there = {each.name: each for each in before.all} if before else {}
        self.all: list[Tenant] = []
        for entry in entries:
            tenant = there.pop(entry.name, None)
            if tenant is None:
                tenant = Tenant(entry, clock, 1 / replicas)
            else:
                tenant.become(entry)
            self.all.append(tenant)
        for entry, tenant in zip(entries, self.all, strict=True):
            for key in entry.keys:
                self._by_key[_digest(key)] = tenant
            for account in entry.service_accounts:
                self._by_account[account] = tenant

    @classmethod
    def anybody(cls, clock: Callable[[], float]) -> Tenants:
        """Return what lets everybody in, for a port that only this machine reaches."""
        tenants = cls((), clock)
        entry = Entry("local", [], priorities=("normal", "high", "low"), deadlines=True)
        tenants._anybody = Tenant(entry, clock, 1.0)
        return tenants

    async def find(self, authorization: str) -> Tenant:
        """Return whose key or token a header holds. Raises ApiError."""
        if self._anybody is not None:
            return self._anybody
        scheme, _, key = authorization.partition(" ")
        key = key.strip()
        tenant = None
        if scheme.lower() == "bearer":
            tenant = self._by_key.get(_digest(key))
            if tenant is None and self._by_account and self._accounts is not None:
                account = await self._accounts.name(key, self._by_account)
                tenant = self._by_account.get(account)
        if tenant is None:
            said = "Incorrect API key." if key else "No API key."
            raise ApiError(401, f"{said} Send one: Authorization: Bearer …", code="invalid_api_key")
        return tenant


def read(file: Path, clock: Callable[[], float], replicas: int = 1) -> Tenants:
    """Read a file of tenants. Raises InputError."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(str(file), f"can't be read: {error}", _EXAMPLE) from error
    return parse(str(file), text, clock, replicas)


def parse(
    source: str,
    text: str,
    clock: Callable[[], float],
    replicas: int = 1,
    accounts: Accounts | None = None,
    before: Tenants | None = None,
) -> Tenants:
    """Read tenants; `source` is how an error calls them. Raises InputError.

    `accounts` knows ServiceAccounts, on a cluster. Those of `before` that stay keep their counts;
    they are left as they are by an error.
    """
    try:
        entries = msgspec.convert(yaml.safe_load(text), list[Entry])
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise InputError(source, f"can't be used: {error}", _EXAMPLE) from error
    owners: dict[tuple[str, str], str] = {}
    for entry in entries:
        _check(source, entry)
        if entry.service_accounts and accounts is None:
            raise InputError(
                f"{source}: tenant {entry.name!r}",
                "ServiceAccounts are known on a cluster only",
                "Serve a ServingPool (--serving-pool), or give it keys.",
            )
        named = [("key", key) for key in entry.keys]
        for what in named + [("ServiceAccount", each) for each in entry.service_accounts]:
            if owners.setdefault(what, entry.name) != entry.name:
                both = f"{owners[what]} and {entry.name}"
                raise InputError(source, f"{both} have a {what[0]} in common", "Give each its own.")
    return Tenants(entries, clock, replicas, accounts, before)


def _check(source: str, entry: Entry) -> None:
    where = f"{source}: tenant {entry.name!r}"
    if not entry.name or not (entry.keys or entry.service_accounts) or not all(entry.keys):
        raise InputError(where, "a tenant has a name, and a key or a ServiceAccount", _EXAMPLE)
    wrong = [each for each in entry.service_accounts if not _ACCOUNT.fullmatch(each)]
    if wrong:
        raise InputError(where, f"{wrong[0]!r} is no ServiceAccount", "Write NAMESPACE/NAME.")
    unknown = [each for each in entry.priorities if each not in PRIORITIES]
    if unknown or not entry.priorities:
        raise InputError(
            where, f"priorities are some of {', '.join(PRIORITIES)}", "The first is the default."
        )
    numbers = (entry.weight, entry.requests_per_minute, entry.tokens_per_minute, entry.concurrent)
    if any(number is not None and not 0 < number < 1e12 for number in numbers):
        raise InputError(where, "weight and limits are over 0", "Leave a limit out to have none.")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()


def _limited(limit: str, said: str, wait: float) -> LimitError:
    error = LimitError(429, said, code="rate_limit_exceeded", retry_after=wait)
    error.limit = limit
    return error
