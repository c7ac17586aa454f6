"""Markup by hand: everything that comes from a cluster goes through `esc`."""

from collections.abc import Iterable, Sequence
from html import escape


def esc(text: object) -> str:
    """Escape text for content and attributes; characters that XML forbids become spaces."""
    return "".join(c if _allowed(c) else " " for c in escape(str(text), quote=True))


def _allowed(char: str) -> bool:
    code = ord(char)
    return char in "\t\n\r" or (code >= 32 and not 0xD800 <= code <= 0xDFFF and code < 0xFFFE)


def bullets(entries: Iterable[str], kind: str = "") -> str:
    """Return a list of entries that are markup already; "" if there are none."""
    inner = "".join(f"<li>{entry}</li>" for entry in entries)
    return f"<ul{f' class={kind}' if kind else ''}>{inner}</ul>" if inner else ""


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Iterable[int] = (),
    kind: str = "",
) -> str:
    """Return a table whose cells are markup already; the first cell of a row is its header."""
    numeric = set(numbers)
    css = [' class="n"' if i in numeric else "" for i in range(len(head))]
    headings = "".join(f'<th scope="col"{c}>{h}</th>' for h, c in zip(head, css, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row"{c}>{cell}</th>' if i == 0 else f"<td{c}>{cell}</td>"
            for i, (cell, c) in enumerate(zip(row, css, strict=True))
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{esc(caption)}">'
        f"<table{f' class={kind}' if kind else ''}><caption>{esc(caption)}</caption>"
        f"<thead><tr>{headings}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def count(number: int, noun: str) -> str:
    """Return `1 pod`, `2 pods`, `1,200 nodes`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shorten(text: str, most: int) -> str:
    """Cut a long name in its middle: both ends tell pods apart."""
    if len(text) <= most:
        return text
    tail = most * 2 // 5
    return f"{text[: most - tail - 1]}…{text[len(text) - tail :]}"
