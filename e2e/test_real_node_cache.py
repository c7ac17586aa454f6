"""A semantic cache as its owner runs it in earnest: Redis over TLS, encryption, own authorities.

On the real node: pods with injected sidecars, a Redis of this machine under an access list with no
more than docs/cache.md names, an upstream whose certificate a private authority signed. Covered:
pods that share answers, an address by `envFrom`, what is in Redis, keys that are rotated, a Redis
that goes and comes, an authority that doesn't fit. Not covered: Redis as a cluster and with
Sentinels (tests/cache_sidecar/test_redis.py).
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from e2e import caching
from e2e.controlplane.client import KubectlError
from e2e.controlplane.tls import Authority
from e2e.on_real_node import installed as installation
from e2e.on_real_node import values as values_for
from fairstow.semantic_cache.injection import SIDECAR
from tests.cli.program import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.controlplane.realnode.cluster import RealCluster
    from e2e.controlplane.tls import KeyPair

pytestmark = [pytest.mark.real_node, pytest.mark.full]

HERE = "chat"
"""The namespace."""
CACHE, DOUBTFUL = "shared", "doubtful"
"""The SemanticCaches: the second one is told of an authority that its upstream doesn't have."""
PREFIX = f"fairstow-cache:{HERE}:{CACHE}"
PASSWORD, ADMIN = "the-caches", "the-admins"
RIGHTS = f"~{PREFIX}:* +get +set +unlink +xadd +xread +@connection"
UPSTREAM = f"https://llm.{HERE}.svc/v1"
SERVER = """
import http.server, itertools, json, ssl
numbers = itertools.count(1)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": f"answer {next(numbers)}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        said = {"id": "1", "object": "chat.completion", "created": 1, "model": "m",
                "choices": [choice]}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer(("", 8443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def cluster(
    real_cluster: RealCluster,
) -> Iterator[RealCluster]:
    caches = [{"namespace": HERE, "cache": name} for name in (CACHE, DOUBTFUL)]
    off = {"enabled": False}
    chosen = values_for(real_cluster, scheduler=off, extender=off, caches=caches)
    with installation(real_cluster, chosen, HERE):
        real_cluster.kubectl("label", "namespace", HERE, "fairstow.dev/cache=enabled")
        yield real_cluster


class Redis:
    """A Redis of this machine in the node's network, over TLS."""

    def __init__(self, cluster: RealCluster, folder: Path, pair: KeyPair, ca: Path) -> None:
        self._inside = ("nsenter", f"--net={cluster.network}")
        self._folder, self._pair, self._ca = folder, pair, ca
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            *(*self._inside, "redis-server", "--port", "0", "--tls-port", "6380"),
            *("--tls-cert-file", str(self._pair.cert), "--tls-key-file", str(self._pair.key)),
            *("--tls-ca-cert-file", str(self._ca), "--tls-auth-clients", "no"),
            *("--bind", "0.0.0.0", "--dir", str(self._folder), "--save", ""),
            *("--user", "default", "off"),
            *("--user", "admin", "on", f">{ADMIN}", "~*", "&*", "+@all"),
            *("--user", "cache", "on", f">{PASSWORD}", *RIGHTS.split()),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        ends = time.monotonic() + 20
        while self.say("ping") != "PONG":
            assert time.monotonic() < ends, "Redis doesn't answer"
            time.sleep(0.1)

    def say(self, *words: str) -> str:
        command = (*self._inside, "redis-cli", "-p", "6380", "--tls", "--cacert", str(self._ca))
        done = subprocess.run(
            [*command, "--sni", f"redis.{HERE}.svc", "--user", "admin", *words],
            capture_output=True,
            check=False,
            timeout=10,
            env={**os.environ, "REDISCLI_AUTH": ADMIN},
        )
        return done.stdout.decode(errors="replace").strip()

    def held(self) -> dict[str, bytes]:
        """All that is in it, by key."""
        return {key: self.say("--no-raw", "dump", key).encode() for key in self._keys()}

    def _keys(self) -> list[str]:
        return [key for key in self.say("keys", "*").splitlines() if key]

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def redis(cluster: RealCluster, authority: Authority, tmp_path: Path) -> Iterator[Redis]:
    pair = authority.issue("redis", hosts=[f"redis.{HERE}.svc", "127.0.0.1"])
    server = Redis(cluster, tmp_path, pair, authority.pair.cert)
    server.start()
    yield server
    server.kill()


def named(kind: str, name: str, **content: Any) -> dict[str, Any]:
    version = "discovery.k8s.io/v1" if kind == "EndpointSlice" else "v1"
    meta = {"name": name, "namespace": HERE}
    return {"apiVersion": version, "kind": kind, "metadata": meta, **content}


def key(name: str) -> str:
    """A line of the file of keys."""
    return f"{name}:{base64.b64encode(name.encode() * 32).decode()}\n"


def keys(*names: str) -> dict[str, Any]:
    return named("Secret", "keys", stringData={"keys": "".join(map(key, names))})


def around(cluster: RealCluster, authority: Authority, other: Authority) -> list[dict[str, Any]]:
    """What is there besides the caches: the upstream, ways to it and to Redis, secrets."""
    pair = authority.issue("llm", hosts=[f"llm.{HERE}.svc"])
    tls = {"tls.crt": pair.cert.read_text(), "tls.key": pair.key.read_text()}
    llm = caching.pod(cluster, HERE, "llm", "llm", "-c", SERVER)
    llm["spec"]["volumes"] = [{"name": "tls", "secret": {"secretName": "llm"}}]
    mount = {"name": "tls", "mountPath": "/tls", "readOnly": True}
    llm["spec"]["containers"][0]["volumeMounts"] = [mount]
    addresses = cluster.get("node", cluster.node_name)["status"]["addresses"]
    (node,) = [each["address"] for each in addresses if each["type"] == "InternalIP"]
    slice_ = named("EndpointSlice", "redis", addressType="IPv4")
    slice_["metadata"]["labels"] = {"kubernetes.io/service-name": "redis"}
    slice_ |= {"endpoints": [{"addresses": [node]}], "ports": [{"port": 6380}]}
    llm_ports = [{"port": 443, "targetPort": 8443}]
    return [
        named("Secret", "llm", stringData=tls),
        named("Secret", "redis", stringData={"password": PASSWORD}),
        named("ConfigMap", "authority", data={"ca.crt": authority.pair.cert.read_text()}),
        named("ConfigMap", "other", data={"ca.crt": other.pair.cert.read_text()}),
        named("ConfigMap", "settings", data={"OPENAI_BASE_URL": UPSTREAM}),
        named("Service", "llm", spec={"selector": {"cached": "llm"}, "ports": llm_ports}),
        named("Service", "redis", spec={"ports": [{"port": 6380}]}),
        slice_,
        llm,
    ]


def caches() -> list[dict[str, Any]]:
    store = {
        "redis": {
            "url": f"rediss://redis.{HERE}.svc:6380",
            "user": "cache",
            "password": {"name": "redis", "key": "password"},
            "ca": {"name": "authority"},
        },
        "encryptionKeys": {"name": "keys", "key": "keys"},
    }
    common = {
        "mode": "Enforce",
        "upstream": UPSTREAM,
        "lookupDeadline": "5s",  # the node's two cores are busy
        "resources": {"cpu": "300m", "memory": "512Mi"},
    }
    specs: dict[str, dict[str, Any]] = {
        CACHE: {"upstreamCa": {"name": "authority"}, "store": store},
        DOUBTFUL: {"upstreamCa": {"name": "other"}},
    }
    return [
        named("SemanticCache", name, spec=common | spec | {"selector": _selecting(name)})
        | {"apiVersion": "fairstow.dev/v1alpha1"}
        for name, spec in specs.items()
    ]


def _selecting(name: str) -> dict[str, Any]:
    return {"matchLabels": {"cached": name}}


def application(cluster: RealCluster, name: str, cache: str, **container: Any) -> dict[str, Any]:
    made = caching.pod(cluster, HERE, name, cache, "-c", "import time; time.sleep(1e6)")
    made["spec"]["containers"][0] |= container
    return made


def start(cluster: RealCluster, *pods: dict[str, Any]) -> None:
    """Have pods, with sidecars."""
    names = [f"pod/{each['metadata']['name']}" for each in pods]
    cluster.apply(pods)
    try:
        cluster.kubectl(
            "-n", HERE, "wait", "--for=condition=Ready", *names, "--timeout=110s", timeout=120
        )
    except KubectlError as error:
        raise AssertionError(cluster.kubectl("-n", HERE, "describe", *names)) from error
    for each in names:
        there = cluster.get("-n", HERE, each)["spec"]["initContainers"]
        assert SIDECAR in {container["name"] for container in there}


def asked(cluster: RealCluster, pod: str, question: str) -> tuple[str, str]:
    """Have an application ask; return what its cache said, and the answer."""
    words = ("-n", HERE, "exec", pod, "-c", "main", "--", "python", "-c", caching.ASK)
    said, text = json.loads(cluster.kubectl(*words, question))
    return said, text


def answered(cluster: RealCluster, pod: str, question: str, said: str) -> None:
    """Wait until an application's cache says this."""
    cluster.wait(lambda: asked(cluster, pod, question)[0] == said, f"{said} in {pod}")


@contextmanager
def cleared(cluster: RealCluster) -> Iterator[None]:
    try:
        yield
    finally:
        everything = ("delete", "pod,service,scache,endpointslice", "--all", "--wait=false")
        cluster.kubectl("-n", HERE, *everything)


def test_a_shared_store_that_is_encrypted_behind_private_authorities(
    cluster: RealCluster, redis: Redis, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    by_map = {"envFrom": [{"configMapRef": {"name": "settings"}}]}
    with cleared(cluster):
        cluster.apply([keys("a"), *around(cluster, authority, other), *caches()])
        ready = ("wait", "--for=condition=Ready", "scache", CACHE, DOUBTFUL, "--timeout=30s")
        cluster.kubectl("-n", HERE, *ready)
        time.sleep(2)  # the webhook has heard of it, too
        one, two = (
            application(cluster, "one", CACHE),
            application(cluster, "two", CACHE, **by_map),
        )
        start(cluster, one, two, application(cluster, "doubtful", DOUBTFUL))

        # What one keeps, the other answers from.
        for pod in ("one", "two"):  # requests pass until their stores are ready
            answered(cluster, pod, f"Is {pod} ready?", "miss")
        said, text = asked(cluster, "one", "What is a lighthouse?")
        assert said == "miss"
        answered(cluster, "two", "What is a lighthouse?", "hit-exact")
        held = redis.held()
        assert held
        assert all(each.startswith(f"{PREFIX}:") for each in held)
        assert not any(b"lighthouse" in each or text.encode() in each for each in held.values())

        def counted() -> bool:
            return bool(caching.status(cluster, HERE, CACHE).get("answering") == 2)

        cluster.wait(counted, "the sidecars to tell the operator")
        words = (CACHE, "What is a lighthouse?", "-n", HERE, "-o", "json")
        why = run("cache", "explain", *words, "--kubeconfig", str(cluster.kubeconfig))
        assert json.loads(why.stdout)["pod"] == "one", why.stderr

        # Whose authority doesn't fit is never asked.
        with pytest.raises(KubectlError, match="502"):
            asked(cluster, "doubtful", "What is a lighthouse?")

        # Redis goes: requests pass. It comes again, empty.
        redis.kill()
        assert asked(cluster, "two", "What is a harbour?")[0] == "miss"
        redis.start()
        for pod in ("one", "two"):
            answered(cluster, pod, "What is a harbour?", "hit-exact")

        # A key is put first, then the old one is taken out.
        for names, said in ((("b", "a"), "hit-exact"), (("b",), "miss")):
            cluster.apply([keys(*names)])
            cluster.kubectl("-n", HERE, "delete", "pod", "one")
            start(cluster, one)
            answered(cluster, "one", "What is a harbour?", said)
