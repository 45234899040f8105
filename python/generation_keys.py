"""The results of transformers for changes of `generation_config.json`: `generation-keys.json`.

`fields` holds the names that its class reads. `rows` holds changes of `eos_token_id`, and of the key that says how many
tokens there are, with the tokens that a tiny model then goes on with, greedily. `config` is the `eos_token_id` of
`config.json`.
"""

import json
import tempfile
from pathlib import Path
from shutil import copytree

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

SEED = 20251130
FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "fixtures"
MODEL = "tiny-llama-tied"
NEW_TOKENS = 12


def answer(folder: Path, prompt: list[int]) -> list[int]:
    """The new tokens."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([prompt])
    with torch.no_grad():
        out = model.generate(ids, do_sample=False, max_new_tokens=NEW_TOKENS, attention_mask=torch.ones_like(ids))
    return out[0, len(prompt) :].tolist()


def generate(out: Path) -> None:
    """Write `generation-keys.json` under `out`."""
    prompt = [1, 5, 9, 2]
    rows = []
    with tempfile.TemporaryDirectory() as work:

        def go_on(generation: dict | None, config: int | list | None) -> list[int]:
            folder = Path(work) / str(len(rows))
            copytree(FIXTURES / MODEL, folder, dirs_exist_ok=True)
            path = folder / "config.json"
            wanted = json.loads(path.read_text(encoding="utf-8")) | {"eos_token_id": config}
            path.write_text(json.dumps(wanted), encoding="utf-8")
            (folder / "generation_config.json").unlink(missing_ok=True)
            if generation is not None:
                (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
            tokens = answer(folder, prompt)
            rows.append({"generation": generation, "config": config, "tokens": tokens})
            return tokens

        whole = go_on({}, None)
        first, second = [token for token in dict.fromkeys(whole) if whole.index(token) > 0][:2]
        for generation, config in [
            (None, second),
            (None, [first, second]),
            ({"eos_token_id": first}, second),
            ({"eos_token_id": second}, first),
            ({"eos_token_id": [second, first]}, None),
            ({"eos_token_id": [second]}, None),
            ({"eos_token_id": None}, None),
            ({"eos_token_id": None}, second),
            ({}, second),
        ]:
            go_on(generation, config)
    found = {"fields": sorted(vars(GenerationConfig())), "prompt": prompt, "rows": rows}
    (out / "generation-keys.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
