"""The program as a process: start-up, signals, pipes, exit codes where no input is to blame.

Leaves out what it prints. Times aren't asserted; what makes start-up slow (imports) is.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from fairstow.cli.errors import Code, InternalError, reported
from tests.cli.program import (
    FAIRSTOW,
    LIMIT,
    environment,
    listening_to_ctrl_c,
    run,
    stuck,
    write_dump,
)
from tests.packing.checker_clusters import node, pod

HEAVY = ("ortools", "numpy", "kubernetes", "rich.console", "yaml")


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    # typer itself reads flags with pydantic
    [(["--help"], (*HEAVY, "pydantic")), (["plan", "--help"], HEAVY)],
)
def test_help_imports_nothing_heavy(arguments: list[str], heavy: tuple[str, ...]) -> None:
    code = (
        "import sys, fairstow.cli.app as app\n"
        f"try: app.app({arguments!r})\n"
        "except SystemExit as end: assert not end.code\n"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_solver_loads_no_types_of_the_api() -> None:
    code = "import sys, fairstow.packing.worker; print('pydantic' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, check=True
    )
    assert done.stdout.strip() == "False"


def test_help_leads_with_a_sentence_and_examples() -> None:
    for command in ("plan", "explain", "pools", "snapshot", "version"):
        text = run(command, "--help").stdout
        assert text.index("Examples:") < text.index("Options:") < text.index("Usage:"), command
        assert f"  fairstow {command}" in text
    whole = run("--help").stdout
    assert whole.startswith("Find room for pods that stay pending")
    assert re.search(r"^  snapshot +Write the cluster's state", whole, re.MULTILINE), whole


def test_version() -> None:
    assert run("version").stdout.startswith("fairstow 0.")
    assert run("--version").stdout == run("version").stdout


def test_python_m_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fairstow.cli", "version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == run("version").stdout


def test_no_kubeconfig_is_bad_input() -> None:
    for flags in ((), ("--kubeconfig", "/nonexistent/config")):
        done = run("plan", *flags)
        assert done.returncode == Code.INPUT
        assert "kubeconfig" in done.stderr
        assert "-f" in done.stderr, "the way without a cluster is named"


def test_a_cluster_that_does_not_answer_is_code_3(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "contexts: [{name: c, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n"
        "users: [{name: u, user: {token: t}}]\n"
    )
    for command in (("plan",), ("pools",), ("snapshot", "-o", str(tmp_path / "out.json"))):
        done = run(*command, "--kubeconfig", str(config))
        assert (done.returncode, done.stdout) == (Code.CLUSTER, "")
        assert "127.0.0.1:1" in done.stderr
    assert not (tmp_path / "out.json").exists()


def test_a_fault_of_its_own_is_code_4_and_asks_to_report(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for fault in (InternalError("the plan doesn't pass", ["step 1: no room"]), KeyError("x")):
        with pytest.raises(typer.Exit) as ended, reported(False):
            raise fault
        said = capsys.readouterr().err
        assert ended.value.exit_code == Code.INTERNAL
        assert said.startswith("internal error: ")
        assert "Please report it" in said
        assert "Traceback" not in said


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), reported(True):
        raise KeyError("x")
    assert "Traceback" in capsys.readouterr().err


def test_debug_belongs_to_every_command(dump: Path) -> None:
    done = subprocess.run(
        [FAIRSTOW, "pools", "-f", "/nonexistent/x", "--debug"], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == Code.INPUT
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("form", ["text", "json", "yaml"])
def test_a_reader_that_goes_away_ends_it_without_a_word(form: str, tmp_path: Path) -> None:
    pods = [pod(f"web-{i}", "a", gpu=0) for i in range(100)]
    path = write_dump(tmp_path / "x.json", [node("a"), *pods, pod("new")])
    process = subprocess.Popen(
        [FAIRSTOW, "plan", "-f", str(path), "-o", form],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(LIMIT), said) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_and_its_solver_with_it(
    way: signal.Signals, tmp_path: Path
) -> None:
    fifo = tmp_path / "never"
    os.mkfifo(fifo)  # a dump that never comes: the solver process is there, the program waits
    process = subprocess.Popen(
        [FAIRSTOW, "plan", "-f", str(fifo)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
        preexec_fn=listening_to_ctrl_c,  # noqa: PLW1509
    )
    deadline = time.monotonic() + LIMIT
    try:
        while len(_alive(process.pid)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if way is signal.SIGINT:
            os.killpg(process.pid, way)  # as a terminal does it
        else:
            process.terminate()
        out, err = process.communicate(timeout=LIMIT)
        assert (process.returncode, out, err) == (128 + way, b"", b"")
        while _alive(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _alive(session: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if entry.name.isdigit() and fields[3] == str(session) and fields[0] != "Z":
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize(("closed", "code", "said"), [
    (">&-", Code.INPUT, "error: standard output: is closed\n"),
    ("<&-", Code.INPUT, "error: standard input: is empty\n"),
    ("2>&-", Code.INPUT, ""),
])  # fmt: skip
def test_a_closed_stream_is_no_fault_of_ours(closed: str, code: int, said: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" pools -f - {closed}', FAIRSTOW],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == code
    assert done.stderr.startswith(said)


def test_a_full_disk_under_the_output_is_no_fault_of_ours(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump.json", stuck())
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [FAIRSTOW, "plan", "-f", str(dump), "-o", "json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "error: standard output: can't be written: No space left on device\n"
