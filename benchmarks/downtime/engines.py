"""The engines between which requests move: the cost model's servers, llama.cpp and vLLM on CPUs.

llama.cpp and vLLM run with random weights, of a size at which a long prompt takes seconds to
compute: what they write is of no interest, how long it takes is. Called by `__main__`.
"""

from __future__ import annotations

import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import aiohttp

from benchmarks.downtime.turns import Pair, Way
from e2e.controlplane.processes import Processes
from e2e.engines import llama_cpp, tiny_model, vllm
from e2e.engines.ports import free_ports
from fairstow.gateway.cost_model import text
from fairstow.gateway.engines.declared import Declared
from fairstow.gateway.engines.protocol import Engine
from fairstow.gateway.engines.vllm import VllmEngine

LONGEST = 8_192 + 4_096
GRAMMAR = "root ::= [a-z ]*"
"""One token each, so that none waits for the rest of its character."""
READY_S = 60.0


@contextmanager
def cost_model(profile: str, folder: Path) -> Iterator[Pair]:
    """Run two servers in real time."""
    processes = Processes(folder, die_with_parent=True)
    ports = free_ports(2)
    try:
        for port in ports:
            program = (sys.executable, "-m", "fairstow.gateway.cost_model_server")
            processes.spawn(f"engine-{port}", (*program, f"--port={port}", f"--profile={profile}"))
        for port in ports:
            _await(f"http://127.0.0.1:{port}/health", processes)
        yield Pair([partial(_cost_model_engine, port) for port in ports], "cost-model", check=_is)
    finally:
        processes.stop()


def _cost_model_engine(port: int, session: aiohttp.ClientSession) -> Engine:
    declared = Declared(weights="1", priority=True)
    return VllmEngine(session, f"engine-{port}", f"http://127.0.0.1:{port}", declared=declared)


def _is(prompt: str, answer: str) -> bool:
    said = text.decode(text.expected("1", text.encode(prompt), len(answer.encode())))
    return said.startswith(answer)


@contextmanager
def llama(folder: Path) -> Iterator[Pair]:
    """Run two llama.cpp servers that share a folder for their slots."""
    with llama_cpp.start(folder, 2, GRAMMAR, hidden=256, layers=8, longest=LONGEST) as servers:
        ways = (Way.BLOCKING, Way.RECOMPUTE, Way.BACKGROUND)
        engines = [each.adapter for each in servers]
        yield Pair(engines, "tiny", ways, extra={"ignore_eos": True})


@contextmanager
def vllm_on_cpu(folder: Path) -> Iterator[Pair]:
    """Run two stock vLLM servers with NIXL between them."""
    model = tiny_model.write(folder / "model", hidden=256, layers=8, longest=LONGEST)
    with vllm.start(folder, [model, model], arguments=("--max-num-seqs=4",)) as servers:
        engines = [each.adapter for each in servers]
        yield Pair(engines, "tiny", extra={"ignore_eos": True})


def _await(url: str, processes: Processes) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        processes.check()
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{url} doesn't answer after {READY_S:.0f} s")


ENGINES: Mapping[str, Callable[[Path], AbstractContextManager[Pair]]] = {
    "a10-7b": partial(cost_model, "a10-7b"),
    "h100-7b": partial(cost_model, "h100-7b"),
    "llama.cpp": llama,
    "vllm": vllm_on_cpu,
}
