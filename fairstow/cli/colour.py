"""Colour as a layer over finished text: what the words say never depends on it."""

from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.theme import Theme


class _Plan(RegexHighlighter):
    base_style = "plan."
    highlights = (
        r"(?m)^(?P<heading> *[A-Z]+(?: +[A-Z]+)*)$",
        r"(?m)^(?P<heading>[A-Z][a-z ]+ \(\d+\))",
        r"\b(?P<good>optimal|accepted|checked)\b",
        r"(?P<warn>\bgap\b|\bunknown\b|^Warning:)",
        r"\b(?P<bad>refused|NOT)\b",
        r"(?m)^(?P<gone>-(?!-).*)$",
        r"(?m)^(?P<new>\+(?!\+).*)$",
        r"(?m)^(?P<place>@@.*@@)$",
        r"(?m)^  (?P<command>(?:kubectl|fairstow) .*)$",
    )


_THEME = Theme(
    {
        "plan.heading": "bold",
        "plan.good": "green",
        "plan.warn": "yellow",
        "plan.bad": "bold red",
        "plan.gone": "red",
        "plan.new": "green",
        "plan.place": "cyan",
        "plan.command": "bold",
    }
)


def coloured(text: str) -> str:
    """Return text with the terminal's codes for colour in it; no line changes otherwise."""
    console = Console(theme=_THEME, force_terminal=True, highlight=False, width=10_000)
    with console.capture() as capture:
        console.print(_Plan()(text), soft_wrap=True, end="")
    return capture.get()
