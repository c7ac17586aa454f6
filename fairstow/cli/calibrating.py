"""`cache calibrate`: pairs are read, embedded, judged, and shown by threshold."""

import codecs
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from fairstow.cache_sidecar.embedding import Embedder, EmbeddingError
from fairstow.cli import terminal
from fairstow.cli.layout import table, wrapped
from fairstow.cli.options import Output
from fairstow.cli.progress import Progress
from fairstow.cli.serialise import as_json
from fairstow.cli.terminal import Look
from fairstow.cluster.errors import InputError
from fairstow.semantic_cache import calibration
from fairstow.semantic_cache.calibration import Calibration, Point, Scored
from fairstow.semantic_cache.equivalence import compare
from fairstow.semantic_cache.guard import judge

_MOST = 1_000_000
_BATCH = 256
_SHOWN = 50
"""Permille between two rows of the curve."""


class Pair(msgspec.Struct, frozen=True):
    """A line of the file; other fields are the owner's own."""

    a: str
    b: str
    same_answer: bool
    category: str = "all"


def calibrate(path: str, wrong: float, confidence: float, output: Output) -> None:
    """Read pairs, judge them and show what thresholds do."""
    pairs = list(_read(path))
    if not pairs:
        raise InputError(
            path,
            "holds no pair",
            'Write one a line: {"category": "billing", "a": "…", "b": "…", "same_answer": true}.',
        )
    scored = _score(pairs)
    found = calibration.calibrate(scored, wrong=wrong, confidence=confidence)
    if output is Output.JSON:
        terminal.write(as_json(msgspec.to_builtins(found)))
    else:
        unread = sum(judge(pair.a, pair.b).unread for pair in pairs)
        terminal.write(_text(found, unread, terminal.look()))


def _read(path: str) -> Iterator[Pair]:
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise InputError(path, (error.strerror or str(error)).lower()) from None
    for number, line in enumerate(raw.removeprefix(codecs.BOM_UTF8).splitlines(), 1):
        if not line.strip():
            continue
        if number > _MOST:
            raise InputError(path, f"has more than {_MOST:,} lines", "Take a sample of them.")
        try:
            yield msgspec.json.decode(line, type=Pair)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}, line {number}",
                f"is no pair: {error}",
                'A line looks like {"category": "billing", "a": "…", "b": "…", '
                '"same_answer": true}.',
            ) from None


def _score(pairs: list[Pair]) -> list[Scored]:
    try:
        embedder = Embedder(threads=2)
    except EmbeddingError as error:
        raise InputError("cache calibrate", str(error)) from error
    scored = []
    with Progress() as progress:
        for start in range(0, len(pairs), _BATCH):
            chosen = pairs[start : start + _BATCH]
            vectors = embedder.embed([text for pair in chosen for text in (pair.a, pair.b)])
            for pair, x, y in zip(chosen, vectors[::2], vectors[1::2], strict=True):
                similarity = None if x is None or y is None else min(1.0, float(x @ y))
                passes = similarity is not None and compare(pair.a, pair.b, similarity).same
                scored.append(Scored(pair.category, pair.same_answer, similarity, passes))
            share = 100 * len(scored) // len(pairs)
            progress.say(f"{len(scored):,} of {len(pairs):,} pairs, {share} %")
    return scored


def _text(found: Calibration, unread: int, look: Look) -> str:
    head = (
        f"{found.pairs:,} pairs: {found.same_answer:,} with the same answer, {found.traps:,} traps."
    )
    if unread:
        head += f" {unread:,} are in no language that the guard reads: only equal ones are served."
    lines = [wrapped(head, look.width), ""]
    shown = [at for at in found.curve if at.threshold_permille % _SHOWN == 0]
    best = found.operating_point
    chosen = [at for at in (best, found.assured_point) if at is not None]
    shown += [at for at in chosen if at not in shown]
    shown = sorted({at.threshold_permille: at for at in shown}.values(), key=_threshold)
    rows = [_row(f"{at.threshold_permille}{'  <-' if at in chosen else ''}", at) for at in shown]
    confidence = f"AT MOST ({100 * found.confidence:g} %)"
    headers = ("SERVED", "WRONG", confidence, "WRONG PER HIT", "HITS")
    lines += table(("THRESHOLD", *headers), rows, look.width, "lrrrrr")
    if len(found.by_category) > 1:
        rows = [_row(name, at) for name, at in found.by_category.items()]
        lines += ["", *table(("CATEGORY", *headers), rows, look.width, "lrrrrr")]
    return "\n".join([*lines, "", wrapped(_advice(found), look.width)])


def _threshold(at: Point) -> int:
    return at.threshold_permille


def _advice(found: Calibration) -> str:
    best, target = found.operating_point, f"{100 * found.target_wrong:g} %"
    if best is None:
        return f"No threshold keeps wrong answers to {target} of the traps: leave the cache off."
    if not best.hits:
        return f"No threshold within {target} of the traps serves any: leave the cache off."
    text = f"Threshold {best.threshold_permille} permille serves most within {target} of the traps"
    if best.wrong_upper is None:
        return f"{text}, but there is no trap among the pairs: nothing is known about wrong hits."
    if best.served is None:
        return "There is no pair with the same answer: nothing is known about hits that were due."
    if found.assured:
        return f"{text}, assured at {100 * found.confidence:g} %."
    text = (
        f"{text}, but that isn't assured: it may be {100 * best.wrong_upper:.1f} % at "
        f"{100 * found.confidence:g} % confidence."
    )
    if (sure := found.assured_point) is not None and sure.hits:
        return f"{text} Assured is {sure.threshold_permille} permille."
    return f"{text} More traps make it surer."


def _row(name: str, at: Point) -> list[str]:
    shares = (at.served, at.wrong, at.wrong_upper, at.wrong_per_hit)
    return [
        name,
        *("-" if share is None else f"{100 * share:.1f} %" for share in shares),
        f"{at.hits:,}",
    ]
