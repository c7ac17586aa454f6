"""llama.cpp servers, from a wheel, with a tiny model or a given one; ready within seconds.

Used by tests of its adapter and the benchmark of downtime. All servers share the folder that slots
are saved to, unless they are `apart`, as in pods.
"""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from e2e.controlplane.processes import Processes
from e2e.engines import environments, tiny_model
from e2e.engines.ports import free_ports
from fairstow.gateway.engines import vocabulary
from fairstow.gateway.engines.declared import Declared
from fairstow.gateway.engines.llama_cpp import LlamaCppEngine

KEY = "a key of tests"
READY_S = 120.0
PROGRAM = "e2e.engines.llama_cpp_program"


class LlamaCpp:
    """One server; `tokenizer` is its tokenizer's folder, `slots` where they are saved."""

    def __init__(self, name: str, port: int, tokenizer: Path, slots: Path, *, apart: bool) -> None:
        self.name = name
        self.apart = apart
        self.url = f"http://127.0.0.1:{port}"
        self.tokenizer = tokenizer
        self.slots = slots

    def adapter(self, session: aiohttp.ClientSession, carrier: str = "") -> LlamaCppEngine:
        """Return the gateway's adapter to it."""
        shared = "" if self.apart else str(self.slots)
        return LlamaCppEngine(
            session,
            self.name,
            self.url,
            key=KEY,
            declared=Declared(weights="tiny", slots=shared, carrier=carrier),
            vocabulary=vocabulary.read(self.tokenizer),
        )


@contextmanager
def start(
    folder: Path,
    count: int,
    grammar: str = "",
    *,
    hidden: int = 128,
    layers: int = 4,
    longest: int = 4096,
    given: Path | None = None,
    apart: bool = False,
) -> Iterator[list[LlamaCpp]]:
    """Run so many servers until the context ends; what they write follows the grammar, if any."""
    python = environments.llama_cpp()
    environment = {"PYTHONPATH": str(environments.ROOT)}
    model, tokenizer = given or folder / "tiny.gguf", folder / "tokenizer"
    if given is None:
        tiny_model.write(tokenizer)
        write = ["write", str(model), str(hidden), str(layers), str(longest)]
    else:
        tokenizer.mkdir()
        write = ["tokenizer", str(model), str(tokenizer)]
    subprocess.run([python, "-m", PROGRAM, *write], env=environment, check=True)
    processes = Processes(folder, die_with_parent=True)
    servers = []
    try:
        for number, port in enumerate(free_ports(count)):
            name = f"llama-{number}"
            slots = folder / (f"slots-{number}" if apart else "slots")
            slots.mkdir(exist_ok=True)
            arguments = (
                *(f"--model={model}", f"--port={port}", f"--api-key={KEY}"),
                *(f"--slot-save-path={slots}", f"--grammar={grammar}", f"--ctx-size={longest}"),
            )
            processes.spawn(name, (python, "-m", PROGRAM, "serve", *arguments), environment)
            servers.append(LlamaCpp(name, port, tokenizer, slots, apart=apart))
        for server in servers:
            _await_ready(server, processes)
        yield servers
    finally:
        processes.stop()


def _await_ready(server: LlamaCpp, processes: Processes) -> None:
    deadline = time.monotonic() + READY_S
    while not _healthy(server):
        processes.check()
        if time.monotonic() > deadline:
            raise processes.error(server.name, f"wasn't ready after {READY_S:.0f} s")
        time.sleep(0.1)


def _healthy(server: LlamaCpp) -> bool:
    try:
        with urllib.request.urlopen(f"{server.url}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
