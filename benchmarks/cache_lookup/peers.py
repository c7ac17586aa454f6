"""Caches that are compared with: GPTCache in a Python of its own, and a plain Redis by exact key.

GPTCache wants other libraries than this project, so it is installed once into the cache folder
(`e2e.controlplane.cache`). Called by `__main__`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import redis

from benchmarks.cache_lookup.workload import Rows, entries, lookups
from e2e.controlplane.cache import cache_dir

GPTCACHE = "0.1.44"
_WANTS = (f"gptcache=={GPTCACHE}", "faiss-cpu", "sqlalchemy", "setuptools", "numpy")
_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]


def gptcache(count: int, asked: int) -> dict[str, float]:
    """Return seconds of CPU for a look-up, the median of wall time, and what was found."""
    python = _python()
    command = [str(python), str(_HERE / "gptcache_peer.py"), str(count), str(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _python() -> Path:
    """Return a Python that has GPTCache, made once."""
    folder = cache_dir() / f"gptcache-{GPTCACHE}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        uv = ["sh", str(_ROOT / "tools" / "uv.sh")]
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(
            [*uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True
        )
        install = [*uv, "pip", "install", "--quiet", "--python", str(python), *_WANTS]
        subprocess.run(install, check=True)
        (folder / "ready").touch()
    return python


def plain_redis(count: int, asked: int) -> dict[str, float] | None:
    """Return the same of GETs by the question's SHA-256; None where there is no Redis."""
    if shutil.which("redis-server") is None:
        return None
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    texts, rows = entries(count)
    wanted = lookups(texts, rows, asked)
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--port", str(port), "--save", "", "--dir", folder]
        server = subprocess.Popen([*command, "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL)
        try:
            return _asked(redis.Redis(port=port), texts, wanted)
        finally:
            server.kill()
            server.wait()


def _asked(
    client: redis.Redis, texts: list[str], wanted: list[tuple[str, Rows, int]]
) -> dict[str, float]:
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    for text in texts:
        client.set(_key(text), f"answer to {text}")
    wall, hits = [], 0
    began = time.process_time() + _cpu(client)
    for text, _, _ in wanted:
        started = time.perf_counter()
        hits += client.get(_key(text)) is not None
        wall.append(time.perf_counter() - started)
    cpu = time.process_time() + _cpu(client) - began
    count = len(wanted)
    return {"cpu": cpu / count, "p50": sorted(wall)[count // 2], "hits": hits / count, "right": 0.0}


def _cpu(client: redis.Redis) -> float:
    said = client.info("cpu")
    return float(said["used_cpu_user"]) + float(said["used_cpu_sys"])


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
