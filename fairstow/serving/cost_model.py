"""How long an LLM engine takes for a prefill, a decode step and a copy of KV cache.

Called by `engine`, so by the simulator and by the engine that the gateway is tested against.

An iteration is either a prefill of whole prompts or one decode step of the whole batch. With n the
tokens to compute, c those before them whose KV is there already, B sequences and T tokens of KV:

    prefill  = s · max(floor, a + b·Σn + q·Σ((c+n)² − c²))      linear layers, then attention
    decode   = s · (d + e·B + f·T)                              weights once, then each one's KV
    copy     = tokens · bytes per token / bandwidth             not scaled: no computation

Seconds throughout. s stands for what an engine spends beside the model: at s = 1 a10-7b meets the
decode steps and recomputes of Llumnix (OSDI'24) fig. 10, measured on one instance; at s = 1.1 the
request latencies of its fig. 11, measured with sixteen.
"""

from typing import Final

import msgspec


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one GPU.

    Attributes:
        scale: s, what everything but copies is multiplied by.
        prefill: a in s, b in s/token, q in s/token².
        prefill_floor: shortest prefill in s: launching its kernels.
        decode: d in s, e in s/sequence, f in s/token of KV.
        blocks: KV blocks on the GPU.
        block: tokens that a block holds.
        token_bytes: KV of one token.
        bandwidth: bytes/s of a copy between two engines, end to end.
        copying: what a decode step takes longer by while KV is copied, as a factor.
        batch: most sequences that run at once.
        prefill_tokens: most tokens of one prefill iteration.
    """

    name: str
    scale: float
    prefill: tuple[float, float, float]
    decode: tuple[float, float, float]
    blocks: int
    bandwidth: float
    copying: float
    prefill_floor: float = 0.0
    block: int = 16
    token_bytes: int = 512 * 1024
    batch: int = 256
    prefill_tokens: int = 16_384

    @property
    def capacity(self) -> int:
        """Tokens of KV that fit."""
        return self.blocks * self.block

    def prefill_s(self, computed: int, squares: int) -> float:
        """Return what a prefill of Σn = `computed` and Σ((c+n)² − c²) = `squares` takes."""
        fixed, each, attention = self.prefill
        return self.scale * max(self.prefill_floor, fixed + each * computed + attention * squares)

    def decode_s(self, batch: int, tokens: int) -> float:
        """Return what a decode step of so many sequences, with so much KV in all, takes."""
        fixed, each, read = self.decode
        return self.scale * (fixed + each * batch + read * tokens)

    def copy_s(self, tokens: int) -> float:
        """Return what a copy of so many tokens' KV to another engine takes."""
        return tokens * self.token_bytes / self.bandwidth

    def blocks_of(self, tokens: int) -> int:
        """Return how many blocks so many tokens take."""
        return -(-tokens // self.block)

    def named(self, name: str, *, faster: float) -> "Profile":
        """Return the profile of a GPU that computes faster by a factor."""
        return msgspec.structs.replace(self, name=name, scale=self.scale / faster)


A10_7B: Final = Profile(
    name="a10-7b",
    scale=1.1,
    prefill=(0.005, 0.205e-3, 4.7e-9),
    decode=(0.030, 0.28e-3, 1.6e-6),
    blocks=851,
    bandwidth=2.3e9,
    copying=1.022,
)
"""Llama-7B in fp16 on an NVIDIA A10 24 GB, as in Llumnix (OSDI'24).

Fitted to fig. 10 (recompute, decode steps, blocking copies); `copying` is the mean of its decode
steps with over without a migration; `scale` fitted to the request latencies of fig. 11.
"""

H100_7B: Final = Profile(
    name="h100-7b",
    scale=1.0,
    prefill=(1.591e-3, 2.150e-5, 4.827e-10),
    prefill_floor=0.0124,
    decode=(5.591e-3, 5.28e-6, 1.749e-7),
    blocks=6_700,
    bandwidth=26.4e9,
    copying=1.022,
)
"""A Llama-7B-shaped bf16 model on one NVIDIA H100 80GB HBM3, measured for Fairstow.

Least squares of the relative error: prefill over 1,024 to 8,192 tokens (below, the floor holds),
decode over 1 to 64 sequences of 256 to 4,096 tokens; within 3.5 % of each figure. A copy goes
through the host's memory, 54.2 GB/s down and then 53.0 GB/s up: 26.4 GB/s end to end. Blocks: nine
tenths of the memory less 13.5 GB of weights and 2 GB of activations; reckoned, not measured.
"""

PROFILES: Final = {profile.name: profile for profile in (A10_7B, H100_7B)}
