"""What engines are told about tokens and what they say, as far as decisions see it.

Made by the engine adapters of the gateway, read by `record` and `handover`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec


class Finish(StrEnum):
    """Why an engine ended a leg. An abort or a broken connection is none of these."""

    STOP = "stop"
    LENGTH = "length"


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How tokens are drawn; each a function of the ids so far and of the position."""

    max_tokens: int
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    ignore_eos: bool = False
    stop_token_ids: tuple[int, ...] = ()
    logit_bias: Mapping[int, float] = {}
    logprobs: int | None = None


class Logprob(msgspec.Struct, frozen=True):
    """One token's log-probability, and those of the likeliest instead of it."""

    token: int
    logprob: float
    top: Sequence[tuple[int, float]] = ()


class Piece(msgspec.Struct, frozen=True):
    """What an engine said at once: tokens, in the last piece with a finish reason.

    Attributes:
        matched: the stop token's id where one ended it, else None.
    """

    tokens: Sequence[int]
    finish: Finish | None = None
    matched: int | None = None
    logprobs: Sequence[Logprob] = ()
