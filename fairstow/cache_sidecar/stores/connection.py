"""A client of Redis from an address: one server, a cluster, or what Sentinel says is the master.

    redis://HOST[:PORT][/DATABASE]      redis+cluster://HOST[:PORT],HOST[:PORT]…
    redis+sentinel://HOST[:PORT],…/SERVICE[/DATABASE]           rediss…: over TLS

Each with short time-outs and nothing tried twice: who asks has no time to wait. The password is
read from its file at every connection, so that it may change. Called by `service`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from fairstow.cluster.errors import InputError

SECONDS = 1.0
MOST_CONNECTIONS = 64
_PORTS = {"": 6379, "cluster": 6379, "sentinel": 26379}
_EXAMPLE = (
    "Write redis://HOST:PORT, redis+cluster://HOST:PORT,… or redis+sentinel://HOST:PORT,…/NAME."
)
Client = Any
"""Redis or RedisCluster; their annotations have no common type."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where Redis is and how it is asked.

    Attributes:
        user: of its access control list. password: a file.
        ca, certificate, key: files; None: the system's authorities, no certificate of ours.
    """

    url: str
    user: str | None = None
    password: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class _Password(CredentialProvider):
    def __init__(self, user: str | None, path: Path) -> None:
        self._user, self._path = user, path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._path.read_text().strip()
        return (self._user, password) if self._user else (password,)


def check(address: Address) -> None:
    """Raise InputError where an address can't be one, OSError where a file can't be read."""
    url = _split(address.url)
    kind = _kind(url)
    if kind == "sentinel" and not _parts(url):
        raise InputError(address.url, "names no service of Sentinel's", _EXAMPLE)
    if address.user and address.password is None:
        raise InputError(address.url, "there is a user without a password", "Give its file, too.")
    _hosts(url)
    _database(url)
    for path in (address.password, address.ca, address.certificate, address.key):
        if path is not None:
            path.read_bytes()


def client(address: Address) -> Client:
    """Return a client, which connects when it is used."""
    url = _split(address.url)
    hosts, kind = _hosts(url), _kind(url)
    how: dict[str, Any] = {
        "socket_timeout": SECONDS,
        "socket_connect_timeout": SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if url.scheme.startswith("rediss"):
        how |= {
            "ssl": True,
            "ssl_ca_certs": str(address.ca) if address.ca else None,
            "ssl_certfile": str(address.certificate) if address.certificate else None,
            "ssl_keyfile": str(address.key) if address.key else None,
        }
    who: dict[str, Any] = {}
    if address.password is not None:
        who["credential_provider"] = _Password(address.user, address.password)
    most: dict[str, Any] = {"max_connections": MOST_CONNECTIONS}
    if kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in hosts]
        return RedisCluster(startup_nodes=nodes, **how, **who, **most)
    database: dict[str, Any] = {"db": _database(url)}
    if kind == "sentinel":
        made: Any = Sentinel  # its annotations are incomplete
        sentinel = made(hosts, sentinel_kwargs=how, **how, **who, **most)
        return sentinel.master_for(_parts(url)[0], **database)
    ((host, port),) = hosts
    return Redis(host=host, port=port, **how, **who, **most, **database)


async def leave(client: Client) -> None:
    """Close a client's connections, those to Sentinels, which it leaves open, among them."""
    await client.aclose()
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        for each in pool.sentinel_manager.sentinels:
            await each.aclose()


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise InputError("--store", "there is a password in it", "Give its file instead.")
    if parts.query or parts.fragment or not parts.netloc:
        raise InputError(url, "is no address of Redis", _EXAMPLE)
    return parts


def _kind(url: SplitResult) -> str:
    scheme, _, kind = url.scheme.partition("+")
    if scheme not in ("redis", "rediss") or kind not in _PORTS or url.scheme.endswith("+"):
        raise InputError(url.geturl(), "is no address of Redis", _EXAMPLE)
    return kind


def _hosts(url: SplitResult) -> list[tuple[str, int]]:
    kind = _kind(url)
    found = []
    for each in url.netloc.split(","):
        one = urlsplit(f"//{each}")
        try:
            host, port = one.hostname, one.port
        except ValueError:
            host, port = None, None
        if not host:
            raise InputError(url.geturl(), f"{each!r} is no HOST:PORT", _EXAMPLE)
        found.append((host, port or _PORTS[kind]))
    if len(found) > 1 and not kind:
        raise InputError(url.geturl(), "names several servers", _EXAMPLE)
    return found


def _parts(url: SplitResult) -> list[str]:
    return [part for part in url.path.split("/") if part]


def _database(url: SplitResult) -> int:
    parts = _parts(url)[1 if _kind(url) == "sentinel" else 0 :]
    if not parts:
        return 0
    if len(parts) > 1 or not parts[0].isdigit() or _kind(url) == "cluster":
        raise InputError(url.geturl(), "is no address of Redis", _EXAMPLE)
    return int(parts[0])
