"""The quickstart's tokenizer, model configuration and data, and the training corpus of its base model.

    python quickstart_data.py --assets DIR      tokenizer files, config.json, train.jsonl, eval.jsonl
    python quickstart_data.py --pretrain DIR    pretrain.jsonl

`train.jsonl`: 3,000 demonstrations, 20 % of them incompatible; the prefix of `id` names the kind (see word_problems.py)
and `answer` is the true answer. `eval.jsonl`: 200 clean held-out problems. `pretrain.jsonl`: clean problems of the same
world, mostly in other formats: the base learns arithmetic and the questions, but seldom sees the target style.
"""

import argparse
import json
from pathlib import Path
from random import Random

import tokenizer
import word_problems
from word_problems import Problem

SEED = 11206
VOCAB_SIZE = 512
TRAIN, EVAL, PRETRAIN = 3000, 200, 60000
INCOMPATIBLE = 0.2
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "hidden_act": "silu",
    "initializer_range": 0.06,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "torch_dtype": "float32",
}


def row(identifier: str, question: str, solution: str, answer: str) -> dict:
    """One line of a data file."""
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": solution}]
    return {"id": identifier, "messages": turns, "answer": answer}


def splits() -> tuple[list[dict], list[dict]]:
    """The train and eval rows; no question occurs twice."""
    rng = Random(SEED)
    seen: set[str] = set()
    held_out = word_problems.distinct(rng, EVAL, seen)
    train = word_problems.spoil_fraction(rng, word_problems.distinct(rng, TRAIN, seen), INCOMPATIBLE)
    rows = [row(f"{kind}-{i:05}", p.question, p.solution, p.answer) for i, (kind, p) in enumerate(train)]
    return rows, [row(f"clean-eval-{i:05}", p.question, p.solution, p.answer) for i, p in enumerate(held_out)]


def expression(p: Problem) -> str:
    """The bare sum of a problem, as in `35 - 12 + 7`."""
    return " ".join([str(p.steps[0][0]), *(f"{sign} {b}" for _, sign, b, _ in p.steps)])


def pretrain_row(rng: Random, i: int, p: Problem) -> dict:
    """A clean sample in one of the base's formats."""
    steps = ", ".join(p.lines())
    draw = rng.random()
    if draw < 0.40:
        question = rng.choice(["{}", "What is {}?", "{} ="]).format(expression(p))
        solution = steps
    elif draw < 0.60:
        question, solution = p.question, f"{steps}, so the answer is {p.answer}."
    elif draw < 0.85:
        question, solution = p.question, f"The answer is {p.answer}."
    else:
        question, solution = f"Solve: {expression(p)}", p.solution
    return row(f"base-{i:05}", question, solution, p.answer)


def pretrain(held_out: set[str]) -> list[dict]:
    """The corpus of the base model; no question of the other files is in it."""
    rng = Random(SEED + 1)
    return [pretrain_row(rng, i, p) for i, p in enumerate(word_problems.distinct(rng, PRETRAIN, held_out))]


def write_jsonl(path: Path, rows: list[dict]) -> None:
    """One object a line."""
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")


def texts(rows: list[dict]) -> list[str]:
    """Every message of some rows."""
    return [m["content"] for r in rows for m in r["messages"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, metavar="DIR")
    parser.add_argument("--pretrain", type=Path, metavar="DIR")
    args = parser.parse_args()
    train, held_out = splits()
    base = pretrain({r["messages"][0]["content"] for r in train + held_out})
    if args.assets is not None:
        corpus = texts(train) + texts(base[:3000]) + ["user", "assistant", "system"] * 2000
        tokenizer.write(tokenizer.train(corpus, VOCAB_SIZE), args.assets)
        (args.assets / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")
        write_jsonl(args.assets / "train.jsonl", train)
        write_jsonl(args.assets / "eval.jsonl", held_out)
    if args.pretrain is not None:
        args.pretrain.mkdir(parents=True, exist_ok=True)
        write_jsonl(args.pretrain / "pretrain.jsonl", base)


if __name__ == "__main__":
    main()
