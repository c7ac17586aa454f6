"""The sidecar's command line: its upstream, whose answers it keeps, and an admin port over TLS.

Not covered: the flags of the store (test_redis.py).
"""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from fairstow.cache_sidecar.__main__ import _parser, _settings
from fairstow.cache_sidecar.service import Settings
from fairstow.cache_sidecar.stores.sqlite import SqliteStore
from fairstow.cluster.errors import InputError
from fairstow.kube import authority
from tests.cache_sidecar import writer
from tests.cache_sidecar.sidecars import Site, run


def settings(tmp_path: Path, *more: str) -> Settings:
    (tmp_path / "cache.yaml").write_text("{}")
    words = ["--upstream=http://a/v1", f"--config={tmp_path / 'cache.yaml'}", *more]
    return _settings(_parser().parse_args(words))


def upstream(tmp_path: Path, *more: str) -> str:
    return settings(tmp_path, *more).upstream


def test_the_last_variable_that_is_set_names_the_upstream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--upstream-variable=ONE", "--upstream-variable=TWO")
    for name in ("ONE", "TWO"):
        monkeypatch.delenv(name, raising=False)
    assert upstream(tmp_path, *words) == "http://a/v1"
    monkeypatch.setenv("TWO", "http://c/v1")
    assert upstream(tmp_path, *words) == "http://c/v1"
    assert upstream(tmp_path, *reversed(words)) == "http://c/v1"
    monkeypatch.setenv("ONE", "http://b/v1")
    assert upstream(tmp_path, *words) == "http://c/v1"
    assert upstream(tmp_path) == "http://a/v1"
    monkeypatch.setenv("TWO", "ftp://c")
    with pytest.raises(InputError, match="ftp"):
        upstream(tmp_path, *words)


def test_a_container_that_comes_back_with_another_upstream_has_none_of_its_answers(
    tmp_path: Path,
) -> None:
    head, answer = writer.entry(1)

    async def kept(upstream: str) -> tuple[int, bool]:
        """Return what is kept as a sidecar of that upstream starts; it keeps an answer."""
        data = f"--data={tmp_path / 'data'}"
        where = settings(tmp_path, f"--upstream={upstream}", data, "--workload=team/app").where
        store = SqliteStore(where.folder, where.seal)
        found = len(list(store.heads())), await store.answer(head.id) is not None
        await store.put(head, answer)
        await store.close()
        return found

    assert asyncio.run(kept("http://a/v1")) == (0, False)
    assert asyncio.run(kept("http://a/v1")) == (1, True)
    assert asyncio.run(kept("http://b/v1")) == (0, False)
    assert asyncio.run(kept("http://b/v1")) == (1, True)


def test_an_admin_port_over_tls(tmp_path: Path) -> None:
    now, day = datetime.now(UTC), timedelta(days=1)
    signer = authority.new_authority("a", day, now)
    pair = authority.issue(signer, "a", ("name",), day, now)
    (tmp_path / "tls.crt").write_bytes(pair.certificate)
    (tmp_path / "tls.key").write_bytes(pair.key)
    certificate = f"--admin-certificate-file={tmp_path / 'tls.crt'}"
    key = f"--admin-key-file={tmp_path / 'tls.key'}"
    with pytest.raises(InputError, match="goes with --admin-key-file"):
        settings(tmp_path, certificate)
    with pytest.raises(InputError, match="certificate and its key"):
        settings(tmp_path, certificate, f"--admin-key-file={tmp_path / 'tls.crt'}")
    context = settings(tmp_path, certificate, key).admin_tls
    trusting = ssl.create_default_context(cadata=signer.certificate.decode())

    async def test(site: Site) -> None:
        await site.start(admin_tls=context, ready=False)
        where = f"//127.0.0.1:{site.ports.admin}/healthz"
        async with site.http.get(f"https:{where}", ssl=trusting, server_hostname="name") as reply:
            assert reply.status == 200
        with pytest.raises(aiohttp.ClientError):
            await site.http.get(f"http:{where}")

    run(test, tmp_path)
