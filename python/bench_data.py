"""The peer of `cargo xtask bench data`: runs `datasets` and `transformers` on the same file. Also makes that file.

    python bench_data.py make --rows N --out FILE       conversations, the same for every run
    python bench_data.py run MODEL DATA TEMPLATE CACHE  tokenise with masks in two processes, then read from the cache

`run` prints one JSON object with the times that `tokenize` of the data crate prints.
"""

import argparse
import json
import random
import resource
import time
from pathlib import Path

import datasets
from transformers import AutoTokenizer

TEXT = (
    "a the of and to in is that it was for on are as with his they at be this from have or by one had not but what all "
    "were when we there can an your which their said if do will each about how up out them then she many some so these "
    "would other into has more her two like him see time could no make than first been its who now people my made over "
    "did down only way find use may water long little very after words called just where most know carpenter earnings "
    "multiply remainder Wednesday coefficient photosynthesis Mississippi temperature approximately £195 12% 3/4 x² café"
)
WORDS = TEXT.split()


def make(rows: int, out: Path) -> None:
    """Write conversations of one to three questions, about a hundred tokens each."""
    source = random.Random(42)

    def sentence() -> str:
        words = source.choices(WORDS, k=source.randint(5, 18))
        numbers = [str(source.randint(0, 99999)) for _ in range(source.randint(0, 3))]
        return " ".join([words[0].capitalize(), *words[1:], *numbers]) + "."

    with out.open("w", encoding="utf-8") as file:
        for number in range(rows):
            messages = []
            for _ in range(source.choice((1, 1, 2, 3))):
                messages.append({"role": "user", "content": sentence()})
                answer = "\n".join(sentence() for _ in range(source.randint(1, 3)))
                messages.append({"role": "assistant", "content": answer})
            file.write(json.dumps({"id": f"row-{number}", "messages": messages}, ensure_ascii=False) + "\n")


def run(model: str, data: str, template: str, cache: str) -> dict:
    """Seconds of tokenising (or of reading the cache), and of reading all samples in a shuffled order."""
    datasets.disable_progress_bars()
    started = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = Path(template).read_text(encoding="utf-8")
    setup = time.perf_counter() - started

    def tokenize(rows: dict) -> dict:
        out = tokenizer.apply_chat_template(
            rows["messages"], return_dict=True, return_assistant_tokens_mask=True, truncation=True, max_length=2048
        )
        return {"input_ids": out["input_ids"], "assistant_masks": out["assistant_masks"]}

    started = time.perf_counter()
    loaded = datasets.load_dataset("json", data_files=data, split="train", cache_dir=cache)
    tokens = loaded.map(tokenize, batched=True, num_proc=2, remove_columns=loaded.column_names)
    load = time.perf_counter() - started
    started = time.perf_counter()
    shuffled = tokens.shuffle(seed=42).with_format("numpy")
    total = supervised = 0
    for batch in shuffled.iter(batch_size=256):
        for ids, mask in zip(batch["input_ids"], batch["assistant_masks"], strict=True):
            total += len(ids)
            supervised += int(mask.sum())
    read = time.perf_counter() - started
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "samples": len(tokens),
        "tokens": total,
        "supervised": supervised,
        "setup_secs": setup,
        "load_secs": load,
        "read_secs": read,
        "peak_rss_mib": max(own, children) / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    maker = commands.add_parser("make")
    maker.add_argument("--rows", type=int, required=True)
    maker.add_argument("--out", type=Path, required=True)
    runner = commands.add_parser("run")
    for name in ("model", "data", "template", "cache"):
        runner.add_argument(name)
    args = parser.parse_args()
    if args.command == "make":
        make(args.rows, args.out)
    else:
        print(json.dumps(run(args.model, args.data, args.template, args.cache)))


if __name__ == "__main__":
    main()
