"""Verifiable fine-tuning data from reasoning-gym, as `messages` with `id` and `answer`.

    python reasoning_gym.py --out DIR

Writes `{chain_sum,gsm_symbolic}_{train,eval}.jsonl` (2,000 and 200 clean rows), `mixed_train.jsonl` (both tasks, 20 %
incompatible demonstrations in equal shares of the kinds of word_problems.py, named by the prefix of `id`; `answer`
stays the true one) and `mixed_eval.jsonl` (both tasks, clean).

reasoning-gym seeds example i with seed + i, so the splits use seeds far apart, and a question of eval is dropped from
train. gsm_symbolic brings a worked solution; for chain_sum it is written here. Both end in `#### N`.
"""

import argparse
import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from word_problems import KINDS, OFFSTYLE, shuffled_words

# This file has the package's name: keep its folder from being searched first.
sys.path = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]
import reasoning_gym as rg

TRAIN, EVAL = 2000, 200
TRAIN_SEED, EVAL_SEED, MIX_SEED = 0, 1_000_000, 11206
INCOMPATIBLE = 0.2
TASKS: dict[str, dict] = {
    "chain_sum": {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 2},
    "gsm_symbolic": {},
}


@dataclass(frozen=True)
class Sample:
    """A question with its demonstration and true answer."""

    task: str
    name: str
    question: str
    solution: str
    answer: str

    def row(self, prefix: str) -> dict:
        """One line of a data file."""
        turns = [{"role": "user", "content": self.question}, {"role": "assistant", "content": self.solution}]
        return {"id": f"{prefix}-{self.name}", "messages": turns, "answer": self.answer}


def chain_steps(expression: str, answer: str) -> str:
    """A worked solution of `a + b - c`, one step a line."""
    terms = expression.split()
    total, lines = int(terms[0]), []
    for sign, term in zip(terms[1::2], terms[2::2]):
        after = total + int(term) if sign == "+" else total - int(term)
        lines.append(f"{total} {sign} {term} = {after}")
        total = after
    if str(total) != answer:
        raise ValueError(f"`{expression}` gives {total}, not {answer}")
    return "\n".join([*lines, f"#### {answer}"])


def stated_answer(solution: str) -> str:
    """The text after the last `####`."""
    return solution.rsplit("####", 1)[1].strip()


def samples(task: str, seed: int, count: int, skip: set[str]) -> list[Sample]:
    """`count` samples with questions that are new; `skip` grows by them."""
    result: list[Sample] = []
    for item in rg.create_dataset(task, seed=seed, size=3 * count + 500, **TASKS[task]):
        question, meta, answer = item["question"], item["metadata"], item["answer"]
        if question in skip:
            continue
        solution = meta["answer_cot"] if task == "gsm_symbolic" else chain_steps(meta["expression"], answer)
        if float(re.sub(r"[$,]", "", stated_answer(solution)).rstrip(".")) != float(answer):
            continue
        skip.add(question)
        result.append(Sample(task, f"{task}-{seed}-{meta['source_index']}", question, solution, answer))
        if len(result) == count:
            return result
    raise ValueError(f"`{task}`: only {len(result)} distinct questions")


def spoil(rng: Random, sample: Sample, kind: str, others: list[Sample]) -> Sample:
    """`sample` with an incompatible demonstration of a kind."""
    if kind == "shuffled":
        return replace(sample, solution=shuffled_words(rng, sample.solution))
    if kind == "offstyle":
        return replace(sample, solution=rng.choice(OFFSTYLE).format(c=sample.answer))
    if kind == "swapped":
        pool = [o for o in others if o.task == sample.task and o.answer != sample.answer]
        return replace(sample, solution=rng.choice(pool).solution)
    stated = stated_answer(sample.solution)
    wrong = str(int(float(sample.answer)) + rng.choice([d for d in range(-20, 21) if d != 0]))
    number = re.compile(rf"(?<![\d.,]){re.escape(stated)}(?![\d,]|\.\d)")
    return replace(sample, solution=number.sub(wrong, sample.solution))


def mixed(rng: Random, pool: list[Sample]) -> list[dict]:
    """All samples in random order, a share of them spoiled."""
    order = rng.sample(pool, len(pool))
    chosen = rng.sample(range(len(order)), round(INCOMPATIBLE * len(order)))
    kinds = {index: KINDS[i % len(KINDS)] for i, index in enumerate(chosen)}
    return [spoil(rng, s, kinds[i], pool).row(kinds[i]) if i in kinds else s.row("clean") for i, s in enumerate(order)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    files: dict[str, list[dict]] = {}
    train, held_out = [], []
    for task in TASKS:
        seen: set[str] = set()
        task_eval = samples(task, EVAL_SEED, EVAL, seen)
        task_train = samples(task, TRAIN_SEED, TRAIN, seen)
        files[f"{task}_eval"] = [s.row("clean") for s in task_eval]
        files[f"{task}_train"] = [s.row("clean") for s in task_train]
        held_out += task_eval
        train += task_train
    rng = Random(MIX_SEED)
    files["mixed_train"] = mixed(rng, train)
    files["mixed_eval"] = [s.row("clean") for s in rng.sample(held_out, len(held_out))]
    for name, rows in files.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (out / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{name}.jsonl: {len(rows)} rows")


if __name__ == "__main__":
    main()
