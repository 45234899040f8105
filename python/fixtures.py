"""Regenerates every golden file under `tests/fixtures`, or checks that the committed ones can be regenerated.

    python fixtures.py [--only NAME]... [--smollm2 DIR] [--gemma3 FILE]            write the files and MANIFEST.toml
    python fixtures.py --check [--only NAME]... [--smollm2 DIR] [--gemma3 FILE]    regenerate into a temporary folder and compare

`--smollm2` is a directory written by `convert_smollm2.py`, `--gemma3` the GGUF file that `cargo xtask fetch gemma3` keeps; without
them the generators that need them are skipped. That of the published templates also needs what `cargo xtask fetch templates` fetches. `--check` first
compares checksums with the manifest, then bytes; floats that differ (another CPU sums in another order) must agree to
the tolerance of their dtype.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
import torch
from transformers.utils import logging

import blackbox
import compare_files
import config_keys
import curve
import data_files
import data_folders
import data_formats
import families
import foreign_adapters
import gemma3_golden
import generation_keys
import hub_cache
import jinja_golden
import moments_golden
import objectives_golden
import optimizers_golden
import packed_golden
import probe_golden
import published_templates
import sampling_golden
import smollm2_golden
import template_golden
import tiny_adapters
import tiny_bf16
import tiny_llama
import tokenizer_golden

ROOT = Path(__file__).resolve().parent.parent / "tests" / "fixtures"
TEMPLATES = ROOT.parent.parent / "models" / "chat-templates"
PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "trl",
    "peft",
    "numpy",
    "datasets",
    "huggingface_hub",
    "pyarrow",
    "pandas",
    "polars",
    "Jinja2",
    "bitsandbytes",
)


@dataclass(frozen=True)
class Generator:
    """A function that writes files under a folder, and its entry in the manifest."""

    script: str
    seed: int
    run: Callable[[Path], None]


def generators(smollm2: Path | None, gemma3: Path | None) -> dict[str, Generator]:
    """The generators by name, in the order they run."""
    result = {
        "objectives": Generator("objectives_golden.py", objectives_golden.SEED, objectives_golden.generate),
        "tiny-llama": Generator("tiny_llama.py", tiny_llama.SEED, tiny_llama.generate),
        "families": Generator("families.py", families.SEED, families.generate),
        "tiny-adapters": Generator("tiny_adapters.py", tiny_adapters.SEED, tiny_adapters.generate),
        "foreign-adapters": Generator("foreign_adapters.py", foreign_adapters.SEED, foreign_adapters.generate),
        "probe": Generator("probe_golden.py", probe_golden.SEED, probe_golden.generate),
        "config-keys": Generator("config_keys.py", config_keys.SEED, config_keys.generate),
        "generation-keys": Generator("generation_keys.py", generation_keys.SEED, generation_keys.generate),
        "tiny-bf16": Generator("tiny_bf16.py", tiny_bf16.SEED, tiny_bf16.generate),
        "blackbox": Generator("blackbox.py", blackbox.SEED, blackbox.generate),
        "data-formats": Generator("data_formats.py", data_formats.SEED, data_formats.generate),
        "hub": Generator("hub_cache.py", hub_cache.SEED, hub_cache.generate),
        "data-files": Generator("data_files.py", data_files.SEED, data_files.generate),
        "data-folders": Generator("data_folders.py", data_folders.SEED, data_folders.generate),
        "curve": Generator("curve.py", curve.SEED, curve.generate),
        "sampling": Generator("sampling_golden.py", sampling_golden.SEED, sampling_golden.generate),
        "packed": Generator("packed_golden.py", packed_golden.SEED, packed_golden.generate),
        "moments": Generator("moments_golden.py", moments_golden.SEED, moments_golden.generate),
        "optimizers": Generator("optimizers_golden.py", optimizers_golden.SEED, optimizers_golden.generate),
        "templates": Generator("template_golden.py", 0, template_golden.generate),
        "jinja": Generator("jinja_golden.py", 0, jinja_golden.generate),
        "tokenizers": Generator("tokenizer_golden.py", 0, tokenizer_golden.generate),
    }
    if smollm2 is not None:
        result["smollm2"] = Generator("smollm2_golden.py", 0, lambda out: smollm2_golden.generate(smollm2, out))
        result["published-templates"] = Generator(
            "published_templates.py", 0, lambda out: published_templates.generate(TEMPLATES, smollm2, out)
        )
    if gemma3 is not None:
        result["gemma3"] = Generator("gemma3_golden.py", 0, lambda out: gemma3_golden.generate(gemma3, out))
    return result


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_under(folder: Path) -> list[str]:
    """Relative paths of all files, sorted."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def write_manifest(entries: dict[str, dict]) -> None:
    """Write MANIFEST.toml: versions once, then one table a file."""
    lines = ["# Written by python/fixtures.py; `python python/fixtures.py --check` regenerates and compares.", ""]
    lines += ["[versions]", f'python = "{sys.version.split()[0]}"', *(f'{p} = "{version(p)}"' for p in PACKAGES)]
    for path, entry in sorted(entries.items()):
        lines += [
            "",
            "[[file]]",
            f'path = "{path}"',
            f'sha256 = "{entry["sha256"]}"',
            f'generator = "python/{entry["generator"]}"',
            f"seed = {entry['seed']}",
        ]
    (ROOT / "MANIFEST.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_manifest() -> dict[str, dict]:
    """Manifest entries by path; generators without their `python/` prefix."""
    path = ROOT / "MANIFEST.toml"
    if not path.exists():
        return {}
    rows = tomllib.loads(path.read_text(encoding="utf-8")).get("file", [])
    return {r["path"]: {**r, "generator": r["generator"].removeprefix("python/")} for r in rows}


def write(chosen: dict[str, Generator]) -> None:
    """Run the generators and replace their files and manifest entries."""
    entries = read_manifest()
    for name, generator in chosen.items():
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            generator.run(out)
            entries = {p: e for p, e in entries.items() if e["generator"] != generator.script}
            for path in files_under(out):
                target = ROOT / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes((out / path).read_bytes())
                entries[path] = {"sha256": sha256(target), "generator": generator.script, "seed": generator.seed}
        print(f"{name}: written")
    write_manifest(entries)


def check(chosen: dict[str, Generator]) -> list[str]:
    """Every disagreement between the committed files, the manifest and a fresh run."""
    entries, problems = read_manifest(), []
    for name, generator in chosen.items():
        listed = {p for p, e in entries.items() if e["generator"] == generator.script}
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            generator.run(out)
            fresh = set(files_under(out))
            problems += [f"`{p}` is listed but no longer generated" for p in sorted(listed - fresh)]
            problems += [f"`{p}` is generated but not listed" for p in sorted(fresh - listed)]
            for path in sorted(fresh & listed):
                committed = ROOT / path
                if not committed.exists():
                    problems.append(f"`{path}` is missing")
                elif sha256(committed) != entries[path]["sha256"]:
                    problems.append(f"`{path}` differs from its checksum in the manifest")
                elif difference := compare_files.difference(committed, out / path):
                    problems.append(f"`{path}`: {difference}")
        print(f"{name}: checked")
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--only", action="append", metavar="NAME", help="one generator; may be repeated")
    parser.add_argument("--smollm2", type=Path, metavar="DIR")
    parser.add_argument("--gemma3", type=Path, metavar="FILE")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    known = generators(args.smollm2, args.gemma3)
    if unknown := set(args.only or known) - set(known):
        parser.error(f"unknown generator {sorted(unknown)}; known: {sorted(known)}")
    chosen = {name: g for name, g in known.items() if name in (args.only or known)}
    if not args.check:
        write(chosen)
        return
    problems = check(chosen)
    print("\n".join(problems) if problems else "all fixtures agree")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
