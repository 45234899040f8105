"""Loads GGUF files of `cadft` in llama.cpp and transformers, and compares logits with those of the original model.

    python check_gguf.py --cadft target/release/cadft --tokenizer tests/fixtures/blackbox/model

One JSON line a model: how far logits of 32 tokens are from transformers, relative to their norm, in `llama.cpp` with
F16 and Q8_0, in `transformers` with the F16 file where it reads all that the file says, and `back` in the directory
that `cadft` makes of it; and whether llama.cpp splits texts into the `tokens` that transformers does. Weights are random
numbers that F16 holds; llama.cpp rounds activations to F16 before each product. Needs `requirements-gguf.txt` beside
`requirements.txt`.

    python check_gguf.py --cadft target/release/cadft --model DIR --data FILE

does it for one checkpoint and every format of a file: how far logits of a text in llama.cpp and in transformers' reader of GGUF are from those
of the directory that `cadft` makes of the file, and what the command reports of logits and perplexity.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import cyllama.llama.llama_cpp as llama_cpp
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

TEXTS = ["Hello world, it's 12345 + 67.", "  two  spaces\n\nand lines\tTAB", "naïve café – ß 漢字"]
COMMON = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000.0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
TIED, UNTIED = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4.0, "beta_slow": 1.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 8192}
LINEAR = {"rope_type": "linear", "factor": 4.0}
SLIDING, FULL = "sliding_attention", "full_attention"
GEMMA = {"model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 8}
MODELS: dict[str, dict] = {
    "llama": {"model_type": "llama", **TIED},
    "llama, biases": {"model_type": "llama", "rope_scaling": LINEAR, "attention_bias": True, "mlp_bias": True} | UNTIED,
    "llama, llama3": {"model_type": "llama", "rope_theta": 5e5, "rope_scaling": LLAMA3, **TIED},
    "llama, yarn": {"model_type": "llama", "rope_scaling": YARN, **TIED},
    "mistral": {"model_type": "mistral", "head_dim": 32, "sliding_window": 32, **UNTIED},
    "qwen2": {"model_type": "qwen2", **TIED},
    "qwen2, yarn": {"model_type": "qwen2", "rope_scaling": YARN, **UNTIED},
    "qwen3": {"model_type": "qwen3", "head_dim": 128, **TIED},
    "qwen3, untied": {"model_type": "qwen3", "head_dim": 32, **UNTIED},
    "smollm3": {"model_type": "smollm3", "no_rope_layer_interval": 4, "use_sliding_window": False, **TIED},
    "gemma3": {
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "num_hidden_layers": 7,
        "layer_types": [SLIDING] * 5 + [FULL, SLIDING],
        "rope_local_base_freq": 10000.0,
        **GEMMA,
        **TIED,
    },
    "gemma3, own pattern": {
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "layer_types": [SLIDING, SLIDING, FULL, SLIDING],
        "rope_local_base_freq": 50.0,
        "rope_scaling": LINEAR,
        **GEMMA,
        **UNTIED,
    },
}
# From GGUF, transformers reads neither rotary scaling nor these settings, and does not support `smollm3`.
READ_BY_TRANSFORMERS = ["llama", "mistral", "qwen2", "qwen3", "gemma3"]


def random_model(settings: dict, vocab_size: int) -> PreTrainedModel:
    """A model whose matrices are exact in F16."""
    torch.manual_seed(7)
    config = AutoConfig.for_model(**COMMON | settings | {"vocab_size": vocab_size})
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            if "norm" in name:
                parameter += 0.3 * noise
            elif name.endswith("bias"):
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_((1.5 * noise / parameter.shape[1] ** 0.5).half().float())
    return model


def logits_of(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Logits of every position."""
    with torch.inference_mode():
        return model(input_ids=ids[None]).logits[0]


class Model(llama_cpp.LlamaModel):
    """A model with the size of its vocabulary, which the binding of contexts needs."""

    @property
    def n_vocab(self) -> int:
        """The size of the vocabulary."""
        return self.get_vocab().n_vocab


def in_llama_cpp(path: Path, ids: Tensor) -> tuple[Tensor, list[list[int]]]:
    """Logits of every position with an f32 cache, and the tokens of some texts."""
    model = Model(str(path), llama_cpp.LlamaModelParams(), False)
    params = llama_cpp.LlamaContextParams()
    params.n_ctx = params.n_batch = 256
    params.n_threads = params.n_threads_batch = 1
    params.type_k = params.type_v = params.flash_attn_type = 0
    context = llama_cpp.LlamaContext(model, params, False)
    batch = llama_cpp.LlamaBatch(n_tokens=256, embd=0, n_seq_max=1)
    batch.set_batch(ids.tolist(), 0, True)
    context.decode(batch)
    logits = torch.tensor([context.get_logits_ith(at) for at in range(len(ids))])
    return logits, [model.get_vocab().tokenize(text, False, True) for text in TEXTS]


def convert(cadft: Path, *args: str | Path) -> None:
    """Runs `cadft model convert`."""
    subprocess.run([cadft, "model", "convert", *args], check=True, capture_output=True)


def check(name: str, cadft: Path, tokenizer: Path, folder: Path) -> dict:
    """All conversions of the model with this name."""
    splitter = AutoTokenizer.from_pretrained(tokenizer)
    vocab_size = json.loads((tokenizer / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    model = random_model(MODELS[name], vocab_size)
    model.save_pretrained(folder / "hf")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / file, folder / "hf")
    ids = torch.randint(3, vocab_size, (32,), generator=torch.Generator().manual_seed(3))
    expected = logits_of(model, ids)
    result: dict = {"model": name}

    def compare(key: str, found: Tensor) -> None:
        result[key] = round(((found - expected).norm() / expected.norm()).item(), 7)

    for dtype in ("f16", "q8_0"):
        file = folder / f"{dtype}.gguf"
        convert(cadft, "--model", folder / "hf", "--to", "gguf", "--out", file, "--dtype", dtype)
        found, tokens = in_llama_cpp(file, ids)
        compare(f"llama.cpp {dtype}", found)
        result["tokens"] = tokens == [splitter(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    if name in READ_BY_TRANSFORMERS:
        read = AutoModelForCausalLM.from_pretrained(folder, gguf_file="f16.gguf", dtype=torch.float32).eval()
        compare("transformers f16", logits_of(read, ids))
    convert(cadft, "--gguf", folder / "f16.gguf", "--out", folder / "back")
    back = AutoModelForCausalLM.from_pretrained(folder / "back", dtype=torch.float32).eval()
    compare("back", logits_of(back, ids))
    return result


FORMATS = ("f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0")
TEXT = "The sea is a large body of salt water. Le mot français pour « sea » est « mer ».\n\ndef f(x):\n    return x ** 2\n"


def formats(cadft: Path, directory: Path, data: Path, folder: Path) -> None:
    """One line for each format of a file."""
    splitter = AutoTokenizer.from_pretrained(directory)
    ids = torch.tensor(splitter(TEXT)["input_ids"])
    for dtype in FORMATS:
        file, back = folder / f"{dtype}.gguf", folder / dtype
        args = ("--model", directory, "--to", "gguf", "--out", file, "--dtype", dtype, "--data", data, "--json")
        done = subprocess.run([cadft, "model", "convert", *args], check=True, capture_output=True, text=True)
        report = json.loads(done.stdout)
        convert(cadft, "--gguf", file, "--out", back)
        expected = logits_of(AutoModelForCausalLM.from_pretrained(back, dtype=torch.float32).eval(), ids)
        read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file.name, dtype=torch.float32).eval()
        found, tokens = in_llama_cpp(file, ids)
        far = [round(((logits - expected).norm() / expected.norm()).item(), 7) for logits in (found, logits_of(read, ids))]
        same = tokens == [splitter(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
        line = {"dtype": dtype, "mib": round(file.stat().st_size / 2**20, 1), "llama.cpp": far[0], "transformers": far[1]}
        print(json.dumps(line | {"tokens": same, "logits": report["difference"], **report["perplexity"]}), flush=True)
        file.unlink()
        shutil.rmtree(back)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cadft", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    if args.model:
        with tempfile.TemporaryDirectory() as folder:
            formats(args.cadft.resolve(), args.model.resolve(), args.data.resolve(), Path(folder))
        return
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(check(name, args.cadft.resolve(), args.tokenizer, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
