"""A Llama of four layers with random weights, as a folder that engines load.

Weights are large enough that each token hangs on all before it: an engine's own dummy weights write
the same two tokens for ever, whatever is in the KV cache. The tokenizer has one token for each
byte, so that characters of several bytes are split over tokens, and there is a chat template.
Called by the engines beside this module.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fairstow.gateway.engines.vocabulary import byte_letters

SPECIAL = ("<|begin|>", "<|end|>", "<|turn|>")
VOCABULARY = 256 + len(SPECIAL)
HEAD = 64
CHAT_TEMPLATE = (
    "{{ '<|begin|>' }}{% for message in messages %}"
    "{{ '<|turn|>' + message['role'] + '\n' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn|>assistant\n' }}{% endif %}"
)


def write(
    folder: Path, *, seed: int = 1, hidden: int = 128, layers: int = 4, longest: int = 4096
) -> Path:
    """Write the model into the folder and return it; another seed is another model."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // HEAD,
        "num_key_value_heads": hidden // HEAD,
        "head_dim": HEAD,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": longest,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 256,
        "eos_token_id": 257,
        "dtype": "float32",
    }
    _write(folder / "config.json", config)
    _write(folder / "tokenizer.json", _tokenizer())
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": SPECIAL[0],
            "eos_token": SPECIAL[1],
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    )
    _write_weights(folder / "model.safetensors", weights(seed, hidden, layers))
    return folder


def weights(seed: int, hidden: int, layers: int) -> dict[str, np.ndarray]:
    """Return random weights by the names that Llama's have."""
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        scale = 1.5 / np.sqrt(columns)
        return np.asarray(scale * random.standard_normal((rows, columns)), np.float32)

    ones = np.ones(hidden, np.float32)
    named = {
        "model.embed_tokens.weight": matrix(VOCABULARY, hidden),
        "model.norm.weight": ones,
        "lm_head.weight": matrix(VOCABULARY, hidden),
    }
    for layer in range(layers):
        within = {
            "input_layernorm": ones,
            "self_attn.q_proj": matrix(hidden, hidden),
            "self_attn.k_proj": matrix(hidden, hidden),
            "self_attn.v_proj": matrix(hidden, hidden),
            "self_attn.o_proj": matrix(hidden, hidden),
            "post_attention_layernorm": ones,
            "mlp.gate_proj": matrix(2 * hidden, hidden),
            "mlp.up_proj": matrix(2 * hidden, hidden),
            "mlp.down_proj": matrix(hidden, 2 * hidden),
        }
        named |= {f"model.layers.{layer}.{name}.weight": value for name, value in within.items()}
    return named


def _write_weights(path: Path, named: dict[str, np.ndarray]) -> None:
    """Write safetensors: the header's length, the header, the arrays one after the other."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, value in named.items():
        header[name] = {
            "dtype": "F32",
            "shape": list(value.shape),
            "data_offsets": [at, at + value.nbytes],
        }
        at += value.nbytes
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for value in named.values():
            file.write(value.tobytes())


def _tokenizer() -> dict[str, object]:
    letters = byte_letters()
    special = [
        {
            "id": 256 + number,
            "content": name,
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for number, name in enumerate(SPECIAL)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    return {
        "version": "1.0",
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": byte_level | {"trim_offsets": False},
        "post_processor": None,
        "decoder": byte_level | {"trim_offsets": False},
        "model": {
            "type": "BPE",
            "vocab": {letter: byte for byte, letter in enumerate(letters)},
            "merges": [],
        },
    }


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1))
