"""Traces of LLM requests, from their lines.

Called by the command line and benchmarks, which open the files. Two public formats are told apart
by the first line:

    Azure LLM inference trace   CSV: TIMESTAMP,ContextTokens,GeneratedTokens
    Mooncake (FAST'25)          JSON lines: timestamp in ms, input_length, output_length and
                                hash_ids, one for each 512 tokens of the prompt
"""

import csv
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain

import msgspec

from fairstow.cluster.errors import InputError, printable
from fairstow.serving.simulator.arrivals import Arrival

HEADER = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"]
_FORMATS = (
    "Give an Azure LLM inference trace (CSV with the header TIMESTAMP,ContextTokens,"
    "GeneratedTokens) or a Mooncake trace (JSON lines with timestamp, input_length, "
    "output_length)."
)


class _Mooncake(msgspec.Struct):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: tuple[int, ...] = ()


def read(lines: Iterable[str], where: str) -> list[Arrival]:
    """Return a trace's requests, the first at 0 s, in order of time.

    Requests without a prompt or output have nothing to simulate and are left out.

    Raises:
        InputError: it is no trace of either format.
    """
    rest = iter(lines)
    first = next((line for line in rest if line.strip()), "")
    if not first:
        raise InputError(where, "is empty", _FORMATS)
    both = chain([first], rest)
    found = _mooncake(both, where) if first.lstrip().startswith("{") else _azure(both, where)
    found.sort(key=lambda a: a.at)
    if not found:
        raise InputError(where, "has no request with a prompt and an output", _FORMATS)
    return [msgspec.structs.replace(a, at=a.at - found[0].at) for a in found]


def _azure(lines: Iterable[str], where: str) -> list[Arrival]:
    rows = csv.reader(lines)
    if [cell.strip() for cell in next(rows)] != HEADER:
        raise InputError(where, "its first line is neither a known header nor JSON", _FORMATS)
    found: list[Arrival] = []
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        try:
            stamp, prompt, output = row
            at = datetime.fromisoformat(stamp.strip()[:26]).timestamp()
            arrival = Arrival(at=at, prompt=int(prompt), output=int(output))
        except ValueError:
            shown = printable(",".join(row), 80)
            raise InputError(
                f"{where}:{number}", f"{shown!r} isn't a time and two numbers", _FORMATS
            ) from None
        _add(found, arrival, f"{where}:{number}")
    return found


def _mooncake(lines: Iterable[str], where: str) -> list[Arrival]:
    decoder = msgspec.json.Decoder(_Mooncake)
    found: list[Arrival] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = decoder.decode(line)
        except msgspec.DecodeError as error:
            raise InputError(f"{where}:{number}", f"isn't a request: {error}", _FORMATS) from None
        arrival = Arrival(
            at=row.timestamp / 1000,
            prompt=row.input_length,
            output=row.output_length,
            hashes=row.hash_ids,
        )
        _add(found, arrival, f"{where}:{number}")
    return found


def _add(found: list[Arrival], arrival: Arrival, where: str) -> None:
    if arrival.prompt < 0 or arrival.output < 0:
        raise InputError(where, "a number of tokens is below zero")
    if arrival.prompt and arrival.output:
        found.append(arrival)


def scaled(arrivals: Sequence[Arrival], rate: float) -> list[Arrival]:
    """Stretch a trace's time so that its mean rate is `rate` per second; its bursts stay."""
    end = arrivals[-1].at
    if not end:
        return list(arrivals)
    factor = len(arrivals) / rate / end
    return [msgspec.structs.replace(a, at=a.at * factor) for a in arrivals]
