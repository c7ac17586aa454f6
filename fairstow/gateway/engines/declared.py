"""What whoever starts an engine knows of it, and it doesn't say. Given to every adapter."""

from __future__ import annotations

import msgspec


class Declared(msgspec.Struct, frozen=True):
    """Facts that can't be asked of a running engine.

    Attributes:
        weights: what tells its weights, adapters and quantisation from others: a digest, a
            revision, or the pod template that all engines of a rollout share.
        priority: vLLM runs with `--scheduling-policy priority`.
        lease: seconds that vLLM keeps held blocks, its `kv_lease_duration`.
        slots: names the folder under llama.cpp's `--slot-save-path`; engines that say the same
            share it.
        carrier: URL of what carries files from that folder to others' (`gateway.slot_carrier`).
        max_length: most ids of a sequence, for servers that don't tell.
        speed: how much faster than the pool's slowest engine it decodes.
    """

    weights: str = ""
    priority: bool = False
    lease: float = 30.0
    slots: str = ""
    carrier: str = ""
    max_length: int = 0
    speed: float = 1.0
