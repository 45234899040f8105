"""Optimizer steps of cadft beside PyTorch, TRL and PEFT on one CPU, in one alternating run.

    python bench_step.py --binary cadft --model DIR --data FILE.jsonl --out FILE.json [--turns 5] [--steps 3]
                         [--threads N] [--cases a,b]

Both sides train the same checkpoint (SmolLM2) on the same token ids with the same number of threads. Cases:

    all      4 x 256 tokens of chat text, all of them trained
    real     8 conversations of uneven length, the answers trained; `micro` is 4, and the peer is TRL's `SFTTrainer`

each in full and as a LoRA of rank 16 on all linear layers, in f32 and with products in bf16, with the objectives that both
sides have. A turn is one process of each side: `--steps` steps after `--warmup`, timed as a whole, since steps overlap. The
first likelihood of both sides must agree. A ratio is the peer's seconds over ours, of one turn; its median and its smallest and
largest value are reported.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CASES = {
    # name: (samples, trained, format, objective of ours, loss of the peer)
    "full-f32-nll": ("all", "full", "f32", "nll", "nll"),
    "full-f32-dft": ("all", "full", "f32", "dft", "dft"),
    "full-f32-cadft": ("all", "full", "f32", "cadft", "cadft"),
    "full-bf16-nll": ("all", "full", "bf16", "nll", "nll"),
    "lora-f32-nll": ("all", "lora", "f32", "nll", "nll"),
    "lora-bf16-nll": ("all", "lora", "bf16", "nll", "nll"),
    "real-full-f32-dft": ("real", "full", "f32", "dft", "trl"),
    "real-lora-f32-dft": ("real", "lora", "f32", "dft", "trl"),
}
RANK = 16
MICRO = 4


def samples(args: argparse.Namespace) -> dict[str, list[dict]]:
    """Token ids of both kinds, from conversations."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    text, real = [], []
    for line in Path(args.data).read_text("utf-8").splitlines()[:200]:
        messages = json.loads(line)["messages"]
        ids = tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
        prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=True)["input_ids"]
        text += ids
        if len(real) < 8:
            real.append({"token_ids": ids, "prompt_len": len(prompt)})
    rows = [{"token_ids": text[at : at + 256], "prompt_len": 1} for at in range(0, 4 * 256, 256)]
    return {"all": rows, "real": real}


def ours(args: argparse.Namespace, case: str, rows: str) -> dict:
    """One turn of ours."""
    kind, trained, precision, objective, _ = CASES[case]
    command = [args.binary, "bench", "--model", args.model, "--samples", rows, "--objectives", objective, "--json"]
    command += ["--precision", precision, "--steps", str(args.steps), "--warmup", str(args.warmup), "--device", "flex"]
    command += ["--micro", str(MICRO)]
    command += ["--rank", str(RANK)] if trained == "lora" else []
    command += args.ours
    environment = {**os.environ, "RAYON_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    row = json.loads(done.stdout.splitlines()[-1])
    return {
        "secs": sum(row["secs"]) / len(row["secs"]),
        "cpu_secs": row["cpu_secs"],
        "page_faults": row["page_faults"],
        "peak_rss_mib": row["peak_rss_mib"],
        "first_nll": row["first_nll"],
        "gflops_per_sec": row["model_tflops_per_sec"] * 1e3,
    }


def theirs(args: argparse.Namespace, case: str, rows: str) -> dict:
    """One turn of the peer, in a process of its own."""
    command = [sys.executable, __file__, "--peer", case, "--rows", rows]
    for name in ["model", "steps", "warmup", "threads"]:
        command += [f"--{name}", str(getattr(args, name))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def lora(model):
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, settings)


def report(secs: list[float], usage: list, first_nll: float) -> None:
    """One line of a peer; `usage` is what the process had used before and after the timed steps."""
    steps = len(secs)
    before, after = usage
    print(
        json.dumps(
            {
                "secs": sum(secs) / steps,
                "cpu_secs": (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / steps,
                "page_faults": (after.ru_minflt - before.ru_minflt) // steps,
                "peak_rss_mib": after.ru_maxrss / 1024,
                "first_nll": first_nll,
            }
        )
    )


def usage_now():
    return resource.getrusage(resource.RUSAGE_SELF)


def loop(args: argparse.Namespace, rows: list[dict]) -> None:
    """A plain loop on one micro-batch of equal rows: scaled_dot_product_attention, AdamW, clipping."""
    import torch
    from transformers import AutoModelForCausalLM

    _, trained, precision, _, loss_type = CASES[args.peer]
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="sdpa")
    model.config.use_cache = False
    model = lora(model) if trained == "lora" else model
    model.train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.0)
    ids = torch.tensor([row["token_ids"] for row in rows])
    cast = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
    secs, first, before = [], None, None
    for step in range(args.warmup + args.steps):
        if step == args.warmup:
            before = usage_now()
        started = time.perf_counter()
        with cast:
            logits = model(input_ids=ids).logits[:, :-1]
        flat = logits.float().reshape(-1, logits.size(-1))
        nll = torch.nn.functional.cross_entropy(flat, ids[:, 1:].reshape(-1), reduction="none").view(len(rows), -1)
        first = nll.mean().item() if first is None else first
        per_token = nll
        if loss_type != "nll":
            per_token = torch.exp(-nll).detach() * nll
        if loss_type == "cadft":
            scores = nll.detach().mean(1)
            z = (scores - scores.mean()) / (scores.std(unbiased=False) + 1e-6)
            per_token = per_token * torch.exp(-z.clamp(min=0))[:, None]
        per_token.mean().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step >= args.warmup:
            secs.append(time.perf_counter() - started)
    report(secs, [before, usage_now()], first)


def trl(args: argparse.Namespace, rows: list[dict]) -> None:
    """TRL's `SFTTrainer` with its loss `dft` on the answers, as its users run it: rows padded to the longest of a micro-batch."""
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    _, trained, precision, _, _ = CASES[args.peer]
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="sdpa")
    model = lora(model) if trained == "lora" else model
    masks = [[0] * row["prompt_len"] + [1] * (len(row["token_ids"]) - row["prompt_len"]) for row in rows]
    columns = {"input_ids": [row["token_ids"] for row in rows], "completion_mask": masks}
    marks = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__):
            marks.append([time.perf_counter(), usage_now()])

        def on_step_end(self, *_, **__):
            marks[-1] += [time.perf_counter(), usage_now()]

    # The likelihood of the first batch, as ours reports it.
    with torch.no_grad():
        total, count = 0.0, 0
        for row, mask in zip(rows, masks, strict=True):
            logits = model(input_ids=torch.tensor([row["token_ids"]])).logits[0, :-1]
            nll = torch.nn.functional.cross_entropy(logits, torch.tensor(row["token_ids"][1:]), reduction="none")
            wanted = torch.tensor(mask[1:], dtype=torch.bool)
            total, count = total + nll[wanted].sum().item(), count + int(wanted.sum())
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        settings = SFTConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=precision == "bf16",
            loss_type="dft",
            per_device_train_batch_size=MICRO,
            gradient_accumulation_steps=len(rows) // MICRO,
            max_steps=args.warmup + args.steps,
            gradient_checkpointing=False,
            learning_rate=1e-5,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            completion_only_loss=True,
            dataset_kwargs={"skip_prepare_dataset": True},
        )
        SFTTrainer(
            model=model,
            args=settings,
            train_dataset=Dataset.from_dict(columns),
            processing_class=AutoTokenizer.from_pretrained(args.model),
            callbacks=[Clock()],
        ).train()
    timed = marks[args.warmup :]
    report([end - start for start, _, end, _ in timed], [timed[0][1], timed[-1][3]], total / count)


def describe(ratios: list[float]) -> dict:
    ordered = sorted(ratios)
    return {"median": round(statistics.median(ordered), 3), "smallest": round(ordered[0], 3), "largest": round(ordered[-1], 3)}


def middle(turns: list[dict]) -> dict:
    return {key: round(statistics.median(turn[key] for turn in turns), 4) for key in turns[0]}


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            name = line.split(":", 1)[1].strip()
            flags = Path("/proc/cpuinfo").read_text()
            kind = next((kind for kind in ["avx512_bf16", "avx512f", "avx2"] if kind in flags), "no AVX2")
            return f"{name}, {kind}"
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--commit", default="")
    parser.add_argument("--ours", nargs="*", default=[], help="more arguments of `cadft bench`")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--rows", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        import torch

        torch.set_num_threads(args.threads)
        rows = [json.loads(line) for line in Path(args.rows).read_text().splitlines()]
        return (trl if CASES[args.peer][4] == "trl" else loop)(args, rows)
    cases = args.cases.split(",")
    found = {case: {"ours": [], "theirs": []} for case in cases}
    kinds = samples(args)
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for kind, rows in kinds.items():
            files[kind] = str(Path(folder, f"{kind}.jsonl"))
            Path(files[kind]).write_text("".join(json.dumps(row) + "\n" for row in rows))
        for turn in range(args.turns):
            for case in cases:
                rows = files[CASES[case][0]]
                pair = {"ours": ours(args, case, rows), "theirs": theirs(args, case, rows)}
                for side, row in pair.items():
                    found[case][side].append(row)
                ratio = pair["theirs"]["secs"] / pair["ours"]["secs"]
                print(f"turn {turn + 1} {case}: {pair['ours']['secs']:.3f} s, ratio {ratio:.2f}", file=sys.stderr, flush=True)
    results = {}
    for case, sides in found.items():
        nll = [sides[side][0]["first_nll"] for side in ("ours", "theirs")]
        tolerance = 2e-2 if CASES[case][2] == "bf16" else 2e-4
        if abs(nll[0] - nll[1]) > tolerance * abs(nll[1]):
            raise SystemExit(f"{case}: the likelihoods differ: {nll}")
        tokens = sum(len(row["token_ids"]) for row in kinds[CASES[case][0]])
        ratios = [their["secs"] / our["secs"] for our, their in zip(*sides.values(), strict=True)]
        memory = [our["peak_rss_mib"] / their["peak_rss_mib"] for our, their in zip(*sides.values(), strict=True)]
        results[case] = {
            "tokens": tokens,
            "ours": middle(sides["ours"]),
            "theirs": middle(sides["theirs"]),
            "speed": describe(ratios),
            "memory": describe(memory),
            "tokens_per_sec": round(tokens / statistics.median(turn["secs"] for turn in sides["ours"]), 1),
        }
    import peft
    import torch
    import transformers
    import trl as of_trl

    record = {
        "command": "cargo xtask bench step",
        "commit": args.commit,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": processor(),
        "threads": args.threads,
        "turns": args.turns,
        "steps": args.steps,
        "versions": {
            module.__name__: module.__version__ for module in (torch, transformers, of_trl, peft)
        },
        "load": round(os.getloadavg()[0], 2),
        "cases": results,
    }
    print(json.dumps(record, indent=1))
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
