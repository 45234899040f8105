"""All files of the end-to-end tests: a tiny model, data in two formats, recipes, and the expected curves and scores.

model/                            checkpoint directory with tokenizer files
messages.jsonl                    61 samples, so the last global batch of an epoch has 5
prompt_completion.jsonl, eval.jsonl
recipe.toml, recipe.{running,start,gate-nll,nll,dft,…}.toml
expected.{exact,running,start,gate-nll,nll,dft,…}.jsonl     20 steps each, by reference_trainer.py
score.{messages,prompt_completion,eval}.expected.jsonl      scores of the untrained-on model
"""

from pathlib import Path
from random import Random

import torch

import examples
import pretrained
import reference_trainer
import word_problems

SEED = 42
VOCAB_SIZE = 320
STEPS = 20
RECIPE = """\
{objective}[model]
path = "model"
precision = "f32"

[data]
train = ["messages.jsonl"]
eval = ["eval.jsonl"]
max-length = 512
order = "sequential"
mask = "assistant"

[batch]
global = 8
micro = 2

{objective_table}[optimizer]
lr = 1e-3
betas = [0.9, 0.95]
weight-decay = 0.01
eps = 1e-8
clip = 1.0

[schedule]
kind = "cosine"
warmup = 0.1
steps = 20

[checkpoint]
every = 10
keep = 2

[run]
seed = 42
out = "run"
"""
CADFT = "[objective.cadft]\nbeta = 1.0\n"
TABLES = {
    "exact": CADFT + 'statistics = "exact"\n\n',
    "running": CADFT + 'statistics = "running"\n\n',
    "start": CADFT + 'statistics = "running"\n\n[loss]\nstart = "nll"\nstart-until = 0.25\n\n',
    "psft": "[objective.psft]\nevery = 3\n\n",
    "rho": '[objective.rho]\ntop = 0.4\n\n[loss]\nstart = "nll"\nstart-until = 0.25\n\n',
    "prift-mass": '[objective.prift]\nsupport = "mass"\nthreshold = 0.3\n\n',
    "gate-nll": CADFT + 'statistics = "exact"\ngate = "nll"\n\n[loss]\nnormalisation = "sample-mean"\n\n',
}
BY_NAME = (
    *("nll", "dft", "asft", "eaft", "iw-sft", "idft", "deft"),
    *("info-sft", "chord-phi", "profit", "sed-sft", "talr", "kl-sft", "prift"),
)
HAND_WRITTEN: list[dict] = [
    {
        "id": "system",
        "messages": [
            {"role": "system", "content": "You answer with one number."},
            {"role": "user", "content": "What is 3 + 4?"},
            {"role": "assistant", "content": "7"},
        ],
    },
    {
        "id": "multi-turn",
        "messages": [
            {"role": "user", "content": "Tom has 5 pens."},
            {"role": "assistant", "content": "Good for Tom."},
            {"role": "user", "content": "He loses 2. How many?"},
            {"role": "assistant", "content": "5 - 2 = 3\n#### 3"},
        ],
    },
    {
        "id": "multi-turn-system",
        "weight": 0.5,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello!"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "2 + 2?"},
            {"role": "assistant", "content": "4"},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "Yes, 4."},
        ],
    },
    {
        "id": "unicode",
        "messages": [
            {"role": "user", "content": "Combien font 2 + 3 ? 日本語で答えて 🙂"},
            {"role": "assistant", "content": "Ça fait 5. 答えは5です 🙂 naïve x²"},
        ],
    },
    {
        "id": "unicode-emoji",
        "weight": 2.0,
        "messages": [{"role": "user", "content": "👩‍👩‍👧 + 1?"}, {"role": "assistant", "content": "👨‍👩‍👧‍👦"}],
    },
    {
        "id": "spaces",
        "messages": [
            {"role": "user", "content": "  two  spaces\n\nand lines  "},
            {"role": "assistant", "content": "  kept  \n\n  as they are  "},
        ],
    },
    {
        "id": "one-token",
        "messages": [{"role": "user", "content": "Say nothing."}, {"role": "assistant", "content": "Nothing."}],
    },
]
PROMPT_COMPLETION: list[dict] = [
    {"id": "seam-space", "prompt": "Question: 3 + 4?\nAnswer:", "completion": " 7"},
    {"id": "seam-space-left", "prompt": "Question: 3 + 4?\nAnswer: ", "completion": "7"},
    {"id": "seam-inside-word", "prompt": "Tom has 5 eggs, does he ha", "completion": "ve 3?"},
    {"id": "unicode", "weight": 0.5, "prompt": "Ça fait ", "completion": "5 – voilà 🙂"},
    {"id": "newlines", "prompt": "How many\n", "completion": "\n\n#### 3"},
]


def chat(identifier: str, problem: word_problems.Problem) -> dict:
    """A problem as one exchange."""
    turns = [{"role": "user", "content": problem.question}, {"role": "assistant", "content": problem.solution}]
    return {"id": identifier, "messages": turns}


def data() -> dict[str, list[dict]]:
    """The rows of each file; `pretrain` has the rows that the model was trained on."""
    rng = Random(SEED)
    seen: set[str] = set()
    generated = word_problems.spoil_fraction(rng, word_problems.distinct(rng, 54, seen), 0.22)
    messages = [chat(f"{kind}-{i:02}", p) for i, (kind, p) in enumerate(generated)]
    messages[3]["weight"], messages[10]["weight"], messages[17]["weight"] = 0.25, 3.0, 0.0
    for i, row in enumerate(HAND_WRITTEN):
        messages.insert(4 + 8 * i, row)
    completions = [
        {"id": f"sum-{i:02}", "prompt": f"Question: {p.question}\nAnswer:", "completion": f" {p.answer}"}
        for i, p in enumerate(word_problems.distinct(rng, 19, seen))
    ]
    return {
        "messages": messages,
        "prompt_completion": PROMPT_COMPLETION + completions,
        "eval": [chat(f"eval-{i:02}", p) for i, p in enumerate(word_problems.distinct(rng, 16, seen))],
        "pretrain": [chat(str(i), p) for i, p in enumerate(word_problems.distinct(rng, 400, seen))],
    }


def recipe(name: str) -> str:
    """The TOML of one run."""
    if name in TABLES:
        return RECIPE.format(objective="", objective_table=TABLES[name])
    return RECIPE.format(objective=f'objective = "{name}"\n\n', objective_table="")


def check_seam(rows: list[dict], tokenizer) -> None:
    """One prompt/completion sample must have a token across the boundary, or the fixture does not test this case."""
    row = next(r for r in rows if r["id"] == "seam-inside-word")
    example = examples.build(row, tokenizer, "")
    prompt = tokenizer(row["prompt"])["input_ids"]
    if example.ids[: len(prompt)] == prompt:
        raise ValueError("no token straddles the seam of `seam-inside-word`")


def generate(out: Path) -> None:
    """Write `blackbox/` under `out`."""
    folder, rows = out / "blackbox", data()
    keys = pretrained.config(VOCAB_SIZE, 32, 2, tied=True)
    seen = rows["pretrain"] + rows["prompt_completion"] * 2 + HAND_WRITTEN
    tokenizer = pretrained.write(folder / "model", seen, keys, SEED, 300)
    check_seam(rows["prompt_completion"], tokenizer)
    for name in ("messages", "prompt_completion", "eval"):
        reference_trainer.write_jsonl(folder / f"{name}.jsonl", rows[name])
        scored = reference_trainer.score_file(folder / "model", folder / f"{name}.jsonl")
        reference_trainer.write_jsonl(folder / f"score.{name}.expected.jsonl", scored)
    for name in (*TABLES, *BY_NAME):
        path = folder / ("recipe.toml" if name == "exact" else f"recipe.{name}.toml")
        path.write_text(recipe(name), encoding="utf-8")
        metrics, _ = reference_trainer.train(path, torch.float32)
        reference_trainer.write_jsonl(folder / f"expected.{name}.jsonl", metrics)
