"""Loads a saved directory in transformers, continues a prompt by ten greedy tokens, prints JSON.

    python check_transformers.py DIR [--prompt TEXT] [--chat] [--new-tokens 10]

`--chat` renders the prompt as a user turn with the directory's own template. The object: `ids` of the prompt,
`new_ids`, `text`, `parameters`, `dtype`, `tied` and `last_logits`, the five largest after the prompt by id. The directory
may be an adapter's; what ends a text is then read beside it, as PEFT takes everything else from the model it belongs to.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging


def check(folder: str, prompt: str, chat: bool, new_tokens: int) -> dict:
    """Load, generate and describe."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if (Path(folder) / "adapter_config.json").is_file():
        from peft import AutoPeftModelForCausalLM

        model = AutoPeftModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        model.base_model.generation_config = GenerationConfig.from_pretrained(folder)
    else:
        model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        if missing := sorted({*info["missing_keys"], *info["unexpected_keys"]}):
            raise SystemExit(f"weights missing or unexpected: {missing[:8]}")
    if chat:
        turns = [{"role": "user", "content": prompt}]
        prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(prompt, add_special_tokens=not chat, return_tensors="pt")["input_ids"]
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        top = model(input_ids=ids).logits[0, -1].topk(5)
        out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False)
    new = out[0, ids.shape[1] :].tolist()
    return {
        "ids": ids[0].tolist(),
        "new_ids": new,
        "text": tokenizer.decode(new),
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": str(model.config.dtype).removeprefix("torch."),
        "tied": bool(model.config.tie_word_embeddings),
        "last_logits": {str(i): v for i, v in zip(top.indices.tolist(), top.values.tolist())},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("--prompt", default="What is 12 + 30?")
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--new-tokens", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    print(json.dumps(check(args.folder, args.prompt, args.chat, args.new_tokens), ensure_ascii=False))


if __name__ == "__main__":
    main()
