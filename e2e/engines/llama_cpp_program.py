"""Runs in llama.cpp's own environment: writes the tiny model as GGUF, or serves one.

`write MODEL.gguf HIDDEN LAYERS LONGEST`, `tokenizer MODEL.gguf FOLDER` (a model's own, as JSON) or
`serve` with options that are called as llama.cpp's; all that is written follows the grammar, if
there is one. Started by `llama_cpp`, and in pods of `e2e/serving/test_slots.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from e2e.engines.tiny_model import CHAT_TEMPLATE, HEAD, SPECIAL, VOCABULARY, weights
from fairstow.gateway.engines.vocabulary import byte_letters

SLOTS = 4
# Bytes that can begin a character in more bytes than it needs. Grammars let that pass, and UTF-8
# doesn't; no grammar allows a control token.
LONG_WINDED = (0xC0, 0xC1, 0xE0, *range(0xF0, 0x100))
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write(path: str, hidden: int, layers: int, longest: int) -> None:
    """Write the model."""
    import gguf  # type: ignore[import-not-found]  # of the engine's environment

    writer: Any = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(longest)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2 * hidden)
    writer.add_head_count(hidden // HEAD)
    writer.add_head_count_kv(hidden // HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(HEAD)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    spelled = [*byte_letters(), *SPECIAL]
    kinds = [gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL] * len(SPECIAL)
    for byte in LONG_WINDED:
        spelled[byte], kinds[byte] = f"<|{byte}|>", gguf.TokenType.CONTROL
    writer.add_token_list(spelled)
    writer.add_token_types(kinds)
    writer.add_token_merges(["! !"])  # its reader wants one
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, value in weights(1, hidden, layers).items():
        writer.add_tensor(_gguf_name(name), value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _gguf_name(name: str) -> str:
    base = name.removesuffix(".weight")
    if base.startswith("model.layers."):
        _, _, layer, rest = base.split(".", 3)
        return f"blk.{layer}.{NAMES[rest]}.weight"
    return f"{NAMES[base]}.weight"


def tokenizer(path: str, folder: str) -> None:
    """Write a SentencePiece tokenizer as far as ids are turned to text by it."""
    import gguf

    fields: Any = gguf.GGUFReader(path).fields
    spelled = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    known = (gguf.TokenType.NORMAL, gguf.TokenType.BYTE)
    added = [
        {"id": token, "content": text, "special": kind != gguf.TokenType.USER_DEFINED}
        for token, (text, kind) in enumerate(zip(spelled, kinds, strict=True))
        if kind not in known
    ]
    content = {
        "model": {"vocab": [[text, 0.0] for text in spelled]},
        "decoder": {"type": "ByteFallback"},
        "added_tokens": added,
    }
    (Path(folder) / "tokenizer.json").write_text(json.dumps(content))


def serve(arguments: Sequence[str]) -> None:
    """Serve the model until killed."""
    import xllamacpp  # type: ignore[import-not-found]

    parser = argparse.ArgumentParser()
    for name in ("--model", "--api-key", "--slot-save-path"):
        parser.add_argument(name, required=True)
    parser.add_argument("--alias", default="tiny")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--grammar", default="")
    parser.add_argument("--ctx-size", type=int, required=True, help="of each slot")
    given = parser.parse_args(arguments)
    params: Any = xllamacpp.CommonParams()
    params.model.path = given.model
    params.model_alias = {given.alias}
    params.hostnames = [given.host]
    params.port = given.port
    params.api_keys = [given.api_key]
    params.slot_save_path = f"{given.slot_save_path}/"
    params.endpoint_slots = True
    params.endpoint_props = True
    params.kv_unified = False
    params.cache_ram_mib = 0
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * given.ctx_size
    params.warmup = False
    params.swa_full = True  # what a sliding window has passed is in no file otherwise
    # In float16 near ties fall otherwise when a prompt is recomputed, without any move.
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    if given.grammar:
        # Written to in place: what is read of `params.sampling` stays tied to it.
        params.sampling.grammar.grammar = given.grammar
        params.sampling.grammar.type = xllamacpp.common_grammar_type.COMMON_GRAMMAR_TYPE_USER
    server = xllamacpp.Server(params)
    while server:
        time.sleep(3600)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], *map(int, sys.argv[3:]))
    elif sys.argv[1] == "tokenizer":
        tokenizer(*sys.argv[2:])
    else:
        serve(sys.argv[2:])
