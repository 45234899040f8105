"""The results of transformers for SmolLM2-135M-Instruct in f32: `smollm2.json` and `smollm2.safetensors`.

Arrays: `{prompt}/ids` [tokens], `{prompt}/last_logits` [vocab], `{prompt}/positions` [4] and `{prompt}/logits` [4, 256]
at those positions for the vocabulary ids in `vocab_ids` [256], `{prompt}/greedy` [40]. The JSON holds the prompts, the
greedy texts and the score of each row of `samples`. Greedy decoding here does not end at a stop token.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import examples
from convert_smollm2 import SHA256
from reference_trainer import log_likelihoods

NEW_TOKENS = 40
PROMPTS = {
    "capital": [{"role": "user", "content": "What is the capital of France?"}],
    "sum": [{"role": "user", "content": "What is 12 + 30? Think step by step."}],
    "system": [
        {"role": "system", "content": "You answer in one short sentence."},
        {"role": "user", "content": "Why is the sea salty? Réponds en français 🙂"},
    ],
}
SAMPLES: list[dict] = [
    {
        "id": "sum",
        "messages": [
            {"role": "user", "content": "State the final answer: 4 + 3 - 6"},
            {"role": "assistant", "content": "4 + 3 = 7\n7 - 6 = 1\n#### 1"},
        ],
    },
    {
        "id": "shuffled",
        "messages": [
            {"role": "user", "content": "State the final answer: 4 + 3 - 6"},
            {"role": "assistant", "content": "1 = #### 4 7 + 6 1 - 7 3 ="},
        ],
    },
    {
        "id": "multi-turn",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello!"},
            {"role": "assistant", "content": "Hello! How can I help you?"},
            {"role": "user", "content": "Name a fruit."},
            {"role": "assistant", "content": "An apple."},
        ],
    },
    {"id": "completion", "prompt": "Question: What is 7 times 8?\nAnswer:", "completion": " 56"},
    {"id": "completion-unicode", "prompt": "Le mot français pour « sea » est", "completion": " « mer » 🌊"},
    {"id": "text", "text": "The sea is a large body of salt water that covers most of the Earth's surface."},
]


def prompt_arrays(model, tokenizer, messages: list[dict], vocab_ids: torch.Tensor) -> tuple[dict, str]:
    """Arrays of one prompt and the text of its greedy continuation."""
    encoded = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids = encoded["input_ids"]
    logits = model(input_ids=ids, use_cache=False).logits[0]
    positions = torch.tensor([0, 1, ids.shape[1] // 2, ids.shape[1] - 2])
    out = model.generate(**encoded, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False)
    greedy = out[0, ids.shape[1] :]
    arrays = {
        "ids": ids[0],
        "last_logits": logits[-1].clone(),
        "positions": positions,
        "logits": logits[positions][:, vocab_ids].clone(),
        "greedy": greedy,
    }
    return arrays, tokenizer.decode(greedy)


def generate(model_dir: Path, out: Path) -> None:
    """Write both files under `out` from the f32 directory that `convert_smollm2.py` writes."""
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32, attn_implementation="sdpa").eval()
    vocab_ids = torch.randperm(model.config.vocab_size, generator=torch.Generator().manual_seed(0))[:256].sort().values
    arrays = {"vocab_ids": vocab_ids}
    report: dict = {"gguf_sha256": SHA256, "prompts": {}, "samples": []}
    with torch.no_grad():
        for name, messages in PROMPTS.items():
            found, text = prompt_arrays(model, tokenizer, messages, vocab_ids)
            arrays |= {f"{name}/{key}": value.contiguous() for key, value in found.items()}
            report["prompts"][name] = {"messages": messages, "tokens": len(found["ids"]), "greedy": text}
        for row in SAMPLES:
            example = examples.build(row, tokenizer, "")
            nll = -log_likelihoods(model, [example]).double().mean().item()
            report["samples"].append(
                {
                    "row": row,
                    "tokens": len(example.ids),
                    "supervised": example.supervised,
                    "ids": example.ids,
                    "trained": [int(t) for t in example.trained],
                    "nll": nll,
                }
            )
    save_file(arrays, out / "smollm2.safetensors")
    (out / "smollm2.json").write_text(json.dumps(report, ensure_ascii=False) + "\n", encoding="utf-8")
