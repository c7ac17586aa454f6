"""The record of a request: text, stop strings, limits, seeds of later legs.

Covered, against oracles over the whole text: any cut of the same tokens into pieces gives the same
deltas' sum; stop strings over pieces, legs and UTF-8 characters; min_tokens; limits. Not covered:
real tokenizers (the adapters' tests).
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.serving.record import Record, continued
from fairstow.serving.tokens import Finish, Logprob, Piece, Sampling


class Bytes:
    """An id is a byte."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, tokens: Sequence[int]) -> str:
        return self._utf8.decode(bytes(tokens))

    def end(self) -> str:
        return self._utf8.decode(b"", final=True)


TEXT = st.text(alphabet="ab.é😀", max_size=30)
STOPS = st.lists(st.text(alphabet="ab.é", min_size=1, max_size=4), max_size=3)


@st.composite
def cut(draw: st.DrawFn, said: bytes) -> list[Piece]:
    """The same bytes in pieces, the last one with a finish reason."""
    ends = sorted(draw(st.sets(st.integers(0, len(said)), max_size=6)) | {0, len(said)})
    pieces = [Piece(list(said[a:b])) for a, b in pairwise(ends)]
    return [*pieces, Piece([], Finish.STOP)]


def play(record: Record, pieces: Sequence[Piece]) -> str:
    return "".join(record.append(piece).text for piece in pieces)


def expected(said: bytes, stop: Sequence[str], limit: int, minimum: int) -> tuple[str, int]:
    """Text and tokens, by looking at the whole text after each token."""
    for count in range(1, min(len(said), limit) + 1):
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(said[:count])
        before = codecs.getincrementaldecoder("utf-8")("replace").decode(said[: count - 1])
        if count == min(len(said), limit):
            text = said[:count].decode("utf-8", "replace")
        hits = [
            (at + len(each), at)
            for each in stop
            for at in range(len(text))
            if text.startswith(each, at) and at + len(each) > len(before)
        ]
        if count > minimum and hits:
            return text[: min(hits)[1]], count
    count = min(len(said), limit)
    return said[:count].decode("utf-8", "replace"), count


@settings(deadline=None)
@given(st.data(), TEXT, STOPS, st.integers(1, 40), st.integers(0, 5))
def test_text_is_a_function_of_the_tokens_alone(
    data: st.DataObject, text: str, stop: list[str], limit: int, minimum: int
) -> None:
    said = text.encode()
    record = Record([1, 2], Bytes(), limit, stop=stop, min_tokens=minimum)
    found = play(record, data.draw(cut(said)))
    whole, count = expected(said, stop, limit, minimum)
    assert found == whole
    assert bytes(list(record.generated)) == said[:count]
    assert record.finish is not None


@given(TEXT, STOPS)
def test_nothing_is_released_that_a_stop_string_would_cut(text: str, stop: list[str]) -> None:
    """What was shown after each token is a beginning of the end."""
    whole, _ = expected(text.encode(), stop, 99, 0)
    record, shown = Record([1], Bytes(), 99, stop=stop), ""
    for byte in text.encode():
        shown += record.append(Piece([byte])).text
        assert whole.startswith(shown)


def test_a_stop_string_leaves_the_rest_aside() -> None:
    record = Record([1], Bytes(), 99, stop=["\n\n"])
    assert record.append(Piece(list(b"one\n"))).text == "one"
    delta = record.append(Piece(list(b"\ntwo"), Finish.LENGTH))
    assert (delta.text, delta.tokens, delta.finish) == ("", 1, Finish.STOP)
    assert bytes(list(record.generated)) == b"one\n\n"
    assert record.append(Piece(list(b"more"))).tokens == 0


def test_half_a_character_waits_for_the_next_leg() -> None:
    record, face = Record([1], Bytes(), 99), "😀".encode()
    assert record.append(Piece(list(face[:2]))).text == ""
    assert list(record.tokens()) == [1, *face[:2]]
    assert record.append(Piece(list(face[2:]))).text == "😀"
    assert record.append(Piece([face[0]], Finish.STOP)).text == "\N{REPLACEMENT CHARACTER}"


def test_logprobs_are_those_of_the_tokens_taken() -> None:
    record = Record([1], Bytes(), 2)
    said = [Logprob(token, -0.5) for token in b"abc"]
    delta = record.append(Piece(list(b"abc"), logprobs=said))
    assert (delta.logprobs, delta.finish) == (said[:2], Finish.LENGTH)


@given(st.integers(0, 2**63 - 1), st.lists(st.integers(1, 99), min_size=2, max_size=9, unique=True))
def test_a_later_leg_draws_other_numbers(seed: int, positions: list[int]) -> None:
    first = Sampling(max_tokens=100, min_tokens=10, seed=seed)
    assert continued(first, 0) is first
    later = [continued(first, position) for position in positions]
    assert len({each.seed for each in later} | {seed}) == len(positions) + 1
    for position, each in zip(positions, later, strict=True):
        assert each.max_tokens == 100 - position
        assert each.min_tokens == max(0, 10 - position)
        assert each == continued(first, position)
