"""Loads an adapter in PEFT, and compares the likelihood of plain texts with the output of `cadft score`.

    cadft score --model BASE --adapter ADAPTER --data texts.jsonl --out scores.jsonl
    python check_peft.py --base BASE --adapter ADAPTER --data texts.jsonl --scores scores.jsonl

Rows of the data are `{"id": …, "text": …}`; every token after the first is predicted, and the end of the text. Exits with 1 where a mean negative
log-likelihood differs by more than 1e-4 of itself.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

RELATIVE = 1e-4


def lines(path: Path) -> list[dict]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def nll(model: PeftModel, ids: list[int]) -> float:
    """Mean negative log-likelihood of every token after the first."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits.double(), torch.tensor(ids[1:])).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("base", "adapter", "data", "scores"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.base)
    model = AutoModelForCausalLM.from_pretrained(args.base, dtype=torch.float32)
    texts = [[*tokenizer(row["text"])["input_ids"], tokenizer.eos_token_id] for row in lines(args.data)]
    plain = [nll(model, ids) for ids in texts]
    model = PeftModel.from_pretrained(model, args.adapter).eval()
    worst = 0.0
    for ids, score, before in zip(texts, lines(args.scores), plain, strict=True):
        if len(ids) != score["tokens"]:
            raise SystemExit(f"{score['id']}: {len(ids)} tokens in PEFT, {score['tokens']} here")
        theirs = nll(model, ids)
        worst = max(worst, abs(theirs - score["nll"]) / theirs)
        print(f"{score['id']}: {score['nll']:.6f} here, {theirs:.6f} in PEFT, {before:.6f} without the adapter")
    print(f"largest relative difference {worst:.1e}")
    sys.exit(0 if worst < RELATIVE else 1)


if __name__ == "__main__":
    main()
