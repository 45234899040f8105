"""Training steps of cadft compared with PyTorch and transformers on one GPU, in one alternating run.

    python bench_training.py --binary cadft --config FILE... --out FILE [--rounds 2] [--steps 5] [--micro 8,4,2]
                             [--device cuda] [--profile FILE]

For each shape (a `config.json`; weights and text are random) every round runs cadft (`cadft bench`, NLL and CADFT in
turns of five steps) and then the peer: the model of transformers with scaled_dot_product_attention, f32 weights under
autocast to bf16, fused AdamW, clipping by the global norm; also with weights, gradients and moments in bf16, and with
Liger's kernels where `liger_kernel` is installed. All see the same shape of batch. Each process tries the sizes of
micro-batch from the largest and keeps the first that fits. Seconds are those of a round over its number of steps, with
the device synchronised before and after, so that steps may overlap; medians of all rounds are reported. Memory is the largest that the driver said was used, in samples of
100 ms. `--profile` asks CubeCL for the time of every kernel of a step, each waited for.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

# Dense bf16 of H100 SXM and H200, by the data sheet.
PEAK_TFLOPS = 989.4
GLOBAL, LENGTH = 8, 2048
PEERS = ["autocast", "bf16", "autocast-liger"]


class Memory:
    """Peak used memory of the first GPU while a block runs, in MiB."""

    def __enter__(self):
        command = ["nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--loop-ms=100"]
        self.peak = 0
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self) -> None:
        for line in self.process.stdout:
            self.peak = max(self.peak, int(line))

    def __exit__(self, *_):
        self.process.terminate()
        self.thread.join(timeout=1)


class DoesNotFit(Exception):
    """The device has too little memory."""


def output_of(command: list[str]) -> list[str]:
    """The output of a command, line by line."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout.splitlines()
    print(done.stderr[-1500:], file=sys.stderr, flush=True)
    if "memory" in done.stderr.lower():
        raise DoesNotFit
    raise RuntimeError(f"`{' '.join(command)}` ended with {done.returncode}")


def ours(args: argparse.Namespace, config: str, micro: int, steps: int) -> list[dict]:
    """One process of cadft: an object for each objective."""
    command = [args.binary, "bench", "--config", config, "--device", args.device, "--precision", "bf16", "--json"]
    command += ["--running", "--objectives", "nll,cadft", "--global", str(GLOBAL), "--length", str(LENGTH)]
    command += ["--micro", str(micro), "--steps", str(steps), "--warmup", "2"]
    return [json.loads(line) for line in output_of(command) if line.startswith("{")]


def peer(kind: str, config: str, micro: int, steps: int) -> dict:
    """The steps of the peer, in this process."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if kind.endswith("-liger"):
        from liger_kernel.transformers import apply_liger_kernel_to_llama, apply_liger_kernel_to_qwen2

        apply_liger_kernel_to_llama()
        apply_liger_kernel_to_qwen2()
    torch.manual_seed(42)
    settings = AutoConfig.for_model(**json.loads(Path(config).read_text(encoding="utf-8")))
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(settings, attn_implementation="sdpa", dtype=dtype)
    model.config.use_cache = False
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    tokens = torch.randint(settings.vocab_size, (GLOBAL, LENGTH), device="cuda")
    losses = []
    for index in range(2 + steps):
        if index == 2:
            torch.cuda.synchronize()
            started = time.perf_counter()
        total = 0.0
        for rows in tokens.split(micro):
            with torch.autocast("cuda", torch.bfloat16, enabled=kind != "bf16"):
                loss = model(input_ids=rows, labels=rows).loss * (len(rows) / GLOBAL)
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total)
    torch.cuda.synchronize()
    return {
        "secs": [(time.perf_counter() - started) / steps],
        "first_nll": losses[0].item(),
        "last_nll": losses[-1].item(),
        "torch_peak_mib": torch.cuda.max_memory_allocated() >> 20,
    }


def peer_process(kind: str, config: str, micro: int, steps: int) -> list[dict]:
    """The same in a separate process, which releases its memory."""
    command = [sys.executable, __file__, "--peer", kind, "--config", config]
    command += ["--micro", str(micro), "--steps", str(steps)]
    return [json.loads(output_of(command)[-1])]


def summary(rows: list[dict], flops: float) -> dict:
    """The medians of all rounds."""
    secs = statistics.median(statistics.mean(row["secs"]) for row in rows)
    last = rows[-1]
    kept = ("micro", "peak_mib", "device_mib", "torch_peak_mib", "first_nll", "last_nll")
    return {
        "secs": round(secs, 4),
        "tokens_per_sec": round(GLOBAL * LENGTH / secs),
        "model_flop_utilisation": round(flops / secs / PEAK_TFLOPS / 1e12, 4),
        **{key: last[key] for key in kept if last.get(key) is not None},
        "all_secs": [[round(sec, 4) for sec in row["secs"]] for row in rows],
    }


def measure(args: argparse.Namespace, config: str) -> dict:
    """Runs all sides alternately."""
    rows: dict[str, list[dict]] = {}
    micro: dict[str, list[int]] = {}
    flops = 0.0
    peers = args.peers.split(",") if args.peers else []
    for index in range(args.rounds):
        for side in ["ours", *peers]:
            sizes = micro.setdefault(side, [int(size) for size in args.micro.split(",")])
            found = []
            while sizes and not found:
                try:
                    with Memory() as memory:
                        if side == "ours":
                            found = ours(args, config, sizes[0], args.steps)
                        else:
                            found = peer_process(side, config, sizes[0], args.steps)
                except DoesNotFit:
                    sizes.pop(0)
                except RuntimeError as error:
                    print(error, file=sys.stderr, flush=True)
                    sizes.clear()
            for row in found:
                name = row.get("objective", side)
                if "model_tflops_per_sec" in row:
                    flops = row["model_tflops_per_sec"] * row["median_secs"] * 1e12
                row.update(micro=sizes[0], peak_mib=memory.peak)
                rows.setdefault(name, []).append(row)
                print(index, name, sizes[0], [round(sec, 3) for sec in row["secs"]], memory.peak, flush=True)
    result = {"shape": Path(config).stem, **{name: summary(found, flops) for name, found in rows.items()}}
    if {"nll", "cadft"} <= result.keys():
        result["cadft_over_nll"] = round(result["cadft"]["secs"] / result["nll"]["secs"], 4)
    for kind in peers:
        if "nll" in result and kind in result:
            result[f"nll_over_{kind}"] = round(result["nll"]["secs"] / result[kind]["secs"], 3)
    if args.profile:
        result["profile"] = profile(args, config, micro["ours"][0] if micro["ours"] else 1)
    return result


def profile(args: argparse.Namespace, config: str, micro: int) -> dict:
    """The time of a step by kernel, from CubeCL's log of the last step, in which every kernel is waited for."""
    settings = Path("cubecl.toml")
    before = settings.read_text(encoding="utf-8") if settings.exists() else ""
    log = Path(args.profile).absolute()
    log.unlink(missing_ok=True)
    settings.write_text(f'{before}\n[profiling.logger]\nlevel = "basic"\nfile = "{log}"\n', encoding="utf-8")
    try:
        ours(args, config, micro, 1)
    finally:
        if before:
            settings.write_text(before, encoding="utf-8")
        else:
            settings.unlink()
    return kernels(log.read_text(encoding="utf-8"))


UNITS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def kernels(log: str) -> dict:
    """The last table of a log of CubeCL: milliseconds and launches by kernel, the longest first."""
    rows = {}
    for line in log[log.rindex("| Name ") :].splitlines()[2:]:
        fields = [field.strip() for field in line.strip("| ").split("|")]
        if len(fields) < 4:
            continue
        # A name may have several parts: the first is the kind of kernel, the last its variant.
        *parts, duration, launches, _ = fields
        name = parts[0] if len(parts) == 1 else f"{parts[0]}_{parts[-1].rpartition('_')[2]}"
        number, unit = re.fullmatch(r"([0-9.]+)(\D+)", duration).groups()
        milliseconds = round(float(number) * UNITS[unit] * 1e3, 3)
        if name == "Total":
            return {"ms": milliseconds, "launches": int(launches), "kernels": rows}
        rows[name] = {"ms": milliseconds, "launches": int(launches)}
    return {"kernels": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary")
    parser.add_argument("--config", nargs="+", required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--micro", default="8,4,2,1")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--profile")
    parser.add_argument("--peer", choices=PEERS)
    args = parser.parse_args()
    if args.peer:
        print(json.dumps(peer(args.peer, args.config[0], int(args.micro), args.steps)))
        return
    import torch
    import transformers

    report = {
        "command": "cargo xtask bench training",
        "machine": f"{torch.cuda.get_device_name()}, {os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "date": datetime.now(UTC).date().isoformat(),
        "precision": "bf16 factors of all products, f32 master weights",
        "batch": [GLOBAL, LENGTH],
        "peak_tflops": PEAK_TFLOPS,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "results": [],
    }
    for config in args.config:
        report["results"].append(measure(args, config))
        args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report["results"], indent=2))


if __name__ == "__main__":
    main()
