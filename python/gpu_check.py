"""Runs all checks that need a GPU, with a `cadft` binary that was copied there: no cargo, no network.

    python gpu_check.py --binary cadft[.xz] --out DIR [--limit 280] [--shapes qwen2.5-math-1.5b,llama-3.2-3b]

`cargo xtask gpu build` makes the binary; beside it the repository's `python`, `bench/shapes` and `tests/fixtures/curve`
are needed, and PyTorch with transformers for the peer. The first part runs side by side, as nearly all of it is
compiling: the self-test with TF32 and without, the golden curve of forty steps with both, and the first steps of every
shape, whose compiled kernels are kept. The second part is `bench_training.py`, alone on the device. What does not fit
into `--limit` seconds is left out. Into DIR go the checks, curves, measurements, a profile and what every command said;
a summary is printed.
"""

import argparse
import json
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CURVE = ROOT / "tests/fixtures/curve"
STARTED = time.monotonic()
SETTINGS = '[compilation]\ncache = true\n\n[environment]\npath = "local"\n'


def left(args: argparse.Namespace) -> float:
    """Seconds left until the limit."""
    return args.limit - (time.monotonic() - STARTED)


def directory_of(args: argparse.Namespace, name: str) -> Path:
    """Makes a directory in which processes keep their compiled kernels."""
    directory = args.work / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cubecl.toml").write_text(SETTINGS, encoding="utf-8")
    return directory


def start(args: argparse.Namespace, name: str, command: list[str]) -> tuple[str, subprocess.Popen]:
    """Starts a command in a separate directory."""
    directory = directory_of(args, name)
    log = (args.out / f"{name}.log").open("w", encoding="utf-8")
    output = (args.out / f"{name}.jsonl").open("w", encoding="utf-8")
    return name, subprocess.Popen([args.binary, *command], cwd=directory, stdout=output, stderr=log)


def largest_differences(expected: Path, found: Path) -> dict:
    """The largest relative difference of any step, by value."""
    rows = [
        [row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()) if "event" not in row]
        for path in (expected, found)
    ]
    assert len(rows[0]) == len(rows[1]), f"{len(rows[1])} steps"
    return {
        key: max(abs(a[key] - b[key]) / abs(a[key]) for a, b in zip(*rows, strict=True))
        for key in ("loss", "nll", "grad_norm", "mean_weight")
    }


def together(args: argparse.Namespace) -> None:
    """Runs commands that mostly compile, in parallel."""
    running = []
    for name, tf32 in (("tf32", "true"), ("f32", "false")):
        selftest = ["selftest", "--device", args.device, "--tf32", tf32, "--json"]
        running.append(start(args, f"selftest-{name}", selftest))
        out = args.work / f"run-{name}"
        shutil.rmtree(out, ignore_errors=True)
        train = ["train", "--recipe", str(CURVE / "recipe.toml"), "--out", str(out), "--device", args.device]
        running.append(start(args, f"curve-{name}", [*train, "--set", f"model.tf32={tf32}"]))
    for shape in args.shapes:
        # A few rows: all shapes are on the device at the same time.
        config = str(ROOT / "bench/shapes" / f"{shape}.json")
        bench = ["bench", "-v", "--config", config, "--device", args.device, "--precision", "bf16", "--running"]
        running.append(start(args, shape, [*bench, "--global", "2", "--steps", "1", "--warmup", "1", "--json"]))
    for name, process in running:
        try:
            code = process.wait(timeout=max(1.0, min(left(args), args.limit / 2)))
        except subprocess.TimeoutExpired:
            process.kill()
            code = "no end"
        print(f"{name}: {code} after {time.monotonic() - STARTED:.0f} s", flush=True)
    for name in ("tf32", "f32"):
        lines = (args.out / f"selftest-{name}.jsonl").read_text(encoding="utf-8").splitlines()
        checks = [json.loads(line) for line in lines]
        failed = [check for check in checks if not check["passed"]]
        print(f"selftest-{name}: {len(checks)} checks, failed: {failed}")
        metrics = args.work / f"run-{name}" / "metrics.jsonl"
        if metrics.exists():
            found = largest_differences(CURVE / "expected.jsonl", metrics)
            (args.out / f"curve-{name}.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
            print(f"curve-{name}:", {key: f"{value:.1e}" for key, value in found.items()})


def alone(args: argparse.Namespace) -> None:
    """Training steps compared with the peer, shape by shape, each in the directory that has its kernels."""
    for index, shape in enumerate(args.shapes):
        command = [sys.executable, str(ROOT / "python/bench_training.py"), "--binary", args.binary]
        command += ["--device", args.device, "--config", str(ROOT / "bench/shapes" / f"{shape}.json")]
        command += ["--out", str(args.out / f"training-{shape}.json"), "--steps", "3"]
        command += ["--peers", "autocast,autocast-liger"]
        # Two rounds and a profile of the first shape, a round of the others.
        if index == 0:
            command += ["--profile", str(args.out / "profile.log")]
        else:
            command += ["--rounds", "1"]
        if left(args) < 30:
            print(f"{shape}: no time left")
            continue
        with (args.out / f"training-{shape}.log").open("w", encoding="utf-8") as log:
            try:
                directory = directory_of(args, shape)
                subprocess.run(command, cwd=directory, stdout=log, stderr=log, timeout=left(args), check=True)
            except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
                print(f"{shape}: {error}")
        print((args.out / f"training-{shape}.log").read_text(encoding="utf-8")[-4000:], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "cadft-gpu-check")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--limit", type=float, default=280.0)
    parser.add_argument("--shapes", type=lambda text: text.split(","), default=["qwen2.5-math-1.5b", "llama-3.2-3b"])
    parser.add_argument("--skip", choices=["together", "alone"])
    args = parser.parse_args()
    args.out, args.work = args.out.resolve(), args.work.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    args.work.mkdir(parents=True, exist_ok=True)
    args.binary = str(Path(args.binary).resolve())
    if args.binary.endswith(".xz"):
        unpacked = args.work / "cadft"
        with lzma.open(args.binary) as packed, unpacked.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
        unpacked.chmod(0o755)
        args.binary = str(unpacked)
    # If there is a CUDA toolkit, its compiler is found.
    path = os.environ.get("LD_LIBRARY_PATH", "")
    os.environ["LD_LIBRARY_PATH"] = f"/usr/local/cuda/lib64:{path}" if path else "/usr/local/cuda/lib64"
    if args.skip != "together":
        together(args)
    if args.skip != "alone":
        alone(args)


if __name__ == "__main__":
    main()
