"""Real Redis servers for tests: one, a cluster of three, one with a replica and Sentinels, TLS."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

MISSING = shutil.which("redis-server") is None
needed = pytest.mark.skipif(MISSING, reason="no redis-server here (make setup-system)")


_HIGHEST = 65_535 - 10_000
"""A cluster's nodes talk to each other 10,000 ports above their own."""


def free_port() -> int:
    while True:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port: int = found.getsockname()[1]
        if port <= _HIGHEST:
            return port


def cli(port: int, *words: str, options: tuple[str, ...] = ()) -> str:
    command = ["redis-cli", "-p", str(port), *options, *words]
    done = subprocess.run(command, capture_output=True, check=False, timeout=10)
    return done.stdout.decode(errors="replace").strip()


@dataclass
class Server:
    """One redis-server, or Sentinel."""

    folder: Path
    port: int = field(default_factory=free_port)
    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self, *command: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        said = command or ("redis-server", "--port", str(self.port), "--save", "")
        self.process = subprocess.Popen(
            [*said, "--bind", "127.0.0.1", "--dir", str(self.folder), *self.arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: self.process.poll() is not None or self._answers())
        assert self.process.poll() is None, "it ended at once"

    def _answers(self) -> bool:
        return cli(self.port, "ping", options=self.options) == "PONG"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def say(self, *words: str) -> str:
        return cli(self.port, *words, options=self.options)


def until(done: object, seconds: float = 20) -> None:
    """Wait until a function returns true."""
    assert callable(done)
    ends = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.02)


@contextlib.contextmanager
def running(*servers: Server) -> Iterator[None]:
    try:
        for each in servers:
            each.start()
        yield
    finally:
        for each in servers:
            if hasattr(each, "process"):
                each.kill()
