"""Laying text out: aligned tables, wrapped sentences, lists cut to a screen.

Pure; `width` is a number of columns, or None where lines may be of any length. Names are never
cut or broken: a line that is too long stays whole. Cells and sentences may hold what strangers
wrote (labels, messages): nothing in them can steer a terminal or pass for a line of our own.
"""

import textwrap
from collections.abc import Sequence

from fairstow.cluster.errors import printable

GAP = "  "
_BREAKS = str.maketrans(dict.fromkeys("\n\r\t", " "))


def one_line(text: str) -> str:
    """Return text on one line, with nothing in it that isn't printable."""
    return printable(text.translate(_BREAKS), len(text))


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, right: str = ""
) -> list[str]:
    """Return an aligned table.

    Where it is too wide, headers are broken over lines; where that isn't enough, each row
    becomes a block of `header: value` lines.

    Args:
        headers: one per column.
        rows: cells.
        width: columns there are.
        right: a letter per column, `r` for one aligned to the right; `l` where it is too short.
    """
    rows = [[one_line(cell) for cell in row] for row in rows]
    sides = right.ljust(len(headers), "l")
    stacked = [h.split(" ") for h in headers]
    for heads in ([[h] for h in headers], stacked):
        depth = max(map(len, heads))
        lines = [[([""] * (depth - len(h)) + h)[i] for h in heads] for i in range(depth)]
        laid = _laid([*lines, *rows], sides)
        if width is None or max(map(len, laid)) <= width:
            return laid
    blocks: list[str] = []
    for row in rows:
        blocks.append(row[0])
        pairs = zip(headers[1:], row[1:], strict=True)
        blocks += [f"  {header.lower()}: {cell}" for header, cell in pairs if cell]
    return blocks


def _laid(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        GAP.join(
            cell.rjust(size) if side == "r" else cell.ljust(size)
            for cell, size, side in zip(row, widths, sides, strict=True)
        ).rstrip()
        for row in rows
    ]


def wrapped(text: str, width: int | None, indent: str = "", hanging: str | None = None) -> str:
    """Return a sentence over as many lines as it takes, between words only."""
    text = one_line(text)
    if width is None:
        return indent + text
    return textwrap.fill(
        text,
        max(width, 20),
        initial_indent=indent,
        subsequent_indent=indent if hanging is None else hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def listed(lines: Sequence[str], most: int | None, more: str) -> list[str]:
    """Return at most so many lines, and how many were left out."""
    if most is None or len(lines) <= most:
        return list(lines)
    left = len(lines) - most
    return [*lines[:most], f"  ... and {left} more ({more})"]


def count(number: int, noun: str) -> str:
    """Return `1 pod`, `2 pods`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
