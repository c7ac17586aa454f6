"""How long the prompt of a request is that nobody has tokenised: dispatch's load, tenants' tokens.

Pinned requests are passed to an engine as they are, and only that knows their length. Until it has
them they need a place, and they count against limits:

    tokens = text's letters / 4 + ids + sum over other parts of
        picture            1,024        a token for each 28 x 28 pixels of 0.8 megapixels (Qwen-VL)
        sound              25 a second  (Qwen-Audio); 32,000 B/s of WAV (16 kHz, 16 bits), else
                                        8,000 B/s; 30 s where it isn't in the request
        film               8,192        32 frames of 256 tokens
        file               1,024        a page or two

Models differ from that by a factor of four either way: it is to be of the right order, so that a
request of ten pictures isn't taken for an empty one. Nothing is decoded. Called by `forwarding`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LETTERS = 4
"""Of a token of text."""
PICTURE, FILM, FILE = 1024, 8192, 1024
SOUND_PER_SECOND, SOUND_SECONDS = 25, 30
"""Of sound; how long it is where nobody says."""
_WAV, _COMPRESSED = 32_000, 8_000
_KINDS = {
    **dict.fromkeys(("image_url", "input_image", "image_embeds"), PICTURE),
    **dict.fromkeys(("video_url", "input_video"), FILM),
    **dict.fromkeys(("file", "input_file"), FILE),
    "audio_url": SOUND_PER_SECOND * SOUND_SECONDS,
}
_MEDIA = frozenset({"url", "image_url", "data", "file_data", "image_embeds"})
"""Fields of messages that hold a picture, sound or a file."""


def tokens(body: Mapping[str, Any]) -> int:
    """Return about how many tokens the prompt of a request has."""
    letters = found = 0
    left: list[Any] = [body]
    while left:
        match left.pop():
            case str(text):
                letters += len(text)
            case list(several):
                left += several
            case dict(fields):
                found += _part(fields)
                left += (value for name, value in fields.items() if name not in _MEDIA)
            case _:
                found += 1  # an id of a prompt
    return found + letters // LETTERS


def _part(fields: Mapping[str, Any]) -> int:
    match fields:
        case {"type": "input_audio", "input_audio": {"data": str(data), **how}}:
            each = _WAV if how.get("format") == "wav" else _COMPRESSED
            return len(data) * 3 // 4 * SOUND_PER_SECOND // each  # base64
        case {"type": str(kind)}:
            return _KINDS.get(kind, 0)
    return 0
