"""The terminal as it is: how wide, which characters, colour or not; and all writing to it.

Everything a command prints goes through `write` (results, standard output) or `complain` and
`note` (standard error). Text may hold names from a stranger's dump, so nothing unprintable gets
through; a reader that goes away (`| head`) ends the program without a word.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from fairstow.cluster.errors import printable

CLOSED_PIPE = 141
"""128 + SIGPIPE, as a shell reports a program that lost its reader."""


@dataclass(frozen=True)
class Look:
    """How text may look. Attributes: width: columns, or None where lines may be of any length."""

    width: int | None = None
    unicode: bool = True
    colour: bool = False

    @property
    def arrow(self) -> str:
        """From here to there."""
        return "→" if self.unicode else "->"


def look() -> Look:
    """Return how text on standard output may look; piped text isn't wrapped or coloured."""
    tty = sys.stdout.isatty()
    return Look(
        width=shutil.get_terminal_size().columns if tty else None,
        unicode=(sys.stdout.encoding or "").lower().replace("-", "") == "utf8",
        colour=tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
    )


def program() -> str:
    """Return the program as the user called it."""
    return "kubectl fairstow" if Path(sys.argv[0]).stem == "kubectl-fairstow" else "fairstow"


def write(text: str) -> None:
    """Print a result; coloured where the terminal takes it."""
    clean = "\n".join(map(_clean, text.split("\n")))
    if look().colour:
        from fairstow.cli.colour import coloured

        clean = coloured(clean)
    _put(sys.stdout, clean)


def complain(text: str) -> None:
    """Print what went wrong to standard error."""
    _put(sys.stderr, "\n".join(map(_clean, text.split("\n"))))


note = complain


def flush() -> None:
    """Push out what is buffered, while a closed pipe can still be handled."""
    _put(sys.stdout, None)


def _clean(line: str) -> str:
    return printable(line, len(line))


def _put(stream: TextIO, text: str | None) -> None:
    try:
        if text is not None:
            encoding = stream.encoding or "ascii"
            print(text.encode(encoding, "replace").decode(encoding), file=stream)
        stream.flush()
    except BrokenPipeError:
        # Python flushes again on its way out; there must be something to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(CLOSED_PIPE)
