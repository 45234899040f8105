"""The files that `load_dataset` of `datasets` chooses from a directory: directories of empty files, and the choices.

data-folders.json: for each directory its files, its README.md, and the files of each split that `datasets` chooses, for
the default configuration and for each that is named; null where it refuses. `refused` says that cadft refuses what
`datasets` reads, as it would pass over files without a word.
"""

import json
import tempfile
from pathlib import Path

from datasets import load_dataset_builder

SEED = 0


def card(*configs: str) -> str:
    """A README.md with these configurations."""
    return "---\nlicense: mit\nconfigs:\n" + "".join(configs) + "---\n# A data set\n"


GSM8K = card(
    "- config_name: main\n  data_files:\n"
    "  - split: train\n    path: main/train-*\n  - split: test\n    path: main/test-*\n",
    "- config_name: socratic\n  data_files:\n  - split: train\n    path: socratic/train-*\n",
)
DEFAULT = card(
    "- config_name: a\n  default: true\n  data_files: a/**\n",
    "- config_name: b\n  data_files:\n  - b/1.jsonl\n  - b/2.jsonl\n",
)

# Files, README.md, whether cadft refuses what `datasets` reads.
FOLDERS: list[tuple[list[str], str | None, bool]] = [
    (["chat.jsonl"], None, False),
    (["a.jsonl", "b/c.json", "d.ndjson"], None, False),
    (["chat.jsonl", "chat_test.jsonl"], None, True),
    (["train.jsonl", "test.jsonl"], None, False),
    (["train.jsonl", "extra.jsonl"], None, True),
    (["train-0.jsonl", "train-1.jsonl", "my_train.jsonl"], None, False),
    (["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"], None, False),
    (["data/train_sft-00000-of-00001.parquet", "data/train_gen-00000-of-00001.parquet"], None, False),
    (["data/train_sft-00000-of-00002.parquet", "data/train_sft-00001-of-00002.parquet"], None, False),
    (["data/train-00000-of-00001.parquet", "more/train-00000-of-00001.parquet"], None, True),
    (["data/bad-name-00000-of-00001.parquet"], None, False),
    (["train_sft-00000-of-00001.parquet", "train_gen-00000-of-00001.parquet"], None, True),
    (["main/train-00000-of-00001.parquet", "socratic/train-00000-of-00001.parquet"], None, True),
    (
        [
            "main/train-00000-of-00001.parquet",
            "main/test-00000-of-00001.parquet",
            "socratic/train-00000-of-00001.parquet",
        ],
        GSM8K,
        False,
    ),
    (["a/1.jsonl", "a/deep/2.jsonl", "b/1.jsonl", "b/2.jsonl", "c.jsonl"], DEFAULT, False),
    (["x.jsonl", "y_test.jsonl"], card("- config_name: only\n  data_files: x.jsonl\n"), False),
    (
        ["en/train.jsonl", "en/test.jsonl", "de/train.jsonl"],
        card("- config_name: en\n  data_dir: en\n", "- config_name: de\n  data_dir: de\n"),
        False,
    ),
    (
        ["d/x.jsonl", "e/x.jsonl"],
        card("- config_name: default\n  data_files: d/*\n", "- config_name: other\n  data_files: e/*\n"),
        False,
    ),
    (
        ["x.jsonl", "y.jsonl"],
        card(
            "- config_name: a\n  default: true\n  data_files: x.jsonl\n",
            "- config_name: b\n  default: true\n  data_files: y.jsonl\n",
        ),
        False,
    ),
    (["x.jsonl"], card("- config_name: a\n  data_files: absent.jsonl\n"), False),
    (["x.jsonl"], "# No front matter\n", False),
    (["x.jsonl"], "---\nlicense: mit\n---\n", False),
    (["train/1.jsonl", "train/2.jsonl", "test/1.jsonl"], None, False),
    (["data/my-train-set/1.jsonl", "data/dev2/1.jsonl"], None, False),
    (["train/1.jsonl", "test.jsonl"], None, True),
    (["dev.jsonl", "validation.jsonl"], None, False),
    (["valid-1.jsonl", "val.jsonl", "eval.jsonl"], None, False),
    (["training.csv", "testing.csv", "evaluation.csv"], None, False),
    (["constraint.jsonl", "testament.jsonl"], None, False),
    (["latest.jsonl", "mytrain.jsonl", "trained.jsonl"], None, False),
    (["train1.jsonl", "train.v2.jsonl", "x train y.jsonl"], None, False),
    (["Train.jsonl", "TEST.jsonl"], None, True),
    (["train_test.jsonl"], None, False),
    (["train.jsonl.gz", "test.jsonl.zst"], None, False),
    ([".hidden/train.jsonl", "x.jsonl", ".y.jsonl"], None, False),
    (["__cache__/train.jsonl", "x.jsonl"], None, False),
    (["_x.jsonl", "__y.jsonl"], None, False),
    (["x.jsonl", "config.json", "dataset_info.json"], None, False),
    (["a.jsonl", "b.csv"], None, True),
    (["a.parquet", "b.jsonl", "c.jsonl"], None, True),
    (["a.jsonl", "b.jsonl.bz2"], None, True),
    (["a.jsonl", "b.jsonl.bak"], None, True),
    (["data-00000-of-00001.arrow"], None, True),
]


def choice(root: Path, config: str | None) -> dict[str, list[str]] | None:
    """The files of each split; `None` if `datasets` refuses."""
    try:
        builder = load_dataset_builder(str(root), config, cache_dir=str(root.parent / "cache"))
        found = builder.config.data_files
        found = found.resolve(str(root)) if hasattr(found, "resolve") else found
    except Exception:
        # Any exception: it reads nothing.
        return None
    base = root.resolve()
    splits = {
        str(split): list(dict.fromkeys(Path(file).relative_to(base).as_posix() for file in files))
        for split, files in found.items()
    }
    return splits if all(splits.values()) else None


def folder(files: list[str], readme: str | None, refused: bool) -> dict:
    """A directory, and the files that are chosen."""
    with tempfile.TemporaryDirectory() as parent:
        root = Path(parent) / "set"
        for name in files:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if readme is not None:
            (root / "README.md").write_text(readme, encoding="utf-8")
        configs = [line.split(": ")[1] for line in (readme or "").splitlines() if line.startswith("- config_name")]
        chosen = {config: choice(root, config) for config in configs}
        return {"files": files, "readme": readme, "refused": refused, "default": choice(root, None), "configs": chosen}


def generate(out: Path) -> None:
    """Write the fixture."""
    folders = [folder(*given) for given in FOLDERS]
    with (out / "data-folders.json").open("w", encoding="utf-8") as file:
        json.dump(folders, file, ensure_ascii=False, indent=1)
        file.write("\n")
