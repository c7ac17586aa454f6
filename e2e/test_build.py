"""How the programs get into the cache, and which cluster is chosen: needs no Go and no cluster.

A small script plays `go`, so that locking, clean-up and messages are covered in seconds; and how
long the folder of a real node may be. Not covered: that Kubernetes compiles; every other
end-to-end test would fail first.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.controlplane.build import CONTROLPLANE, KWOK_CONTROLLER, BuildError, ensure
from e2e.controlplane.cluster import LocalCluster
from e2e.controlplane.options import ClusterOptions
from e2e.controlplane.provider import Kind, UnavailableError, choose, provide
from e2e.controlplane.realnode import needs, node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parent.parent
# Writes a line per build into $CALLS, then waits for $GATE, then "builds" a text file.
FAKE_GO = """
    #!/bin/sh
    case "$1" in
      env) test -z "$TOO_OLD" || { echo "go: go.mod requires go >= 1.26.0" >&2; exit 1; } ;;
      list) echo package ;;
      *)
        echo "$@" >> "$CALLS"
        turns=600
        while test -n "$GATE" && test ! -e "$GATE" && test $((turns -= 1)) -gt 0; do
          sleep 0.05
        done
        test -z "$BROKEN" || { echo "undefined: kube" >&2; exit 1; }
        out="$GOBIN/kwok"
        while test $# -gt 0; do test "$1" = -o && out="$2"; shift; done
        echo built > "$out" ;;
    esac
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an empty cache and a PATH on which `go` is the script above."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "go"
    script.write_text(textwrap.dedent(FAKE_GO).lstrip())
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("FAIRSTOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path


@contextmanager
def start_build(*programs: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "e2e.controlplane", "build", *programs]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as build:
        try:
            yield build
        finally:
            build.kill()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def test_a_program_is_built_once_and_then_taken_from_the_cache(fake: Path) -> None:
    for program in (CONTROLPLANE, KWOK_CONTROLLER):
        for _ in range(2):
            assert ensure(program).read_text() == "built\n"
    first, second = (fake / "calls").read_text().splitlines()
    assert first.startswith("build")
    assert "gitVersion=v1.37.2" in first
    assert second.endswith("sigs.k8s.io/kwok/cmd/kwok@v0.8.0")


def test_two_builds_at_the_same_time_are_one(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE", str(fake / "gate"))
    with start_build("controlplane") as one:
        wait_for(fake / "calls")
        with start_build("controlplane") as two:
            assert two.stderr is not None
            assert "Waiting for another build" in two.stderr.readline()
            (fake / "gate").touch()
            assert (one.wait(30), two.wait(30)) == (0, 0)
    assert len((fake / "calls").read_text().splitlines()) == 1


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_leaves_nothing_that_looks_finished(
    fake: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    monkeypatch.setenv("GATE", str(fake / "gate"))
    with start_build("controlplane") as build:
        wait_for(fake / "calls")
        build.send_signal(how)
        assert build.wait(30) != 0
    assert not CONTROLPLANE.built
    (fake / "gate").touch()
    ensure(CONTROLPLANE)
    assert [path.name for path in (fake / "cache" / "bin").iterdir()] == [CONTROLPLANE.key]


def test_a_failed_build_shows_what_go_said(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKEN", "1")
    with pytest.raises(BuildError, match="undefined: kube"):
        ensure(CONTROLPLANE)
    assert list((fake / "cache" / "bin").iterdir()) == []


@pytest.mark.parametrize("state", ["missing", "too old"])
def test_without_go_the_message_says_how_to_get_it(
    fake: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    if state == "missing":
        (fake / "bin" / "go").unlink()
        monkeypatch.setenv("PATH", str(fake / "bin"))
    else:
        monkeypatch.setenv("TOO_OLD", "1")
    with start_build() as build:
        _, errors = build.communicate(timeout=30)
    assert build.returncode == 3
    assert "https://go.dev/dl/" in errors
    assert "FAIRSTOW_E2E_KUBECONFIG" in errors
    if state == "too old":
        assert "requires go >= 1.26" in errors


@pytest.mark.usefixtures("fake")
def test_the_key_changes_with_what_goes_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = ROOT / "e2e" / "controlplane" / "go"
    copy = tmp_path / "go"
    (copy / "cmd" / "controlplane").mkdir(parents=True)
    for name in ("go.mod", "go.sum", "cmd/controlplane/main.go"):
        (copy / name).write_bytes((module / name).read_bytes())
    monkeypatch.setattr("e2e.controlplane.build.MODULE", copy)
    seen = {CONTROLPLANE.key}
    for name in ("go.mod", "go.sum", "cmd/controlplane/main.go"):
        with (copy / name).open("a") as file:
            file.write("\n")
        seen.add(CONTROLPLANE.key)
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("environ", "go", "docker", "expected"),
    [
        ({}, True, True, Kind.LOCAL),
        ({}, False, True, Kind.KIND),
        ({}, False, False, Kind.LOCAL),  # which then says that Go is missing
        ({"E2E_CLUSTER": "kind"}, True, False, Kind.KIND),
        ({"E2E_CLUSTER": "local"}, False, True, Kind.LOCAL),
        ({"FAIRSTOW_E2E_KUBECONFIG": "x", "E2E_CLUSTER": "kind"}, True, True, Kind.GIVEN),
    ],
)
def test_the_cluster_is_chosen_by_wish_then_by_what_there_is(
    environ: Mapping[str, str], go: bool, docker: bool, expected: Kind
) -> None:
    assert choose(environ, has_go=lambda: go, has_docker=lambda: docker) is expected


def test_an_unknown_or_impossible_wish_says_so(fake: Path) -> None:
    with pytest.raises(UnavailableError, match="choose kind or local"):
        choose({"E2E_CLUSTER": "minikube"})
    wish = {"FAIRSTOW_E2E_KUBECONFIG": str(fake / "none")}
    with pytest.raises(UnavailableError, match="is no file"), provide(fake / "c", wish):
        pass
    if not (os.path.exists("/usr/bin/kind") or os.path.exists("/bin/kind")):
        wish = {"E2E_CLUSTER": "kind"}
        with pytest.raises(UnavailableError, match="kind"), provide(fake / "c", wish):
            pass


@pytest.mark.parametrize(
    ("user", "commands", "reason"),
    [
        (1000, {}, "a real node needs root"),
        (0, {"no-such-command": "its-package"}, "packages its-package are missing"),
        (0, {}, "the kernel refuses what a real node needs: no veth"),
    ],
)
def test_a_machine_without_a_real_node_says_why(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    user: int,
    commands: dict[str, str],
    reason: str,
) -> None:
    (tmp_path / "ptp").touch()
    (tmp_path / "unshare").write_text("#!/bin/sh\necho no veth >&2\nexit 1\n")
    (tmp_path / "unshare").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(needs, "COMMANDS", commands)
    monkeypatch.setattr(needs, "CNI_PLUGINS", tmp_path)
    assert reason in str(needs.missing())


def test_a_folder_too_long_for_a_real_node_is_refused_before_anything_begins(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    short = tmp_path_factory.mktemp("n")
    room = next(
        length for length in range(1, 200) if not _fits(short / ("c" * length))
    )  # fmt: skip
    longest, longer = short / ("c" * (room - 1)), short / ("c" * room)
    binds(longest)
    with pytest.raises(OSError, match="too long"):
        binds(longer)
    with pytest.raises(node.NodeError, match="at most") as said:
        LocalCluster(longer, ClusterOptions(real_node=True)).start()
    assert "TMPDIR" in str(said.value)


def _fits(folder: Path) -> bool:
    try:
        node.check(folder)
    except node.NodeError:
        return False
    return True


def binds(folder: Path) -> None:
    """Listen as kubelet does."""
    path = folder / "node" / "kubelet" / "device-plugins" / "kubelet.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
