"""Builds the Kubernetes programs once per version and keeps them in the user's cache.

A build takes minutes, so its result is keyed by everything that goes into it and shared by
every clone. Called by provider.py, cluster.py and `python -m e2e.controlplane build`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.controlplane.cache import cache_dir, locked
from e2e.controlplane.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

MODULE = Path(__file__).parent / "go"
KUBERNETES = "1.37.2"
KWOK = "0.8.0"
CONTAINERD = "2.3.6"
COREDNS = "1.15.0"
HELM = "4.3.1"
LEADER_WORKER_SET = "0.9.0"
KEDA = "2.21.0"
_NEEDED = "Go 1.26 or newer builds Kubernetes from source for the end-to-end tests"
_HOW = (
    "Install it from https://go.dev/dl/ (one folder, no root needed) and put its bin/ on PATH. "
    "Tests can do without: FAIRSTOW_E2E_KUBECONFIG names a cluster they may use, E2E_CLUSTER=kind "
    "has them make one with Docker and kind."
)


class BuildError(Exception):
    """A program could not be built; the message says why and what to do."""


class GoMissingError(BuildError):
    """Go is missing or too old."""


@dataclass(frozen=True)
class Program:
    """One binary: its version, its package, and how long a first build takes on two cores."""

    name: str
    version: str
    package: str
    expected: str
    packages: int = 1
    """About how many packages a cold build of one that isn't ours compiles."""
    module: str = ""
    """Whose sources it is built in, where its package can't be installed by its name."""

    @property
    def own(self) -> bool:
        """True for a package of our module, False for one that is only downloaded."""
        return self.package.startswith("./") and not self.module

    @property
    def key(self) -> str:
        """Changes with anything that goes into the binary, the Go version excepted."""
        digest = hashlib.sha256(repr((self.module + self.package, _ldflags(self))).encode())
        if self.own:
            sources = sorted((MODULE / self.package).glob("*.go"))
            for file in (MODULE / "go.mod", MODULE / "go.sum", *sources):
                digest.update(file.read_bytes())
        return f"{self.name}-{self.version}-{digest.hexdigest()[:12]}"

    @property
    def path(self) -> Path:
        """Where the built binary is kept."""
        return cache_dir() / "bin" / self.key / self.name

    @property
    def built(self) -> bool:
        """Whether the cache holds it."""
        return self.path.exists()


CONTROLPLANE = Program("controlplane", KUBERNETES, "./cmd/controlplane", "6–14 min")
KWOK_CONTROLLER = Program("kwok", KWOK, "sigs.k8s.io/kwok/cmd/kwok", "1–3 min", 1000)
VERDICTS = Program("verdicts", KUBERNETES, "./cmd/verdicts", "10 s")
NODE = Program("node", KUBERNETES, "./cmd/node", "1–2 min")
PAUSE = Program("pause", KUBERNETES, "./cmd/pause", "2 s")
ALIAS = Program("alias", KUBERNETES, "./cmd/alias", "2 s")
_CONTAINERD = "github.com/containerd/containerd/v2/cmd"
RUNTIME = Program("containerd", CONTAINERD, f"{_CONTAINERD}/containerd", "1–3 min", 900)
SHIM = Program(
    "containerd-shim-runc-v2", CONTAINERD, f"{_CONTAINERD}/containerd-shim-runc-v2", "10 s", 400
)
CTR = Program("ctr", CONTAINERD, f"{_CONTAINERD}/ctr", "10 s", 700)
DNS = Program("coredns", COREDNS, "github.com/coredns/coredns", "2–4 min", 1500)
HELM_CLI = Program("helm", HELM, "helm.sh/helm/v4/cmd/helm", "1–4 min", 1200)
LWS = Program("lws", LEADER_WORKER_SET, "./cmd", "1–4 min", 1000, module="sigs.k8s.io/lws")
DEFAULT = (CONTROLPLANE, KWOK_CONTROLLER)
REAL_NODE = (NODE, PAUSE, ALIAS, RUNTIME, SHIM, CTR, DNS, HELM_CLI)
PROGRAMS = {p.name: p for p in (*DEFAULT, VERDICTS, LWS, *REAL_NODE)}


def ensure(program: Program) -> Path:
    """Return the program's path, building it first if no build of it is cached.

    Raises GoMissingError or BuildError.
    """
    if program.built:
        return program.path

    def say_waiting() -> None:
        print(f"Waiting for another build of {program.name} to end …", file=sys.stderr, flush=True)

    # One lock for all programs: side by side they would only take each other's memory.
    with locked(cache_dir() / "build.lock", say_waiting):
        if not program.built:
            _build(program)
    return program.path


def module(path: str, version: str) -> Path:
    """Return the folder of a Go module's sources, fetched if need be.

    Raises GoMissingError or BuildError.
    """
    _require_go()
    command = ["go", "mod", "download", "-json", f"{path}@v{version}"]
    reply = subprocess.run(command, cwd=MODULE, capture_output=True, text=True, check=False)
    if reply.returncode:
        raise BuildError(f"{' '.join(command)} failed:\n{reply.stderr or reply.stdout}")
    return Path(json.loads(reply.stdout)["Dir"])


def _build(program: Program) -> None:
    _require_go()
    folder = program.path.parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f".{program.name}-*"):  # of a build that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{program.name}-", dir=folder.parent))
    try:
        if program.own or program.module:
            where = module(program.module, program.version) if program.module else MODULE
            target = [*_BUILD, "-ldflags", _ldflags(program), "-o", str(scratch / program.name)]
            _go([*target, program.package], program, cwd=where, env={})
        else:
            command = ["go", "install", "-v", "-trimpath", "-ldflags", _ldflags(program)]
            _go(
                [*command, f"{program.package}@v{program.version}"],
                program,
                cwd=scratch,
                env={"GOBIN": str(scratch)},
            )
        # A build that is killed before this line leaves nothing that looks finished.
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


_BUILD = ["go", "build", "-v", "-trimpath", "-mod=readonly"]


def _ldflags(program: Program) -> str:
    flags = ["-s", "-w"]
    if program.own:
        major, minor, _ = program.version.split(".")
        stamp = {"gitVersion": f"v{program.version}", "gitMajor": major, "gitMinor": minor}
        flags += [f"-X k8s.io/component-base/version.{k}={v}" for k, v in stamp.items()]
    return " ".join(flags)


def _require_go() -> None:
    if shutil.which("go") is None:
        raise GoMissingError(f"There is no `go` on PATH. {_NEEDED}.\n{_HOW}")
    # Inside the module, Go itself compares its version with the one go.mod asks for.
    check = subprocess.run(
        ["go", "env", "GOVERSION"], cwd=MODULE, capture_output=True, text=True, check=False
    )
    if check.returncode:
        raise GoMissingError(f"{check.stderr.strip()}\n{_NEEDED}.\n{_HOW}")


def _go(command: list[str], program: Program, *, cwd: Path, env: dict[str, str]) -> None:
    """Run one go command, counting the packages it names; raise BuildError with its last words."""
    environ = os.environ | {"CGO_ENABLED": "0"} | env
    what = f"Building {program.name} {program.version}"
    total = _package_count(program)
    with progress(what, total=total, expected=program.expected) as update:
        process = subprocess.Popen(
            ["nice", "-n", "5", *command],
            cwd=cwd,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines: list[str] = []
        reader = threading.Thread(target=_collect, args=(process, lines), daemon=True)
        reader.start()
        try:
            _follow(process, lambda: update(min(len(lines), total)))
        except BaseException:
            _interrupt(process)
            raise
        reader.join()
    if process.returncode:
        tail = "\n".join(lines[-20:])
        raise BuildError(f"{what} failed (exit code {process.returncode}):\n{tail}")


def _interrupt(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)  # on this one go ends its compilers, too
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _collect(process: subprocess.Popen[str], lines: list[str]) -> None:
    assert process.stderr is not None
    with process.stderr as stream:
        lines.extend(line.rstrip() for line in stream)


def _follow(process: subprocess.Popen[str], tick: Callable[[], None]) -> None:
    while True:
        try:
            process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            tick()
        else:
            tick()
            return


def _package_count(program: Program) -> int:
    """How many packages a cold build compiles; only the progress bar's length hangs on it."""
    if not program.own:
        return program.packages
    print("Fetching the Go modules of Kubernetes …", file=sys.stderr, flush=True)
    listing = subprocess.run(
        ["go", "list", "-deps", program.package],
        cwd=MODULE,
        env=os.environ | {"CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    return listing.stdout.count("\n") or 1
