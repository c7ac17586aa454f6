"""What a token costs on its way through the gateway, beside a plain reverse proxy and no proxy.

    python -m benchmarks.gateway [--streams 500] [--rate 20] [--seconds 15] [--rounds 3]

Engine and clients share a core, what is between them has the other for itself. Arms, in turn: the
clients at the engine (`direct`), through nginx without buffering (`nginx`), through the gateway
(`gateway`), which tokenises, keeps a record of every token and writes each answer itself. Figures
are how old a step is when it reaches its client; what counts is the difference to `direct` of the
same round. Then the gateway's memory at 2,000 streams with prompts of 2,000 tokens. What a token
costs of a core hardly depends on other work on the machine, unlike its age, so that only that has a
bound. Exits with 1 where one of benchmarks/bounds.yaml is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.closing import exceeded
from benchmarks.provenance import provenance

NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{engine}; proxy_http_version 1.1;
      proxy_buffering off; client_max_body_size 10m; }} }} }}
"""
Figures = dict[str, Any]


def main() -> int:
    """Run the benchmark and print its figures."""
    options = _options()
    steps = round(options.rate * options.seconds)
    result: Figures = {"provenance": provenance("aiohttp", "uvicorn", folders=("fairstow",))}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        engine, gateway, proxy = _free_ports(3)
        stack.enter_context(_engine(engine, options.rate))
        pid = stack.enter_context(_gateway(gateway, engine))
        arms, pids = {"direct": engine, "gateway": gateway}, {"gateway": pid}
        if shutil.which("nginx"):
            pids["nginx"] = stack.enter_context(_nginx(Path(name), proxy, engine))
            arms["nginx"] = proxy
        else:
            print("nginx isn't installed: that arm is left out")
        rounds = []
        for number in range(options.rounds):
            order = list(arms)[number % len(arms) :] + list(arms)[: number % len(arms)]
            found = {arm: _arm(arms[arm], pids.get(arm), options.streams, steps) for arm in order}
            rounds.append(found)
            print(json.dumps(found), flush=True)
        for arm in arms:
            for quantile in ("p50", "p99"):
                added = [each[arm][quantile] - each["direct"][quantile] for each in rounds]
                result[f"{arm}_added_{quantile}_ms"] = round(statistics.median(added), 3)
        for arm in pids:
            result[f"{arm}_cpu_us"] = round(statistics.median(r[arm]["cpu_us"] for r in rounds), 1)
        result["memory"] = _memory(gateway, pid, options)
    print(json.dumps(result, indent=2))
    missed = judge(result, sum(each["lost"] for one in rounds for each in one.values()))
    print("\n".join(missed), file=sys.stderr)
    return 1 if missed else 0


def judge(result: Figures, lost: int) -> list[str]:
    """Return what misses a bound, a sentence each."""
    measured = {"lost": lost, "peak_mb": result["memory"]["peak_mb"]}
    measured["cpu_us"] = result["gateway_cpu_us"]
    return exceeded("gateway", "gateway", measured)


def _arm(port: int, pid: int | None, streams: int, steps: int) -> Figures:
    """Run the clients; say what a token cost the program between, its children included."""
    before = _cpu(pid) if pid else 0.0
    found = _clients(port, streams, steps, 200)
    if pid:
        found["cpu_us"] = round(1e6 * (_cpu(pid) - before) / found["steps"], 1)
    return found


def _cpu(pid: int) -> float:
    """Return the CPU seconds of a program and its workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = 0
    for each in (pid, *map(int, children)):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _memory(gateway: int, pid: int, options: argparse.Namespace) -> Figures:
    before = _rss(pid)
    steps = 2 * 20
    command = [sys.executable, "-m", "benchmarks.gateway.clients", str(gateway)]
    clients = subprocess.Popen(
        [*command, str(options.memory_streams), str(steps), "2000"], stdout=subprocess.PIPE
    )
    peak = before
    while clients.poll() is None:
        peak = max(peak, _rss(pid))
        time.sleep(0.1)
    said: Figures = json.loads(clients.communicate()[0])
    return {"idle_mb": before, "peak_mb": peak, "streams": options.memory_streams} | said


def _rss(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def _clients(port: int, streams: int, steps: int, prompt: int) -> Figures:
    words = [str(each) for each in (port, streams, steps, prompt)]
    done = subprocess.run(
        _on(0, sys.executable, "-m", "benchmarks.gateway.clients", *words),
        check=True,
        stdout=subprocess.PIPE,
    )
    found: Figures = json.loads(done.stdout)
    return found


@contextlib.contextmanager
def _engine(port: int, rate: float) -> Iterator[int]:
    command = _on(0, sys.executable, "-m", "benchmarks.gateway.engine", str(port), str(rate))
    with _program(command, f"http://127.0.0.1:{port}/version") as pid:
        yield pid


@contextlib.contextmanager
def _gateway(port: int, engine: int) -> Iterator[int]:
    (admin,) = _free_ports(1)
    command = _on(
        1,
        *(sys.executable, "-m", "fairstow.gateway", "--engine", f"http://127.0.0.1:{engine}"),
        *("--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{admin}"),
        *("--log-level", "warning", "--most-waiting", "10000"),
    )
    with _program(command, f"http://127.0.0.1:{admin}/readyz") as pid:
        yield pid


@contextlib.contextmanager
def _nginx(folder: Path, port: int, engine: int) -> Iterator[int]:
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, port=port, engine=engine))
    with _program(_on(1, "nginx", "-c", str(file)), f"http://127.0.0.1:{port}/version") as pid:
        yield pid


@contextlib.contextmanager
def _program(command: list[str], ready: str) -> Iterator[int]:
    program = subprocess.Popen(command)
    try:
        _wait(ready)
        yield program.pid
    finally:
        program.terminate()
        program.wait()


def _wait(url: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{url} doesn't answer")


def _on(core: int, *command: str) -> list[str]:
    return ["taskset", "-c", str(core % (os.cpu_count() or 1)), *command]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-streams", type=int, default=2000)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
