"""Entry point of `fairstow` and `kubectl-fairstow`.

Imports almost nothing, so that Ctrl-C is handled from the first moment, and so that the solver
process, which Python starts by importing this again, doesn't load the command line.
"""

import os
import signal
import sys


def main() -> None:
    """Run the program."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    _open_streams()
    try:
        from fairstow.cli.app import run

        run()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _open_streams() -> None:
    """Refuse a closed standard output (`>&-`); do without the other two."""
    if sys.stdout is None:
        print("error: standard output: is closed", file=sys.stderr)
        sys.exit(2)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
