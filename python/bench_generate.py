"""Tokens a second of cadft's generation and of `transformers.generate`, in one alternating run.

    python bench_generate.py --model DIR --binary generate-speed --out FILE [--rounds 3] [--threads 2] [--new-tokens 64]

Same checkpoint, f32, same threads, same prompts, greedy, no stop token: every sequence gets the same number of tokens.
A time is that of a whole call, prompts included. Every round measures both sides at every batch size; a ratio is the
median of the rounds' ratios, of wall-clock time and of processor time: on a machine with other work, only the second
means something, and only with one thread, because threads that wait for others may spin. `same_tokens` is the share of tokens that are equal on both sides (f32 sums in another
order may decide a near tie).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

BATCHES = [1, 8, 32]
THINGS = ["apples", "trains", "rivers", "clocks", "stars", "letters", "songs", "bridges"]


def prompts(tokenizer) -> list[list[int]]:
    """Chat prompts of different lengths."""
    made = []
    for index in range(max(BATCHES)):
        things = ", ".join(THINGS[: 1 + index % len(THINGS)])
        question = f"Tell me {index + 2} things about {things}, one sentence each."
        messages = [{"role": "user", "content": question}]
        made.append(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"])
    return made


def ours(args: argparse.Namespace, prompt_file: str) -> dict[int, dict]:
    """One process of cadft: seconds and tokens by batch size."""
    command = [args.binary, args.model, prompt_file, str(args.new_tokens), *map(str, BATCHES)]
    environment = {**os.environ, "RAYON_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return {row["batch"]: row for row in map(json.loads, done.stdout.splitlines())}


def theirs(model, ids: list[list[int]], new_tokens: int) -> dict:
    """One call of `transformers.generate`, prompts padded on the left."""
    import torch

    longest = max(map(len, ids))
    tokens = torch.tensor([[0] * (longest - len(row)) + row for row in ids])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids])
    started, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        made = model.generate(
            input_ids=tokens,
            attention_mask=mask,
            max_new_tokens=new_tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    secs, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert made.shape == (len(ids), longest + new_tokens)
    return {"secs": secs, "cpu_secs": cpu, "token_ids": made[:, longest:].tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--new-tokens", type=int, default=64)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(args.threads)
    ids = prompts(AutoTokenizer.from_pretrained(args.model))
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    theirs(model, ids[:2], 4)
    rounds = []
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(ids, file)
        file.flush()
        for index in range(args.rounds):
            our = ours(args, file.name)
            row = {"load": round(os.getloadavg()[0], 2)}
            for batch in BATCHES:
                their = theirs(model, ids[:batch], args.new_tokens)
                pairs = zip(sum(our[batch]["token_ids"], []), sum(their["token_ids"], []), strict=True)
                tokens = batch * args.new_tokens
                row[batch] = {
                    "ours": tokens / our[batch]["secs"],
                    "transformers": tokens / their["secs"],
                    "cpu_ratio": their["cpu_secs"] / our[batch]["cpu_secs"],
                    "same_tokens": sum(a == b for a, b in pairs) / tokens,
                }
            rounds.append(row)
            print(f"round {index + 1}: {row}", flush=True)
    results = []
    for batch in BATCHES:
        rows = [row[batch] for row in rounds]
        middle = {side: statistics.median(row[side] for row in rows) for side in ("ours", "transformers")}
        ratios = sorted(row["ours"] / row["transformers"] for row in rows)
        results.append(
            {
                "batch": batch,
                "tokens_per_sec": round(middle["ours"], 1),
                "transformers_tokens_per_sec": round(middle["transformers"], 1),
                "ratio": round(statistics.median(ratios), 2),
                "ratios": [round(ratio, 2) for ratio in ratios],
                "cpu_ratio": round(statistics.median(row["cpu_ratio"] for row in rows), 2),
                "same_tokens": round(min(row["same_tokens"] for row in rows), 3),
            }
        )
    report = {
        "command": "cargo xtask bench generate",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "date": datetime.now(UTC).date().isoformat(),
        "model": Path(args.model).name,
        "dtype": "f32",
        "threads": args.threads,
        "new_tokens": args.new_tokens,
        "prompt_tokens": [min(map(len, ids)), max(map(len, ids))],
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "load_average": [row["load"] for row in rounds],
        "results": results,
    }
    args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
