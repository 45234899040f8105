"""The smaller files of the study's second base, SmolLM2-135M-Instruct.

    python study_smollm2.py --data DIR

reads what study_data.py wrote into DIR and writes into `DIR/smollm2`, from the first rows of each file: `warm.jsonl` (all tasks, clean),
`train.jsonl` and `eval.jsonl` (the trained tasks), `shifted.jsonl` (two like them), and `general.jsonl`: paragraphs of "In the Year 2889" by
Jules and Michel Verne, which reasoning-gym ships, for what is forgotten of general text.
"""

import argparse
import json
import sys
from importlib import resources
from itertools import islice
from pathlib import Path

# The folder of this file has a module with the package's name, which must not be taken for it.
sys.path = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]
# Rows of each file, and of which file of study_data.py they are the first.
ROWS = {"warm": ("pretrain", 1280), "train": ("train", 640), "eval": ("eval", 40), "shifted": ("shifted", 40)}
PARAGRAPHS, SHORTEST, LONGEST = 40, 300, 700


def paragraphs() -> list[str]:
    """Paragraphs of the story, on one line each, without what was printed around it."""
    text = resources.files("reasoning_gym").joinpath("data/in_the_year_2889.txt").read_text(encoding="utf-8")
    story = text.split("*** START OF", 1)[1].split("*** END OF", 1)[0]
    lines = (" ".join(part.split()) for part in story.split("\n\n"))
    return list(islice((line for line in lines if SHORTEST <= len(line) <= LONGEST), PARAGRAPHS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    data = parser.parse_args().data
    out = data / "smollm2"
    out.mkdir(parents=True, exist_ok=True)
    for name, (source, count) in ROWS.items():
        with (data / f"{source}.jsonl").open(encoding="utf-8") as lines:
            (out / f"{name}.jsonl").write_text("".join(islice(lines, count)), encoding="utf-8")
    general = (json.dumps({"id": f"verne-{i:02}", "text": text}) for i, text in enumerate(paragraphs()))
    (out / "general.jsonl").write_text("\n".join(general) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
