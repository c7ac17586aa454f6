"""Running the real program: piped, or on a terminal of a given width."""

import fcntl
import gzip
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.packing.checker_clusters import node, pod

Json = dict[str, Any]

FAIRSTOW = str(Path(sys.executable).with_name("fairstow"))
LIMIT = 120
"""Seconds after which a run counts as hung."""

_KINDS = (
    ("PodDisruptionBudget", "policy/v1"),
    ("Job", "batch/v1"),
    ("Namespace", "v1"),
    ("PriorityClass", "scheduling.k8s.io/v1"),
)


def environment(**more: str) -> dict[str, str]:
    """A user's environment without anything that would change the output, or a cluster."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "TMPDIR")}
    return kept | {"HOME": "/nonexistent", "LANG": "C.UTF-8", "TERM": "xterm"} | more


def run(
    *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the program with its output piped."""
    done = subprocess.run(
        [FAIRSTOW, *arguments],
        input=stdin,
        capture_output=True,
        env=env or environment(),
        timeout=LIMIT,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err, err
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def run_on_terminal(
    *arguments: str, columns: int = 80, typed: str = "", **env: str
) -> tuple[int, str]:
    """Run the program on a terminal; return its exit code and what it showed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [FAIRSTOW, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment(**env)
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    shown = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not data:
            break
        shown += data
    os.close(ours)
    return process.wait(LIMIT), shown.decode().replace("\r\n", "\n")


def listening_to_ctrl_c() -> None:
    """Undo an ignored SIGINT, which background jobs of a shell are born with."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def known(kinds: Iterable[str]) -> list[Json]:
    """Empty lists: what says that there are none of a kind."""
    return [
        {"apiVersion": version, "kind": f"{kind}List", "items": []}
        for kind, version in _KINDS
        if kind in kinds
    ]


def write_dump(path: Path, objects: Iterable[Json], *, unknown: Iterable[str] = ()) -> Path:
    """Write objects as kubectl would; kinds that plans look at are known unless said otherwise."""
    kinds = {kind for kind, _ in _KINDS} - set(unknown)
    listed = {"apiVersion": "v1", "kind": "List", "items": [*known(kinds), *objects]}
    text = json.dumps(listed, indent=4).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def stuck() -> list[Json]:
    """Three nodes of 8 GPUs with 7, 6 and 7 in use, and a pod that asks for 4 (volcano#3948).

    One plan alone helps: the two small pods leave the middle node, each for the one place it may
    go to.
    """
    nodes = [node("left"), node("middle"), node("right")]
    for each, sides in zip(nodes, (("west",), ("west", "east"), ("east",)), strict=True):
        each["metadata"]["labels"] |= dict.fromkeys(sides, "yes")
        each["metadata"]["labels"]["nvidia.com/gpu.product"] = "H100"
    return [
        *nodes,
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "prod", "uid": "class-prod"},
            "value": 1000,
        },
        pod("full-left", "left", gpu=7, owner="ReplicaSet/full"),
        pod("full-right", "right", gpu=7, owner="ReplicaSet/full"),
        pod("half", "middle", gpu=4, owner="ReplicaSet/half"),
        pod("small-0", "middle", owner="ReplicaSet/small", nodeSelector={"west": "yes"}),
        pod("small-1", "middle", owner="ReplicaSet/small", nodeSelector={"east": "yes"}),
        pod("big-0", gpu=4, priority=1000, namespace="team-b", owner="StatefulSet/big"),
    ]
