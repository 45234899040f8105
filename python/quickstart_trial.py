"""Tries the quickstart in PyTorch: trains its base model, fine-tunes it with several objectives, counts exact answers.

    python quickstart_trial.py base --assets DIR --pretrain FILE --out BASE [--steps 2000]
    python quickstart_trial.py tune --base BASE --assets DIR --objective cadft --gate nll [--start-until 0.1]

Prints JSON. `strict` counts completions whose value after the last `####` is the answer, `lenient` falls back to the
last number of the text.
"""

import argparse
import json
import re
import time
from pathlib import Path
from random import Random

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import examples
from examples import Example
from objectives import DFT, NLL, Objective, power
from optimizer import adamw, lr_factor
from optimizer import step as update
from recipe import Recipe
from reference_trainer import Trainer, log_likelihoods


def init(config: Path, seed: int) -> LlamaForCausalLM:
    """A freshly initialised model."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig.from_json_file(config))


def train_base(args: argparse.Namespace) -> None:
    """Plain NLL on the pretraining corpus."""
    tokenizer = AutoTokenizer.from_pretrained(args.assets)
    samples = examples.load([args.pretrain], tokenizer, 128)
    model = init(args.assets / "config.json", 0)
    optimizer, rng, began = adamw(model, args.lr, (0.9, 0.95), 1e-8, 0.01), Random(0), time.time()
    for k in range(1, args.steps + 1):
        batch = rng.sample(samples, 64)
        loss = -log_likelihoods(model, batch).mean()
        loss.backward()
        update(model, optimizer, args.lr * lr_factor("cosine", k, args.steps // 20, args.steps), 1.0)
        if k % 100 == 0:
            print(json.dumps({"step": k, "nll": loss.item(), "secs": round(time.time() - began)}), flush=True)
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)


def answer(text: str, strict: bool) -> str | None:
    """The final answer of a completion."""
    marked = re.findall(r"####\s*(-?\d+)", text)
    numbers = marked or ([] if strict else re.findall(r"-?\d+", text))
    return numbers[-1] if numbers else None


def exact_match(model: LlamaForCausalLM, tokenizer, rows: list[dict]) -> dict:
    """Greedy answers to all rows."""
    tokenizer.padding_side = "left"
    prompts = [r["messages"][:1] for r in rows]
    encoded = tokenizer.apply_chat_template(
        prompts, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    model.eval()
    with torch.inference_mode():
        out = model.generate(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            do_sample=False,
            max_new_tokens=48,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=0,
        )
    model.train()
    texts = tokenizer.batch_decode(out[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
    share = {
        name: sum(answer(t, name == "strict") == r["answer"] for t, r in zip(texts, rows)) / len(rows)
        for name in ("strict", "lenient")
    }
    return {**share, "first": texts[:2]}


def mean_nll(model: LlamaForCausalLM, samples: list[Example]) -> float:
    """Mean over the supervised tokens."""
    with torch.no_grad():
        return -log_likelihoods(model, samples).mean().item()


def tune(args: argparse.Namespace) -> None:
    """Fine-tune a base on train.jsonl and evaluate before and after."""
    tokenizer = AutoTokenizer.from_pretrained(args.base)
    rows = [json.loads(line) for line in (args.assets / "eval.jsonl").read_text(encoding="utf-8").splitlines()]
    held_out = examples.load([args.assets / "eval.jsonl"], tokenizer, 128)
    samples = examples.load([args.assets / "train.jsonl"], tokenizer, 128)
    Random(args.seed).shuffle(samples)
    model = AutoModelForCausalLM.from_pretrained(args.base)
    before = {"nll": mean_nll(model, held_out), **exact_match(model, tokenizer, rows)}
    gate = {"dft": 1.0, "nll": 0.0}[args.gate]
    objective = {"nll": NLL, "dft": DFT, "cadft": Objective("cadft", power(gate), 1.0)}[args.objective]
    recipe = Recipe(
        args.base,
        args.base,
        [],
        128,
        32,
        32,
        objective,
        False,
        0.99,
        args.start_until,
        "token-mean",
        args.lr,
        (0.9, 0.95),
        0.01,
        1e-8,
        1.0,
        "cosine",
        0.1,
        args.steps,
    )
    trainer, began = Trainer(recipe, model, samples), time.time()
    metrics = list(trainer.run())
    kinds: dict[str, list[float]] = {}
    with torch.no_grad():
        for e in samples[:600]:
            kinds.setdefault(e.id.split("-")[0], []).append(-log_likelihoods(model, [e]).mean().item())
    keys = ("step", "loss", "nll", "mean_gate", "mean_weight", "ess", "max_z")
    print(
        json.dumps(
            {
                "objective": args.objective,
                "gate": args.gate,
                "start_until": args.start_until,
                "lr": args.lr,
                "steps": args.steps,
                "seed": args.seed,
                "secs": round(time.time() - began),
                "before": before,
                "after": {"nll": mean_nll(model, held_out), **exact_match(model, tokenizer, rows)},
                "score_by_kind": {k: round(sum(v) / len(v), 3) for k, v in sorted(kinds.items())},
                "curve": [{k: round(m[k], 3) for k in keys} for m in metrics[:: max(1, len(metrics) // 6)]],
            },
            ensure_ascii=False,
        ),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["base", "tune"])
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument("--pretrain", type=Path)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--objective", choices=["nll", "dft", "cadft"], default="cadft")
    parser.add_argument("--gate", choices=["dft", "nll"], default="dft")
    parser.add_argument("--start-until", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(2)
    {"base": train_base, "tune": tune}[args.what](args)


if __name__ == "__main__":
    main()
