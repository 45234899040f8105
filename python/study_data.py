"""The data of the study: six small tasks of reasoning with worked solutions, each said in several ways.

    python study_data.py --out DIR [--pretrain N]

writes a model directory without weights (`base/`: tokenizer, config.json), `pretrain.jsonl` (all tasks, all styles), and of rows that are
in none of the other files `train.jsonl` (TRAINED tasks, all styles), `eval.jsonl` (the same tasks), `shifted.jsonl` (SHIFTED tasks) and
`general.jsonl` (the other tasks, for forgetting). `answer` is the true answer, a number that comes last in every solution.

A style is drawn for each row, and within it the words of each step, so that a solution is not determined by its question.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import tokenizer
from quickstart_data import row, texts, write_jsonl
from word_problems import GAINS, ITEMS, LOSSES, NAMES

SEED = 26060
VOCAB_SIZE = 768
PRETRAIN, TRAIN, EVAL = 120_000, 2_000, 200
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 256,
    "intermediate_size": 640,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "hidden_act": "silu",
    "initializer_range": 0.04,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "torch_dtype": "float32",
}

# A question, its steps as (what is done, how it is written, the result), and the answer.
Step = tuple[str, str, int]
Task = Callable[[Random], tuple[str, list[Step], int]]

OPENINGS = ["", "Let us see. ", "Step by step: ", "We work it out. ", "First things first. "]
JOINTS = [". ", ", then ", "; ", ". Next, ", ". After that, "]
ENDINGS = [
    "So the answer is {c}.",
    "That makes {c}.",
    "The result is {c}.",
    "Answer: {c}",
    "Therefore it is {c}.",
    "#### {c}",
]


def total(rng: Random) -> tuple[str, list[Step], int]:
    """A story of two or three gains and losses."""
    name, item, a = rng.choice(NAMES), rng.choice(ITEMS), rng.randint(5, 60)
    events, steps, now = [], [], a
    for _ in range(rng.randint(2, 3)):
        if now < 99 and (now < 2 or rng.random() < 0.5):
            b = rng.randint(1, min(40, 99 - now))
            events.append(rng.choice(GAINS).format(n=name, b=b))
            steps.append((rng.choice(["add", "plus", "we add"]) + f" {b}", f"{now} + {b} = {now + b}", now + b))
            now += b
        else:
            b = rng.randint(1, min(40, now))
            events.append(rng.choice(LOSSES).format(n=name, b=b))
            steps.append((rng.choice(["take", "minus", "we take"]) + f" {b}", f"{now} - {b} = {now - b}", now - b))
            now -= b
    ask = rng.choice(["How many {i} does {n} have now?", "How many {i} are left with {n}?", "Count the {i} of {n}."])
    return f"{name} has {a} {item}. {' '.join(events)} {ask.format(i=item, n=name)}", steps, now


def clock(rng: Random) -> tuple[str, list[Step], int]:
    """Minutes after the hour, some minutes later."""
    start, later = rng.randint(0, 59), rng.randint(5, 110)
    question = rng.choice(
        [
            "It is {a} minutes past the hour. How many minutes past the hour is it {b} minutes later?",
            "A clock shows {a} minutes. What minutes does it show after {b} minutes?",
        ]
    ).format(a=start, b=later)
    steps = [(f"add {later}", f"{start} + {later} = {start + later}", start + later)]
    now = start + later
    while now >= 60:
        steps.append((rng.choice(["a full hour", "take 60"]), f"{now} - 60 = {now - 60}", now - 60))
        now -= 60
    return question, steps, now


def sequence(rng: Random) -> tuple[str, list[Step], int]:
    """The next number of a sequence with a constant difference."""
    step, first = rng.randint(2, 12), rng.randint(1, 40)
    shown = [first + i * step for i in range(4)]
    if rng.random() < 0.4:
        shown = shown[::-1]
    d = shown[1] - shown[0]
    after = shown[-1] + d
    if after < 0:
        return sequence(rng)
    question = rng.choice(["What comes next: {s}, ?", "Continue {s}.", "Which number follows {s}?"])
    sign = "+" if d > 0 else "-"
    steps = [
        ("the gap", f"{shown[1]} - {shown[0]} = {d}" if d > 0 else f"{shown[0]} - {shown[1]} = {-d}", abs(d)),
        ("the next", f"{shown[-1]} {sign} {abs(d)} = {after}", after),
    ]
    return question.format(s=", ".join(map(str, shown))), steps, after


def ages(rng: Random) -> tuple[str, list[Step], int]:
    """Ages of three people, told by their differences."""
    a, b, c = rng.sample(NAMES, 3)
    x, d, e = rng.randint(8, 50), rng.randint(1, 20), rng.randint(1, 20)
    second = x + d
    older = rng.random() < 0.5 or second <= e
    third = second + e if older else second - e
    word, sign = ("older", "+") if older else ("younger", "-")
    question = f"{a} is {x}. {b} is {d} years older than {a}. {c} is {e} years {word} than {b}. How old is {c}?"
    return question, [(b, f"{x} + {d} = {second}", second), (c, f"{second} {sign} {e} = {third}", third)], third


def rows_of(rng: Random) -> tuple[str, list[Step], int]:
    """Rows of things and some that are left over."""
    n, m, k = rng.randint(2, 9), rng.randint(2, 9), rng.randint(1, 9)
    item = rng.choice(ITEMS)
    question = rng.choice(
        [
            "There are {n} rows of {m} {i} and {k} more. How many {i} are there?",
            "{n} boxes hold {m} {i} each, and {k} lie beside them. How many {i} is that?",
        ]
    ).format(n=n, m=m, k=k, i=item)
    steps = [("the rows", f"{n} * {m} = {n * m}", n * m), ("and the rest", f"{n * m} + {k} = {n * m + k}", n * m + k)]
    return question, steps, n * m + k


def largest(rng: Random) -> tuple[str, list[Step], int]:
    """The difference of the largest and the smallest of four numbers."""
    numbers = rng.sample(range(1, 90), 4)
    low, high = min(numbers), max(numbers)
    shown = ", ".join(map(str, numbers))
    question = rng.choice(["How far apart are the largest and the smallest of {s}?", "Find the range of {s}."])
    steps = [
        ("the largest", f"max = {high}", high),
        ("the smallest", f"min = {low}", low),
        ("the gap", f"{high} - {low} = {high - low}", high - low),
    ]
    return question.format(s=shown), steps, high - low


TASKS: dict[str, Task] = {
    "total": total,
    "clock": clock,
    "sequence": sequence,
    "ages": ages,
    "rows": rows_of,
    "largest": largest,
}
TRAINED, SHIFTED = ("total", "clock"), ("ages", "rows")


def solution(rng: Random, steps: list[Step], answer: int) -> str:
    """One way to say the steps: bare lines, lines with words, or sentences."""
    ending = rng.choice(ENDINGS).format(c=answer)
    draw = rng.random()
    if draw < 0.3:
        return "\n".join([*(written for _, written, _ in steps), ending])
    if draw < 0.55:
        return "\n".join([*(f"{what}: {written}" for what, written, _ in steps), ending])
    text = rng.choice(OPENINGS)
    for i, (what, written, _) in enumerate(steps):
        said = rng.choice([f"{what}: {written}", written, f"{written} ({what})"])
        text += said if i == 0 else rng.choice(JOINTS) + said
    return f"{text}. {ending}"


def samples(rng: Random, tasks: tuple[str, ...], count: int, prefix: str, seen: set[str]) -> list[dict]:
    """`count` rows with new questions, tasks in turn; `seen` grows by them."""
    result: list[dict] = []
    while len(result) < count:
        name = tasks[len(result) % len(tasks)]
        question, steps, answer = TASKS[name](rng)
        # Tasks with few questions may repeat them within the corpus, never across files.
        if question in seen:
            continue
        if prefix != "base":
            seen.add(question)
        result.append(row(f"{prefix}-{name}-{len(result):06}", question, solution(rng, steps, answer), str(answer)))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--pretrain", type=int, default=PRETRAIN, metavar="N", help="rows of pretrain.jsonl")
    args = parser.parse_args()
    rng, seen = Random(SEED), set()
    others = tuple(name for name in TASKS if name not in (*TRAINED, *SHIFTED))
    files = {
        "eval": samples(rng, TRAINED, EVAL, "eval", seen),
        "shifted": samples(rng, SHIFTED, EVAL, "shifted", seen),
        "general": samples(rng, others, EVAL, "general", seen),
        "train": samples(rng, TRAINED, TRAIN, "train", seen),
    }
    files["pretrain"] = samples(rng, tuple(TASKS), args.pretrain, "base", seen)
    base = args.out / "base"
    base.mkdir(parents=True, exist_ok=True)
    corpus = texts(files["train"] + files["pretrain"][:6000]) + ["user", "assistant", "system"] * 2000
    tokenizer.write(tokenizer.train(corpus, VOCAB_SIZE), base)
    (base / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")
    for name, rows in files.items():
        write_jsonl(args.out / f"{name}.jsonl", rows)


if __name__ == "__main__":
    main()
