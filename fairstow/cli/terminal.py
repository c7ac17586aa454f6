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
from typing import NoReturn, TextIO

from fairstow.cli.layout import one_line

CLOSED_PIPE = 141
"""128 + SIGPIPE, as a shell reports a program that lost its reader."""


_PLAIN = str.maketrans(
    {"→": "->", "–": "-", "…": "...", "×": "x", "≥": ">=", "≤": "<=", "“": '"', "”": '"', "’": "'"}
)
"""For terminals that know ASCII only."""


class OutputError(Exception):
    """What was to be printed couldn't be; the message says why."""


@dataclass(frozen=True)
class Look:
    """How text may look. Attributes: width: columns, or None where lines may be of any length."""

    width: int | None = None
    colour: bool = False


def look() -> Look:
    """Return how text on standard output may look; piped text isn't wrapped or coloured."""
    tty = sys.stdout.isatty()
    return Look(
        width=shutil.get_terminal_size().columns if tty else None,
        colour=tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
    )


def program() -> str:
    """Return the program as the user called it."""
    return "kubectl fairstow" if Path(sys.argv[0]).stem == "kubectl-fairstow" else "fairstow"


def write(text: str) -> None:
    """Print a result; coloured where the terminal takes it."""
    clean = "\n".join(map(one_line, text.split("\n")))
    if look().colour:
        from fairstow.cli.colour import coloured

        clean = coloured(clean)
    _put(sys.stdout, clean)


def complain(text: str) -> None:
    """Print what went wrong to standard error."""
    _put(sys.stderr, "\n".join(map(one_line, text.split("\n"))))


note = complain


def warn(text: str) -> None:
    """Print a sentence on what couldn't be read to standard error."""
    complain(f"Warning: {one_line(text)}")


def flush() -> None:
    """Push out what is buffered, while a closed pipe can still be handled."""
    _put(sys.stdout, None)


def _put(stream: TextIO, text: str | None) -> None:
    try:
        if text is not None:
            print(_encodable(text, stream.encoding or "ascii"), file=stream)
        stream.flush()
    except BrokenPipeError:
        reader_gone()
    except OSError as error:
        _silence(stream.fileno())
        raise OutputError(error.strerror or str(error)) from error


def _silence(*streams: int) -> None:
    """Give Python something to flush to on its way out, where it will flush again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in streams:
        os.dup2(nowhere, number)


def _encodable(text: str, encoding: str) -> str:
    """Return text in characters that an encoding has."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
    return text


def reader_gone() -> NoReturn:
    """End the program as a reader that went away (`| head`) ends any."""
    _silence(1, 2)
    sys.exit(CLOSED_PIPE)
