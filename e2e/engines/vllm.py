"""Stock vLLM servers on this machine's CPU, with a tiny model and NIXL between them.

Used by the tests that are marked `full`, and by benchmarks of real engines. All servers start side
by side; each is one process group, so that ending it leaves no engine process behind.
"""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from e2e.controlplane.processes import Processes
from e2e.engines import environments
from e2e.engines.ports import free_ports
from fairstow.gateway.engines import vocabulary
from fairstow.gateway.engines.declared import Declared
from fairstow.gateway.engines.vllm import VllmEngine

KEY = "a key of tests"
READY_S = 600.0
TRANSFER = {
    "kv_connector": "NixlConnector",
    "kv_role": "kv_both",
    "kv_buffer_device": "cpu",
}
SETTINGS = {
    "VLLM_NIXL_SIDE_CHANNEL_HOST": "127.0.0.1",
    "UCX_TLS": "tcp,self,sm",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
}
ARGUMENTS = (
    "--enable-scale-out",
    "--scheduling-policy=priority",
    "--block-size=32",
    # In bfloat16 near ties fall otherwise when a prompt is recomputed, without any move.
    "--dtype=float32",
    "--max-num-seqs=16",
    "--host=127.0.0.1",
    f"--api-key={KEY}",
    "--served-model-name=tiny",
)


class Vllm:
    """One server, started and stopped by `start`."""

    def __init__(self, name: str, processes: Processes, port: int, model: Path) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self.model = model
        self._processes = processes

    def kill(self) -> None:
        """End it and all it started without any warning."""
        os.killpg(self._processes.pid(self.name), signal.SIGKILL)

    def pause(self) -> None:
        """Stop all its processes where they are."""
        os.killpg(self._processes.pid(self.name), signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        os.killpg(self._processes.pid(self.name), signal.SIGCONT)

    def adapter(self, session: aiohttp.ClientSession) -> VllmEngine:
        """Return the gateway's adapter to it."""
        return VllmEngine(
            session,
            self.name,
            self.url,
            key=KEY,
            declared=Declared(weights="tiny", priority=True),
            vocabulary=vocabulary.read(self.model),
        )


@contextmanager
def start(
    folder: Path,
    models: Sequence[Path],
    *,
    arguments: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
) -> Iterator[list[Vllm]]:
    """Run one server for each model, until the context ends; all have answered once."""
    python = environments.vllm()
    processes = Processes(folder, die_with_parent=True)
    servers = []
    try:
        for number, model in enumerate(models):
            port, side_channel = free_ports(2)
            name = f"vllm-{number}"
            # Its own command wants the metadata of a package named vllm.
            command = (str(python), "-m", "vllm.entrypoints.openai.api_server", *ARGUMENTS)
            own = (f"--port={port}", f"--model={model}", f"--kv-transfer-config={_transfer()}")
            environment = SETTINGS | {"VLLM_NIXL_SIDE_CHANNEL_PORT": str(side_channel)}
            processes.spawn(name, (*command, *own, *arguments), environment | dict(settings or {}))
            servers.append(Vllm(name, processes, port, model))
        for server in servers:
            _await_ready(server, processes)
        yield servers
    finally:
        for server in servers:
            _end(server, processes)
        processes.stop()


def _transfer() -> str:
    return json.dumps(TRANSFER)


def _await_ready(server: Vllm, processes: Processes) -> None:
    deadline = time.monotonic() + READY_S
    while not _answers(server, "/health"):
        processes.check()
        if time.monotonic() > deadline:
            raise processes.error(server.name, f"wasn't ready after {READY_S:.0f} s")
        time.sleep(0.5)
    # The first requests compile for seconds.
    warm = {"token_ids": [1] * 40, "sampling_params": {"max_tokens": 4, "temperature": 0.0}}
    if not _answers(server, "/inference/v1/generate", warm):
        raise processes.error(server.name, "generates nothing")


def _answers(server: Vllm, path: str, body: dict[str, Any] | None = None) -> bool:
    asked = urllib.request.Request(
        server.url + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
    )
    try:
        with urllib.request.urlopen(asked, timeout=120) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _end(server: Vllm, processes: Processes) -> None:
    try:
        group = processes.pid(server.name)
        os.killpg(group, signal.SIGCONT)
        os.killpg(group, signal.SIGKILL)
    except (KeyError, ProcessLookupError):
        return
