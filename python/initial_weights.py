"""Seeded initial weights of a tied Llama as a safetensors file, with the standard library only."""

import json
import struct
from array import array
from pathlib import Path
from random import Random


def shapes(config: dict) -> dict[str, list[int]]:
    """Every weight of the configuration by Hugging Face name."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    kv = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    result = {"model.embed_tokens.weight": [config["vocab_size"], hidden], "model.norm.weight": [hidden]}
    for i in range(config["num_hidden_layers"]):
        layer = {
            "input_layernorm": [hidden],
            "post_attention_layernorm": [hidden],
            "self_attn.q_proj": [hidden, hidden],
            "self_attn.k_proj": [kv, hidden],
            "self_attn.v_proj": [kv, hidden],
            "self_attn.o_proj": [hidden, hidden],
            "mlp.gate_proj": [inner, hidden],
            "mlp.up_proj": [inner, hidden],
            "mlp.down_proj": [hidden, inner],
        }
        result |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    return result


def write(path: Path, config: dict, seed: int) -> None:
    """Normal matrices of standard deviation `initializer_range`, norms of one, f32."""
    rng, scale = Random(seed), config["initializer_range"]
    header: dict = {"__metadata__": {"format": "pt"}}
    blobs, offset = [], 0
    for name, shape in shapes(config).items():
        if len(shape) == 1:
            values = array("f", [1.0] * shape[0])
        else:
            values = array("f", (rng.gauss(0.0, scale) for _ in range(shape[0] * shape[1])))
        blobs.append(values.tobytes())
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + len(blobs[-1])]}
        offset += len(blobs[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
