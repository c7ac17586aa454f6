"""Flags that several commands take, and how their values are read."""

import re
from enum import StrEnum
from typing import Annotated

import typer

from fairstow.cli.live import Live
from fairstow.cluster.errors import InputError

Files = Annotated[
    list[str] | None,
    typer.Option(
        "-f",
        "--filename",
        metavar="DUMP",
        help="A dump to read: a file, a folder, or - for standard input; can be given several "
        "times. Without it the running cluster is read.",
        show_default=False,
    ),
]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="MANIFEST",
        help="What if this were submitted: the manifest of a Pod, Deployment, Job, ... whose pods "
        "are added as pending; - for standard input; can be given several times.",
        show_default=False,
    ),
]
Context = Annotated[
    str | None,
    typer.Option("--context", help="The kubeconfig context to use.", show_default=False),
]
Kubeconfig = Annotated[
    str | None,
    typer.Option("--kubeconfig", help="The kubeconfig file to use.", show_default=False),
]
Window = Annotated[
    str,
    typer.Option("--window", metavar="DURATION", help="Time to look for a plan, such as 10s."),
]
MOST = (1 << 31) - 1
"""Most that a flag which counts something takes: what a plan's fields hold."""

Seed = Annotated[int, typer.Option("--seed", min=0, max=(1 << 53) - 1, help="Seed of the search.")]
Namespace = Annotated[
    str | None,
    typer.Option("-n", "--namespace", help="The namespace to show.", show_default=False),
]
JobNamespace = Annotated[
    str | None, typer.Option("-n", "--namespace", help="The job's.", show_default=False)
]
What = Annotated[list[str], typer.Argument(metavar="plan/NAME", help="The plan.")]
WhatPolicy = Annotated[list[str], typer.Argument(metavar="policy/NAME", help="The policy.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Don't ask back.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Have the API server check it, but change nothing.")
]
Watch = Annotated[bool, typer.Option("-w", "--watch", help="Go on and show each change.")]
Debug = Annotated[bool, typer.Option("--debug", help="On an error, show the traceback as well.")]
AllNamespaces = Annotated[
    bool, typer.Option("-A", "--all-namespaces", help="Show all namespaces, as without -n.")
]


class Order(StrEnum):
    """`--order`."""

    PLACE_FIRST = "place-first"
    TIER_BY_TIER = "tier-by-tier"


class Goal(StrEnum):
    """`--goal`."""

    PLACE = "place"
    DEFRAGMENT = "defragment"


class PlanOutput(StrEnum):
    """`-o` of plan."""

    TEXT = "text"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    DIFF = "diff"


class ListOutput(StrEnum):
    """`-o` of commands that list objects."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


class DescribeOutput(StrEnum):
    """`-o` of describe."""

    TEXT = "text"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


class PictureOutput(StrEnum):
    """`-o` of commands that can draw."""

    TABLE = "table"
    JSON = "json"
    SVG = "svg"


class QueueOutput(StrEnum):
    """`-o` of queue."""

    TABLE = "table"
    JSON = "json"
    SVG = "svg"


class Output(StrEnum):
    """`-o` of commands that answer in text or JSON."""

    TEXT = "text"
    JSON = "json"


TextOrJson = Annotated[Output, typer.Option("-o", "--output", help="How to show it.")]
Picture = Annotated[
    PictureOutput, typer.Option("-o", "--output", help="How to show it; svg is a picture.")
]

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:h|ms|m|s))+\Z", re.ASCII)
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_HOUR = 3600
_LONGEST = 24.0 * _HOUR


def seconds(text: str, flag: str = "--window", hours: int = 24) -> float:
    """Return a duration as Kubernetes writes it (`10s`, `1m30s`, `500ms`) in seconds.

    Raises:
        InputError: it isn't one, or not between 1 ms and so many hours.
    """
    if len(text) > 32 or not _DURATION.match(text):
        raise InputError(flag, f"{text!r} is no duration", "Write it like 10s, 500ms, 1m30s.")
    parts = re.findall(r"([\d.]+)(h|ms|m|s)", text)
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0.001 <= total <= hours * _HOUR:
        raise InputError(flag, f"{text} isn't between 1ms and {hours}h")
    return total


def cap(window: float, effort: int | None) -> float:
    """Return the seconds a decision may take: under an effort enough for a slow, busy machine."""
    return window if effort is None else min(max(window, 30.0 + 10.0 * effort), _LONGEST)


def only(namespace: str | None, everything: bool) -> str | None:
    """Return the namespace to show, None for all.

    Raises:
        InputError: both were asked for.
    """
    if namespace is not None and everything:
        raise InputError("-n and -A", "contradict each other", "Give one of them.")
    return namespace


def refuse(flag: str, why: str, *, when: bool) -> None:
    """Refuse flags that mean nothing together.

    Raises:
        InputError: when that is so.
    """
    if when:
        raise InputError(flag, why)


def live(kubeconfig: str | None, context: str | None) -> Live:
    """Return which running cluster the flags name."""
    return Live(kubeconfig, context)
