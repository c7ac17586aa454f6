"""Ids to text: whichever tokenizer, however the ids are cut into pieces.

Covered: byte-level and SentencePiece files, special, added and padding tokens, characters split
over tokens, bytes that never become a character, files that aren't tokenizers. That real engines
decode the same is checked by adapters at start, and on them in e2e/engines.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.gateway.engines.vocabulary import (
    BYTES,
    Vocabulary,
    VocabularyError,
    byte_letters,
    read,
)

LETTERS = byte_letters()


def byte_level(words: list[str]) -> dict[str, Any]:
    """A tokenizer with one token for each byte, and one for each word."""
    spelled = LETTERS + ["".join(LETTERS[byte] for byte in word.encode()) for word in words]
    added = {"id": len(spelled), "content": "<|end|>", "special": True}
    tool = {"id": len(spelled) + 1, "content": "<tool>", "special": False}
    return {
        "model": {"vocab": {spelling: number for number, spelling in enumerate(spelled)}},
        "decoder": {"type": "ByteLevel"},
        "added_tokens": [added, tool],
    }


def sentence_piece(spelled: list[str]) -> dict[str, Any]:
    decoders = [{"type": "Replace"}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    return {
        "model": {"vocab": [[spelling, 0.0] for spelling in spelled]},
        "decoder": {"type": "Sequence", "decoders": decoders},
        "added_tokens": [{"id": 0, "content": "<s>", "special": True}],
    }


def written(folder: Path, content: dict[str, Any]) -> Vocabulary:
    (folder / "tokenizer.json").write_bytes(msgspec.json.encode(content))
    return read(folder)


def test_a_byte_level_tokenizer(tmp_path: Path) -> None:
    vocabulary = written(tmp_path, byte_level([" Grüße", "漢"]))
    assert vocabulary.decode([256, *b"!", 257]) == " Grüße!漢"
    end, tool, padding = 258, 259, 9_999
    assert vocabulary.decode([end, tool, padding, 65]) == "<tool>A"


def test_a_sentence_piece_tokenizer(tmp_path: Path) -> None:
    vocabulary = written(
        tmp_path, sentence_piece(["<s>", "▁Hello", "▁world", "<0xC3>", "<0xA9>", "!"])
    )
    assert vocabulary.decode([0, 1, 2, 5, 3, 4]) == " Hello world!é"


@given(text=st.text(), cuts=st.lists(st.integers(0, 40)))
def test_pieces_give_the_same_text_however_they_are_cut(text: str, cuts: list[int]) -> None:
    ids = list(text.encode("utf-8", "replace"))
    decoder = BYTES.decoder()
    said = ""
    places = sorted({min(cut, len(ids)) for cut in cuts} | {0, len(ids)})
    for start, end in itertools.pairwise(places):
        said += decoder.feed(ids[start:end])
        assert "\ufffd" not in said or "\ufffd" in text
    assert said + decoder.end() == bytes(ids).decode()


@given(ids=st.lists(st.integers(0, 300), max_size=30))
def test_any_ids_give_what_their_bytes_give(ids: list[int]) -> None:
    assert BYTES.decode(ids) == bytes(i for i in ids if i < 256).decode(errors="replace")


def test_a_half_character_at_the_end_is_a_replacement() -> None:
    decoder = BYTES.decoder()
    assert decoder.feed("é".encode()[:1]) == ""
    assert decoder.end() == "\ufffd"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": {"vocab": {"a": 0}}, "decoder": {"type": "WordPiece"}}, "WordPiece"),
        ({"model": {"vocab": {"a": 0}}, "decoder": None}, "can decode"),
        ({"model": {"vocab": {"漢": 0}}, "decoder": {"type": "ByteLevel"}}, "漢"),
        ([], "can decode"),
    ],
)
def test_what_is_no_such_tokenizer_is_refused(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(VocabularyError, match=said):
        written(tmp_path, content)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(VocabularyError, match="can't be read"):
        read(tmp_path)
    with pytest.raises(VocabularyError, match="can't be read"):
        read(tmp_path / "absent" / "tokenizer.json")
