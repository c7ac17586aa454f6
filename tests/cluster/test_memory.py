"""Memory: hostile and merely large dumps are read through a window of a few MiB.

Each case runs in a process of its own whose address space is bounded, so that a bound that is
missed is a failure and not a dead machine. Time isn't asserted.
"""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.cluster.objects import node, pod

ROOT = Path(__file__).parents[2]
ADDRESS_SPACE = 1 << 30
PEAK = 200 << 20
"""Generous: the interpreter and its libraries take some 40 MiB of it."""

PROGRAM = """
import resource, sys
from pathlib import Path
from fairstow.cluster import dump, project
from fairstow.cluster.errors import InputError
try:
    found = project.build(dump.read(sys.argv[1:]))
    print("read", len(found.pods))
except InputError as error:
    print("refused", error.problem)
# Not ru_maxrss: that begins with what the parent had when it forked.
status = Path("/proc/self/status")
if status.exists():
    print(int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def run(path: Path) -> tuple[str, int]:
    """Read a dump in a bounded process; returns what it said and its peak memory in bytes."""

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        cwd=ROOT,
        preexec_fn=bound,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *said, peak = done.stdout.splitlines()
    return "\n".join(said), int(peak)


def repeated(head: bytes, chunk: bytes, times: int, tail: bytes = b"") -> Iterator[bytes]:
    yield head
    for _ in range(times):
        yield chunk
    yield tail


def zipped(path: Path, parts: Iterable[bytes]) -> Path:
    packer = zlib.compressobj(1, wbits=31)
    with path.open("wb") as file:
        for part in parts:
            file.write(packer.compress(part))
        file.write(packer.flush())
    return path


MEBI = b" " * (1 << 20)
TEXT = b"x" * (1 << 20)
LARGE, BEYOND = 100, 1100
"""MiB: more than an object may take, more than a file may hold."""

BOMBS: dict[str, tuple[Callable[[], Iterator[bytes]], str]] = {
    "spaces": (lambda: repeated(b"", MEBI, BEYOND), "holds more than 1024 MiB"),
    "spaces-in-json": (lambda: repeated(b'{"items": [', MEBI, LARGE), "longer than 16 MiB"),
    "one-string": (lambda: repeated(b'{"items": [{"a": "', TEXT, LARGE), "longer than 16 MiB"),
    "envelope": (lambda: repeated(b'{"kind": "', TEXT, LARGE), "longer than 16 MiB"),
    "brackets": (lambda: repeated(b'{"items": [', b"[" * (1 << 20), LARGE), "longer than 16 MiB"),
    "false-boundaries": (
        lambda: repeated(b'{"items": [{"a": "', b'}, {"a' * (1 << 17), LARGE),
        "longer than 16 MiB",
    ),
    "yaml-string": (lambda: repeated(b'kind: "', TEXT, LARGE), "longer than 16 MiB"),
    "yaml-keys": (
        lambda: (b"".join(b"k%d: 1\n" % (i * 4096 + j) for j in range(4096)) for i in range(999)),
        "longer than 16 MiB",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_gzip_bomb_is_refused(tmp_path: Path, name: str) -> None:
    parts, said = BOMBS[name]
    path = zipped(tmp_path / "bomb.gz", parts())
    assert path.stat().st_size < 50 << 20
    found, peak = run(path)
    assert found.startswith("refused")
    assert said in found
    assert peak < PEAK


def test_a_yaml_bomb_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    path = tmp_path / "laughs.yaml"
    path.write_text("\n".join(lines))
    found, peak = run(path)
    assert "aliases (*name) are refused" in found
    assert peak < PEAK


def test_100_mb_of_yaml_are_read_item_by_item(tmp_path: Path) -> None:
    note = {f"example.com/note-{i}": "x" * 1000 for i in range(100)}
    item = "- " + json.dumps(pod("NAME", annotations=note)) + "\n"
    path = tmp_path / "large.yaml"
    with path.open("w") as file:
        file.write("kind: List\nitems:\n- " + json.dumps(node()) + "\n")
        for index in range(1000):
            file.write(item.replace("NAME", f"pod-{index}"))
    assert path.stat().st_size > 100e6
    found, peak = run(path)
    assert found == "read 1000"
    assert peak < PEAK


def test_many_pods_take_their_records_memory_not_their_texts(tmp_path: Path) -> None:
    note = {f"example.com/note-{i}": "x" * 200 for i in range(100)}
    item = json.dumps(pod("NAME", annotations=note), indent=4)
    path = tmp_path / "large.json.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write('{"kind": "List", "items": [' + json.dumps(node(), indent=4))
        for index in range(10000):
            file.write(", " + item.replace("NAME", f"pod-{index}"))
        file.write("]}")
    assert len(item) * 10000 > PEAK
    found, peak = run(path)
    assert found == "read 10000"
    assert peak < PEAK
