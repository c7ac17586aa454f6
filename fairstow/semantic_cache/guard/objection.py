"""What a rule of the guard says against a pair. Made by `rules` and `voice`."""

from __future__ import annotations

import msgspec


class Objection(msgspec.Struct, frozen=True):
    """Why not: the rule, and what either text says."""

    rule: str
    a: str
    b: str
