"""The results of transformers for the published GGUF file of Gemma 3 270M: `gemma3.json` and `gemma3.safetensors`.

Arrays: `{text}/ids` [tokens], `{text}/positions` [4] and `{text}/logits` [4, 256] at those positions for the vocabulary ids in
`vocab_ids` [256], `{text}/greedy` [12]. The JSON holds the texts and the mean likelihood loss of each. transformers dequantises the
file by itself; the tokens are those of its own conversion of the tokenizer.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

NEW_TOKENS = 12
TEXTS = {
    "english": "The sea is a large body of salt water that covers most of the Earth's surface.",
    "mixed": "Le mot français pour « sea » est  « mer » 🌊\n\n\tdef f(x):\n\t    return x ** 2  # 平方",
}


def generate(gguf: Path, out: Path) -> None:
    """Write both files under `out` from the GGUF file."""
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    vocab_ids = torch.randperm(model.config.vocab_size, generator=torch.Generator().manual_seed(0))[:256].sort().values
    arrays = {"vocab_ids": vocab_ids}
    report: dict = {"texts": {}}
    with torch.no_grad():
        for name, text in TEXTS.items():
            ids = tokenizer(text, return_tensors="pt")["input_ids"]
            logits = model(input_ids=ids, use_cache=False).logits[0]
            positions = torch.tensor([0, 1, ids.shape[1] // 2, ids.shape[1] - 1])
            greedy = model.generate(ids, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False)[0]
            arrays |= {
                f"{name}/ids": ids[0],
                f"{name}/positions": positions,
                f"{name}/logits": logits[positions][:, vocab_ids].clone(),
                f"{name}/greedy": greedy[ids.shape[1] :].clone(),
            }
            nll = torch.nn.functional.cross_entropy(logits[:-1].double(), ids[0, 1:]).item()
            report["texts"][name] = {"text": text, "nll": nll}
    save_file(arrays, out / "gemma3.safetensors")
    (out / "gemma3.json").write_text(json.dumps(report, ensure_ascii=False) + "\n", encoding="utf-8")
