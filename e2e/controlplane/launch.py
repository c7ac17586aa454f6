"""Records its own process id, asks to die with its parent if told to, and becomes a program.

Run by processes.py as a script, before the real program, for two reasons: the record exists
before the program does, so no crash can lose a child; and no Python runs between fork and exec
in the parent, which may have threads. Standard library only: it starts in 20 ms.

    python -I -S launch.py RECORD PARENT|- PROGRAM [ARGUMENT …]
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def identity(pid: int) -> str | None:
    """Return a text that no other process, past or future, has under this pid; None if gone.

    A zombie counts as gone: it holds its pid, and nothing else.
    """
    if not sys.platform.startswith("linux"):
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        reply = subprocess.run(command, capture_output=True, text=True, check=False)
        return reply.stdout.strip() or None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the name, may hold blanks and brackets; the rest may not.
    fields = stat.rpartition(")")[2].split()
    state, started = fields[0], fields[19]
    return None if state in "ZX" else f"{boot}/{started}"


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends (Linux only).

    Elsewhere a parent killed with -9 leaves its children; the next start in the same folder
    ends them by their records.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the request was in place
        sys.exit(1)


def main() -> None:
    """Record, arm, exec."""
    record, parent, *command = sys.argv[1:]
    if parent != "-":
        die_with(int(parent))
    draft = Path(f"{record}.{os.getpid()}")
    draft.write_text(json.dumps({"pid": os.getpid(), "identity": identity(os.getpid())}))
    draft.rename(record)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
