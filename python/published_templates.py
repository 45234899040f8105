"""The renderings of transformers for conversations with published chat templates: `templates/published.json.gz`.

The templates are not committed: `cargo xtask fetch templates` takes them out of the pinned wheels of `trl` and
`axolotl`, and SmolLM2's is in its checkpoint. The ids are those of SmolLM2's tokenizer with the special tokens of each
template added to it. The format is that of `template_golden.py`.
"""

import gzip
import json
from pathlib import Path

from template_golden import entries

# Templates that trl does not have.
AXOLOTL = ("chatml", "mistral_v1", "mistral_v2v3", "mistral_v3_tekken", "mistral_v7_tekken", "deepseek_v2", "exaone")


def sources(templates: Path, smollm2: Path) -> dict[str, str]:
    """Sources of the published templates by name."""
    found = {}
    for path in sorted(templates.glob("*/*.jinja")):
        if path.parent.name != "axolotl" or path.stem in AXOLOTL:
            found[f"{path.parent.name}/{path.stem}"] = path.read_bytes().decode()
    config = json.loads((smollm2 / "tokenizer_config.json").read_text(encoding="utf-8"))
    return {**found, "smollm2/smollm2": config["chat_template"]}


def generate(templates: Path, smollm2: Path, out: Path) -> None:
    """Write the file under `out`."""
    folder = out / "templates"
    folder.mkdir()
    text = json.dumps(entries(sources(templates, smollm2), smollm2), ensure_ascii=False, separators=(",", ":"))
    (folder / "published.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
