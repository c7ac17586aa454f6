"""The adapters by the names that configuration calls them by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import aiohttp

from fairstow.gateway.engines.declared import Declared
from fairstow.gateway.engines.llama_cpp import LlamaCppEngine
from fairstow.gateway.engines.openai import OpenAiEngine
from fairstow.gateway.engines.protocol import Engine
from fairstow.gateway.engines.vllm import VllmEngine
from fairstow.gateway.engines.vocabulary import Vocabulary


class MakeEngine(Protocol):
    """How each adapter is made."""

    def __call__(
        self,
        session: aiohttp.ClientSession,
        name: str,
        url: str,
        *,
        key: str | None = None,
        declared: Declared | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> Engine:
        """Return the adapter of an engine, which isn't asked anything yet."""
        ...


KINDS: Mapping[str, MakeEngine] = {
    "vllm": VllmEngine,
    "llama.cpp": LlamaCppEngine,
    "openai": OpenAiEngine,
}
