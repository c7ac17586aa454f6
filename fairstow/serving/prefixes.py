"""Which prompts' beginnings an engine has likely cached: what was sent there lately.

Engines don't publish their prefix caches. What they computed for us stays in them until it is the
longest unused and its room is needed. So a gateway remembers, by instance, the keys of the blocks
it sent there, as many as fit the engine's memory, the longest unused forgotten first. With h a
hash and b the tokens of block i

    key_i = h(key_{i-1}, b_i)        key_{-1} = the tenant's salt

a key stands for the block and all before it, of one tenant. An engine that evicted more than that,
or hashes finer blocks, makes a dispatch less good, not wrong. Called by the gateway for policies
that ask (`Policy.prefixes`). Work is O(tokens) a request, for hashing.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Hashable, Sequence

from fairstow.serving.model import RequestView

BLOCK = 32
"""Tokens a key stands for; engines' blocks are as long or shorter."""


def keys(tokens: array[int], salt: str) -> list[int]:
    """Return the keys of a sequence's whole blocks."""
    found: list[int] = []
    key = hash(salt)
    for end in range(BLOCK, len(tokens) + 1, BLOCK):
        key = hash((key, tokens[end - BLOCK : end].tobytes()))
        found.append(key)
    return found


class Prefixes:
    """The keys of one instance. Attributes: most: how many are kept."""

    def __init__(self, tokens: int) -> None:
        """Keep what fits into a memory of so many tokens."""
        self.most = min(MOST, max(1, tokens // BLOCK))
        self._keys: OrderedDict[Hashable, None] = OrderedDict()

    def add(self, keys: Sequence[Hashable]) -> None:
        """Take in a prompt that is sent there. Of a prompt its end is forgotten first."""
        for key in reversed(keys):
            self._keys[key] = None
            self._keys.move_to_end(key)
        while len(self._keys) > self.most:
            self._keys.popitem(last=False)

    def cached(self, request: RequestView) -> int:
        """Return how many tokens of a request's prompt are likely there."""
        for count, key in enumerate(request.keys):
            if key not in self._keys:
                return count * BLOCK
        return len(request.keys) * BLOCK


MOST = 1 << 16
"""Keys of one instance: two million tokens, about 6 MB."""
