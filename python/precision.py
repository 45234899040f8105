"""SmolLM2 in f32 and bf16, all weights and LoRA, and the same LoRA trained by PEFT: curves of the same steps.

    python precision.py --binary CADFT --model DIR --data chain_sum_train.jsonl --out smollm2-precision.json

Every run takes the same short samples in the same order. PEFT begins with the adapter that `cadft` begins with: the one
of a run of a single step whose learning rate is 1e-30, which changes no weight of `A` and leaves `B` at about 0. All
weights are trained under `torch.autocast` too. Then the recipe `smollm2`, whose learning rate warms up, runs the same four
ways, from the folder that holds `models` and `data`.
"""

import argparse
import json
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from peft import PeftModel
from torch import nn
from transformers import AutoTokenizer, LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

import examples
import recipe as recipes
import reference_trainer

SAMPLES = 640
RECIPE = """\
objective = "nll"

[model]
path = "{model}"

[data]
train = ["train.jsonl"]
max-length = 128
order = "sequential"

[batch]
global = 32
micro = 4
bucketing = "none"

[optimizer]
lr = 1e-4

[schedule]
steps = {steps}

[checkpoint]
every = 0

[run]
seed = 42
"""
LORA = ["adapter.rank=16", "optimizer.lr=2e-4"]
BF16 = ["model.precision=bf16"]
RUNS = {"full_f32": [], "full_bf16": BF16, "lora_f32": LORA, "lora_bf16": LORA + BF16}


def short_rows(path: Path) -> list[dict]:
    """The shortest rows of a file of chats, in file order, as prompt and completion without a template."""
    lines = path.read_text(encoding="utf-8").splitlines()
    shortest = sorted(sorted(range(len(lines)), key=lambda at: len(lines[at]))[:SAMPLES])
    rows = []
    for line in (lines[at] for at in shortest):
        row = json.loads(line)
        question, answer = (message["content"] for message in row["messages"])
        rows.append({"id": row["id"], "prompt": question, "completion": f" {answer}"})
    return rows


def run(binary: Path, folder: Path, name: str, settings: list[str]) -> list[dict]:
    """The steps of a run of `cadft`."""
    sets = [word for setting in settings for word in ("--set", setting)]
    command = [binary, "train", "--recipe", "recipe.toml", "--out", name, *sets]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    lines = map(json.loads, (folder / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [line for line in lines if "event" not in line]


def peft(folder: Path, adapter: Path) -> list[dict]:
    """The steps of the reference trainer with an adapter that PEFT trains."""
    recipe = replace(recipes.load(folder / "recipe.toml"), lr=2e-4)
    samples = examples.load(recipe.train, AutoTokenizer.from_pretrained(recipe.model), recipe.max_length)
    base = reference_trainer.load_model(recipe.model, torch.float32)
    model = PeftModel.from_pretrained(base, adapter, is_trainable=True)
    return list(reference_trainer.Trainer(recipe, model, samples).run())


class Autocast(nn.Module):
    """A model in f32 that runs under `torch.autocast` to bf16; logits are f32."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: torch.Tensor | bool) -> CausalLMOutputWithPast:
        """As the model."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = self.model(**inputs)
        out.logits = out.logits.float()
        return out


def autocast(folder: Path) -> list[dict]:
    """The steps of the reference trainer with all weights in f32 and bf16 operations."""
    recipe = recipes.load(folder / "recipe.toml")
    samples = examples.load(recipe.train, AutoTokenizer.from_pretrained(recipe.model), recipe.max_length)
    model = Autocast(reference_trainer.load_model(recipe.model, torch.float32))
    return list(reference_trainer.Trainer(recipe, model, samples).run())


def ordinary(binary: Path, root: Path, folder: Path) -> dict:
    """The recipe `smollm2` in f32 and bf16, all weights and LoRA."""
    curves = {}
    for name, own in RUNS.items():
        out = folder / f"smollm2-{name}"
        settings = ["evaluate.answers=0", "data.eval=[]", *own]
        sets = [word for setting in settings for word in ("--set", setting)]
        command = [binary.resolve(), "train", "--recipe", "smollm2", "--out", out, *sets]
        subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
        lines = map(json.loads, (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        curves[name] = [round(line["nll"], 6) for line in lines if "event" not in line]
        print(name, curves[name], flush=True)
    return {
        "recipe": "smollm2",
        "steps": len(curves["full_f32"]),
        "differences": [compare(curves, f"{name}_bf16", f"{name}_f32") for name in ("full", "lora")],
        "nll": curves,
    }


def compare(curves: dict[str, list[float]], a: str, b: str) -> dict:
    """Largest and mean relative difference of two curves."""
    differences = [abs(x - y) / y for x, y in zip(curves[a], curves[b], strict=True)]
    return {
        "of": a,
        "to": b,
        "largest": round(max(differences), 6),
        "mean": round(sum(differences) / len(differences), 6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("binary", "model", "data", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--machine", default="")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    curves = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference_trainer.write_jsonl(folder / "train.jsonl", short_rows(args.data))
        text = RECIPE.format(model=args.model.resolve(), steps=args.steps)
        (folder / "recipe.toml").write_text(text, encoding="utf-8")
        for key, settings in RUNS.items():
            steps = run(args.binary, folder, key, settings)
            curves[key] = [round(step["nll"], 6) for step in steps]
            print(key, curves[key], flush=True)
        run(args.binary, folder, "init", ["adapter.rank=16", "optimizer.lr=1e-30", "schedule.steps=1"])
        curves["lora_peft"] = [round(step["nll"], 6) for step in peft(folder, folder / "init/model")]
        print("lora_peft", curves["lora_peft"], flush=True)
        curves["full_autocast"] = [round(step["nll"], 6) for step in autocast(folder)]
        print("full_autocast", curves["full_autocast"], flush=True)
        usual = ordinary(args.binary, args.data.resolve().parents[2], folder)
    pairs = [
        ("full_bf16", "full_f32"),
        ("full_autocast", "full_f32"),
        ("full_bf16", "full_autocast"),
        ("lora_bf16", "lora_f32"),
        ("lora_f32", "lora_peft"),
        ("lora_f32", "full_f32"),
    ]
    result = {
        "command": "cargo xtask bench precision",
        "machine": args.machine,
        "backend": "flex",
        "samples_a_step": 32,
        "learning_rate": {"full": 1e-4, "lora": 2e-4},
        "differences": [compare(curves, *pair) for pair in pairs],
        "nll": curves,
        "ordinary": usual,
    }
    args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
