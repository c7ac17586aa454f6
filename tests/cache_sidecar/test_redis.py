"""Answers in a real Redis: shared by sidecars, apart by cache, and every fault of it passed over.

Covered: vectors and removals that travel, restart, what a client may not see, encryption and its
keys, Redis down at the start and later, stopped, full, evicting, of a wrong type, limited by an
access list; in `full`: a cluster of three, Sentinel's failover, TLS with certificates. Left out:
slots that move while it runs, and Redis' own durability.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fairstow.cache_sidecar.__main__ import _parser, _settings, main
from fairstow.cache_sidecar.memory import _SLACK
from fairstow.cache_sidecar.remembering import Where
from fairstow.cache_sidecar.stores.connection import Address, check, client
from fairstow.cache_sidecar.stores.records import Seal, read_keys
from fairstow.cache_sidecar.stores.redis import RedisStore
from fairstow.cluster.errors import InputError
from tests.cache_sidecar.redis_servers import Server, free_port, needed, running, until
from tests.cache_sidecar.sidecars import CATEGORY, Site, run

pytestmark = needed
# Not about the deadline: the machine may be busy.
PATIENT = {"categories": [CATEGORY], "lookupDeadlineSeconds": 5}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("redis"))
    with running(server):
        yield server


@pytest.fixture
def redis(shared: Server) -> Server:
    shared.say("flushall")
    return shared


def where(redis: Server, prefix: str = "cache", keys: dict[str, bytes] | None = None) -> Where:
    address = Address(url=f"redis://127.0.0.1:{redis.port}")
    return Where(redis=address, prefix=prefix, seal=Seal(keys))


def limited(folder: Path, url: str, *servers: Server, more: str = "") -> Address:
    """Return the address for a user who may do what the documentation says."""
    rules = f"~cache:* +get +set +unlink +xadd +xread +@connection {more}"
    for each in servers:
        assert each.say("acl", "setuser", "cache", "on", ">secret", *rules.split()) == "OK"
    (folder / "password").write_text("secret\n")
    return Address(url=url, user="cache", password=folder / "password")


async def second(site: Site, **more: Any) -> Site:
    """Return another sidecar before the same upstream."""
    folder = site.folder / "second"
    folder.mkdir(exist_ok=True)
    other = Site(site.stack, site.http, folder, site.upstream)
    await other.start(**more)
    return other


async def counted(site: Site, metric: str) -> bool:
    _, found = await site.admin("GET", "/metrics")
    return any(
        line.startswith(metric.encode()) and not line.endswith(b" 0.0")
        for line in found.split(b"\n")
    )


def test_what_one_sidecar_was_told_another_serves_and_forgets(
    tmp_path: Path, redis: Server
) -> None:
    async def test(site: Site) -> None:
        await site.start(config=PATIENT, where=where(redis))
        other = await second(site, config=PATIENT, where=where(redis))
        assert await site.ask("How do I reset my password?") == ("miss", "answer 1")
        await other.stored(1)
        assert await other.ask("How do I reset my password?") == ("hit-exact", "answer 1")
        assert await other.ask("how do I reset my passwords") == ("hit-semantic", "answer 1")
        await other.admin("POST", "/purge", {"all": True})
        await site.stored(0)
        assert await site.ask("how do I reset my passwords") == ("miss", "answer 2")
        assert all(key.startswith("cache:") for key in redis.say("keys", "*").split())

    run(test, tmp_path)


class Deaf:
    """Keeps a sidecar from hearing the others for a while."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on = False
        real = RedisStore._next

        async def heard(store: RedisStore, block: int | None = None) -> Any:
            while self.on and block is not None:
                await asyncio.sleep(0.01)
            return await real(store, block)

        monkeypatch.setattr(RedisStore, "_next", heard)


def test_a_purge_reaches_what_the_asked_sidecar_does_not_know(
    tmp_path: Path, redis: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = Deaf(monkeypatch)

    async def test(site: Site) -> None:
        deaf.on = True
        await site.start(config=PATIENT, where=where(redis))
        other = await second(site, config=PATIENT, where=where(redis))
        await other.ask("a question")
        await other.stored(1)
        assert await site.admin("POST", "/purge", {"all": True}) == (200, b'{"entries":0}')
        # Not heard yet, but the answer isn't served; nor is it lost for want of the purge.
        assert await other.ask("a question") == ("miss", "answer 2")
        assert await counted(other, 'fairstow_cache_failed_open_total{reason="store"}')
        deaf.on = False
        await other.stored(0)
        assert await other.ask("a question") == ("miss", "answer 3")
        for again in (False, True):
            if again:
                await site.stop.aclose()
                await site.start(config=PATIENT, where=where(redis))
            while (found := await site.ask("a question"))[0] != "hit-exact":
                await asyncio.sleep(0.01)
            assert found[1] not in ("answer 1", "answer 2")

    run(test, tmp_path)


def test_a_purge_that_the_log_has_lost_is_kept_all_the_same(
    tmp_path: Path, redis: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = Deaf(monkeypatch)

    async def test(site: Site) -> None:
        await site.start(config=PATIENT, where=where(redis))
        other = await second(site, config=PATIENT, where=where(redis))
        await other.ask("a question")
        await site.stored(1)
        deaf.on = True
        await site.admin("POST", "/purge", {"all": True})
        redis.say("xtrim", "cache:log", "maxlen", "0")
        assert (await other.ask("a question"))[0] == "miss"
        deaf.on = False
        # It was kept anew before the purge could be heard, or is forgotten with all.
        await other.ask("another")
        while (await other.ask("another"))[0] != "hit-exact":
            await asyncio.sleep(0.01)
        restarted = await second(site, config=PATIENT, where=where(redis))
        while (await restarted.ask("another"))[0] != "hit-exact":
            await asyncio.sleep(0.01)

    run(test, tmp_path)


def test_a_key_that_is_refused_at_one_sidecar_is_closed_at_all(
    tmp_path: Path, redis: Server
) -> None:
    async def test(site: Site) -> None:
        await site.start(config=PATIENT, where=where(redis), workload=None)
        other = await second(site, config=PATIENT, where=where(redis), workload=None)
        for each in (site, other):
            await each.ask("a question", key="mine")
            await each.stored(1)
            assert (await each.ask("a question", key="mine"))[0] == "hit-exact"
        site.upstream.status = 401
        assert (await site.ask("something else", key="mine"))[1] == "401"
        while (await other.ask("a question", key="mine"))[0] != "bypass":
            await asyncio.sleep(0.01)
        assert (await site.ask("a question", key="mine"))[1] == "401"

    run(test, tmp_path)


def test_a_quota_that_was_lowered_holds_for_what_was_kept_before(
    tmp_path: Path, redis: Server
) -> None:
    async def test(site: Site) -> None:
        await site.start(config=PATIENT, where=where(redis))
        for number in range(40):
            await site.ask(f"question {number}")
        await site.stored(40)
        await site.stop.aclose()
        few = PATIENT | {"categories": [CATEGORY | {"quotaEntries": 5}]}
        await site.start(config=few, where=where(redis))
        await site.stored(5 + _SLACK)
        await site.stop.aclose()
        none = PATIENT | {"categories": [CATEGORY | {"quotaEntries": 0}]}
        await site.start(config=none, where=where(redis))
        await site.stored(0)

    run(test, tmp_path)


def test_callers_keep_their_names_over_a_change_of_keys(redis: Server) -> None:
    async def secret(*keys: str) -> bytes:
        seal = Seal({key: key.encode() * 32 for key in keys})
        address = Address(url=f"redis://127.0.0.1:{redis.port}")
        store = RedisStore(client(address), seal, "cache", most=10)
        found = await store.secret()
        await store.close()
        return found

    async def test() -> None:
        first = await secret("a")
        assert await secret("b", "a") == first
        assert await secret("b") == first
        assert await secret("c") != first

    asyncio.run(test())


def test_labels_are_shared(tmp_path: Path, redis: Server) -> None:
    config = PATIENT | {"reask": {"permille": 1000}}

    async def test(site: Site) -> None:
        await site.start(config=config, where=where(redis))
        other = await second(site, config=config, where=where(redis))
        site.upstream.said = "Click on the link."
        await site.ask("How do I reset my password?")
        await site.stored(1)
        for _ in range(3):
            assert (await site.ask("how do I reset my passwords"))[0] == "hit-semantic"
        for each in (site, other):
            while (await each.category())["labels"] != 3:
                await asyncio.sleep(0.02)
        await other.stop.aclose()
        await other.start(config=config, where=where(redis))
        assert (await other.category())["labels"] == 3

    run(test, tmp_path)


def test_restart_is_warm_and_another_cache_sees_nothing(tmp_path: Path, redis: Server) -> None:
    async def test(site: Site) -> None:
        await site.start(config=PATIENT, where=where(redis), workload=None)
        await site.ask("a question", key="mine")
        await site.stored(1)
        await site.stop.aclose()
        await site.start(config=PATIENT, where=where(redis, "other"), workload=None)
        await site.stored(0)
        await site.stop.aclose()
        await site.start(config=PATIENT, where=where(redis), workload=None)
        await site.stored(1)
        # A key that the upstream hasn't accepted here is asked for first, then known again.
        assert (await site.ask("a question", key="mine"))[0] == "bypass"
        assert (await site.ask("a question", key="mine"))[0] == "hit-exact"
        assert (await site.ask("a question", key="another's"))[0] == "bypass"
        assert (await site.ask("a question", key="another's"))[1] != "answer 1"

    run(test, tmp_path)


def test_encrypted_nothing_is_read_and_keys_are_changed(tmp_path: Path, redis: Server) -> None:
    old, new = {"old": b"o" * 32}, {"new": b"n" * 32}

    async def test(site: Site) -> None:
        await site.start(config=PATIENT, where=where(redis, keys=old))
        await site.ask("a question about unicorns")
        await site.stored(1)
        await site.stop.aclose()
        (at,) = redis.say("keys", "*:answer:*").split()
        said = redis.say("get", at) + redis.say("xrange", "cache:log", "-", "+")
        assert "old" in said
        assert "unicorns" not in said
        assert "answer 1" not in said
        await site.start(config=PATIENT, where=where(redis, keys=new | old))
        assert await site.ask("a question about unicorns") == ("hit-exact", "answer 1")
        await site.ask("another question")
        await site.stored(2)
        await site.stop.aclose()
        await site.start(config=PATIENT, where=where(redis, keys=new))
        await site.stored(1)
        assert await site.ask("another question") == ("hit-exact", "answer 2")

    run(test, tmp_path)


def test_key_that_is_gone_opens_nothing() -> None:
    closed = Seal({"a": b"a" * 32}).shut(b"name", b"data")
    assert Seal({"b": b"b" * 32, "a": b"a" * 32}).opened(b"name", closed) == b"data"
    for keys in ({"b": b"b" * 32}, {"a": b"b" * 32}, None):
        assert Seal(keys).opened(b"name", closed) is None
    assert Seal({"a": b"a" * 32}).opened(b"another", closed) is None
    plain = Seal().shut(b"name", b"data")
    assert Seal().opened(b"name", plain) == b"data"
    assert Seal({"a": b"a" * 32}).opened(b"name", plain) is None
    for cut in range(len(closed)):
        assert Seal({"a": b"a" * 32}).opened(b"name", closed[:cut]) is None


async def _down(redis: Server) -> None:
    redis.process.send_signal(signal.SIGTERM)
    redis.process.wait()


async def _stopped(redis: Server) -> None:
    redis.process.send_signal(signal.SIGSTOP)


async def _wrong_type(redis: Server) -> None:
    for key in redis.say("keys", "*").split():
        redis.say("del", key)
        redis.say("lpush", key, "x")


async def _full(redis: Server) -> None:
    redis.say("config", "set", "maxmemory", "1")


FAULTS: dict[str, tuple[Callable[[Server], Awaitable[None]], str]] = {
    "down": (_down, 'failed_open_total{reason="store"}'),
    "stopped": (_stopped, 'failed_open_total{reason="deadline"}'),
    "wrong type": (_wrong_type, 'failed_open_total{reason="store"}'),
    "full": (_full, 'not_stored_total{reason="store"}'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_redis_that_faults_costs_hits_only(tmp_path: Path, fault: str) -> None:
    happens, counts = FAULTS[fault]
    redis = Server(tmp_path / "redis")

    async def test(site: Site) -> None:
        await site.start(where=where(redis))
        await site.ask("a question")
        await site.stored(1)
        await happens(redis)
        for number in range(3):
            assert (await site.ask(f"other {number}")) == ("miss", f"answer {2 + number}")
        said = await site.ask("a question")
        assert said == (("hit-exact", "answer 1") if fault == "full" else ("miss", "answer 5"))
        while not await counted(site, f"fairstow_cache_{counts}"):
            await asyncio.sleep(0.02)

    with running(redis):
        run(test, tmp_path)


def test_evicted_answers_are_misses_and_the_secret_stays(tmp_path: Path, redis: Server) -> None:
    async def test(site: Site) -> None:
        await site.start(config=PATIENT, where=where(redis))
        other = await second(site, config=PATIENT, where=where(redis))
        await site.ask("a question")
        await other.stored(1)
        redis.say("flushall")
        assert await site.ask("a question") == ("miss", "answer 2")
        await other.stored(1)
        assert await other.ask("a question") == ("hit-exact", "answer 2")

    run(test, tmp_path)


def test_redis_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    redis = Server(tmp_path / "redis")

    async def test(site: Site) -> None:
        await site.start(config=PATIENT, where=where(redis), ready=False)
        assert (await site.ask("a question")) == ("", "answer 1")
        await asyncio.to_thread(redis.start)
        while (await site.admin("GET", "/stats"))[0] != 200:
            await asyncio.sleep(0.02)
        await site.ask("a question")
        await site.stored(1)
        assert (await site.ask("a question")) == ("hit-exact", "answer 2")

    try:
        run(test, tmp_path)
    finally:
        redis.kill()


def test_access_list_of_one_cache_is_enough(tmp_path: Path, redis: Server) -> None:
    address = limited(tmp_path, f"redis://127.0.0.1:{redis.port}", redis)

    async def test(site: Site) -> None:
        await site.start(config=PATIENT, where=Where(redis=address, prefix="cache"))
        other = await second(site, config=PATIENT, where=Where(redis=address, prefix="cache"))
        await site.ask("a question")
        await other.stored(1)
        assert (await other.ask("a question"))[0] == "hit-exact"
        await other.admin("POST", "/purge", {"all": True})
        await site.stored(0)

    run(test, tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "http://h", "redis://", "redis://u:p@h", "redis://a,b", "redis+x://a", "redis://h/x",
        "redis+sentinel://a,b", "redis+cluster://a/1", "redis://h:x", "redis://h?a=b", "redis+://h",
    ],
)  # fmt: skip
def test_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        check(Address(url=url))


def test_keys_and_flags_that_cannot_be_used_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keys"
    good = b64encode(b"k" * 32).decode()
    path.write_text(f"a:{good}\nb:{good}\n")
    assert list(read_keys(path)) == ["a", "b"]
    for text in ("", "a", f":{good}", "a:short", f"a:{good} a:{good}", f"a:{good[:-4]}"):
        path.write_text(text)
        with pytest.raises(InputError):
            read_keys(path)
    (tmp_path / "config").write_text("{}")
    told = ["--upstream", "http://h", "--config", str(tmp_path / "config"), "--store", "redis://h"]
    assert main([*told, "--data", str(tmp_path)]) == 2
    assert "--data" in capsys.readouterr().err


def test_answers_are_apart_by_workload_and_upstream(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("{}")

    def prefix(upstream: str, account: str) -> str:
        told = ["--upstream", upstream, "--config", str(tmp_path / "config")]
        told += ["--store", "redis://h", "--workload", f"shop/{account}"]
        return _settings(_parser().parse_args(told)).where.prefix

    assert prefix("http://a", "web") == prefix("http://a/v1", "web")
    found = {prefix("http://a", "web"), prefix("http://b", "web"), prefix("http://a", "job")}
    assert len(found) == 3


@pytest.mark.full
def test_cluster_of_three(tmp_path: Path) -> None:
    nodes = [
        Server(tmp_path / f"node{number}", arguments=("--cluster-enabled", "yes"))
        for number in range(3)
    ]
    with running(*nodes):
        hosts = [f"127.0.0.1:{each.port}" for each in nodes]
        create = ["redis-cli", "--cluster", "create", *hosts, "--cluster-yes"]
        subprocess.run(create, check=True, capture_output=True, timeout=60)
        for each in nodes:
            until(lambda each=each: "cluster_state:ok" in each.say("cluster", "info"))
        url = f"redis+cluster://{hosts[0]},{hosts[1]}"
        address = limited(tmp_path, url, *nodes, more="+cluster")

        async def test(site: Site) -> None:
            config = Where(redis=address, prefix="cache")
            await site.start(config=PATIENT, where=config)
            other = await second(site, config=PATIENT, where=config)
            for number in range(12):
                await site.ask(f"question {number}")
            await other.stored(12)
            assert (await other.ask("question 3")) == ("hit-exact", "answer 4")
            assert all(int(each.say("dbsize")) > 0 for each in nodes)
            await other.admin("POST", "/purge", {"all": True})
            await site.stored(0)
            left = " ".join(each.say("keys", "*") for each in nodes).split()
            assert sorted(left) == ["cache:log", "cache:purged", "cache:secret"]
            assert (await site.ask("question 3")) == ("miss", "answer 13")
            await other.stored(1)
            assert (await other.ask("question 3")) == ("hit-exact", "answer 13")

        run(test, tmp_path, seconds=60)


@pytest.mark.full
def test_failover_by_sentinel(tmp_path: Path) -> None:
    master = Server(tmp_path / "master")
    replica = Server(tmp_path / "replica", arguments=("--replicaof", "127.0.0.1", str(master.port)))
    sentinels = [Server(tmp_path / f"sentinel{number}") for number in range(3)]
    with running(master, replica):
        try:
            for each in sentinels:
                each.folder.mkdir()
                file = each.folder / "sentinel.conf"
                file.write_text(
                    f"port {each.port}\nsentinel monitor m 127.0.0.1 {master.port} 2\n"
                    "sentinel down-after-milliseconds m 1000\nsentinel failover-timeout m 5000\n"
                )
                each.start("redis-sentinel", str(file))
            for each in sentinels:
                until(
                    lambda each=each: (
                        "num-other-sentinels\n2" in each.say("sentinel", "master", "m")
                    )
                )
            hosts = ",".join(f"127.0.0.1:{each.port}" for each in sentinels)

            async def test(site: Site) -> None:
                config = Where(redis=Address(url=f"redis+sentinel://{hosts}/m"), prefix="cache")
                await site.start(config=PATIENT, where=config)
                await site.ask("a question")
                await site.stored(1)
                until(lambda: replica.say("xlen", "cache:log") == "1")
                master.kill()
                asked = 1
                said = ("", "")
                while said[0] != "hit-exact":
                    asked += 1
                    said = await site.ask("a question")
                    assert said[0] in ("miss", "hit-exact")
                    await asyncio.sleep(0.1)
                assert said == ("hit-exact", "answer 1")

            run(test, tmp_path, seconds=60)
        finally:
            for each in sentinels:
                if hasattr(each, "process"):
                    each.kill()


@pytest.mark.full
def test_tls_with_certificates_on_both_sides(tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    subject = ["-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *files]
    subprocess.run(make, check=True, capture_output=True)
    port = free_port()
    tls = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    ca = ("--tls-ca-cert-file", str(certificate))
    shown = ("--tls", "--cert", str(certificate), "--key", str(key), "--cacert", str(certificate))
    redis = Server(
        tmp_path / "redis",
        port,
        ("--port", "0", "--tls-port", str(port), *tls, *ca),
        options=shown,
    )
    good = Address(
        url=f"rediss://127.0.0.1:{port}", ca=certificate, certificate=certificate, key=key
    )

    async def test(site: Site) -> None:
        await site.start(config=PATIENT, where=Where(redis=good))
        await site.ask("a question")
        await site.stored(1)
        assert (await site.ask("a question"))[0] == "hit-exact"
        strange = Where(redis=Address(url=good.url))  # whose certificate is that?
        other = await second(site, config=PATIENT, where=strange, ready=False)
        assert (await other.ask("a question")) == ("", "answer 2")

    with running(redis):
        run(test, tmp_path)
