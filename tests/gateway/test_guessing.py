"""How long prompts that nobody has tokenised are taken to be: `fairstow.gateway.guessing`.

Covered: each kind of part, in the shapes of both APIs; what isn't read; any JSON. Not covered: how
far from the truth that is: models differ.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.gateway.forwarding import view_of
from fairstow.gateway.guessing import FILE, FILM, PICTURE, SOUND_PER_SECOND, SOUND_SECONDS, tokens

INLINE = "data:image/png;base64," + "A" * 1_000_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def said(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": [*parts]}]}


def sound(seconds: float, each: int, kind: str) -> dict[str, Any]:
    data = base64.b64encode(bytes(int(seconds * each))).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": kind}}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "image_url", "image_url": {"url": INLINE}}, PICTURE),
        ({"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}, PICTURE),
        ({"type": "input_image", "image_url": INLINE}, PICTURE),
        (sound(10, 32_000, "wav"), 10 * SOUND_PER_SECOND),
        (sound(10, 8_000, "mp3"), 10 * SOUND_PER_SECOND),
        (
            {"type": "audio_url", "audio_url": {"url": "https://example.com/a.mp3"}},
            SOUND_SECONDS * SOUND_PER_SECOND,
        ),
        ({"type": "video_url", "video_url": {"url": "https://example.com/f.mp4"}}, FILM),
        ({"type": "file", "file": {"file_data": INLINE}}, FILE),
        ({"type": "input_file", "file_data": INLINE}, FILE),
        ({"type": "text", "text": "a" * 4_000}, 1_000),
    ],
)
def test_each_part_counts(part: dict[str, Any], expected: int) -> None:
    one = tokens(said(part)) - tokens(said())
    assert expected <= one <= expected + 20, "names of fields count a little"
    assert tokens(said(*[part] * 10)) - tokens(said()) >= 10 * expected


def test_a_request_of_pictures_is_seen_by_its_length() -> None:
    picture = {"type": "image_url", "image_url": {"url": INLINE}}
    assert view_of(said(picture, picture), "team").prompt >= 2 * PICTURE


def test_ids_are_counted_one_by_one() -> None:
    assert tokens({"prompt": list(range(500))}) == 500


@given(st.dictionaries(st.text(), JSON))
def test_whatever_is_sent_has_a_length(body: dict[str, Any]) -> None:
    assert tokens(body) >= 0
