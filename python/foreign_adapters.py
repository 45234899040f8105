"""Adapters of PEFT with settings that `tiny_adapters.py` does not have, and the results of PEFT for them.

Each folder under `foreign-adapters` holds the two files of `save_pretrained` for the checkpoint that
`base_model_name_or_path` names, and `expected.safetensors`: `input_ids [2, 11]`, `logits [2, 11, vocab]` in f32.

`adapter-keys.json` holds changes of single keys of `tiny-lora/adapter_config.json`, and what PEFT makes of each: an
error, or logits at a few places.
"""

import json
import tempfile
from pathlib import Path
from shutil import copytree

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import tiny_adapters

SEED = 20251128
FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "fixtures"
LORA = {"r": 2, "lora_alpha": 5, "target_modules": ["q_proj", "down_proj"]}
CASES: dict[str, tuple[str, dict]] = {
    "saved-embedding-apart": ("tiny-llama-tied", LORA | {"modules_to_save": ["embed_tokens"]}),
    "saved-head-apart": ("tiny-llama-tied", LORA | {"modules_to_save": ["lm_head"]}),
    "saved-by-ending": ("tiny-llama-tied", LORA | {"modules_to_save": ["norm"]}),
    "saved-block-part": (
        "tiny-llama-untied",
        LORA | {"target_modules": ["q_proj", "up_proj"], "modules_to_save": ["mlp"]},
    ),
    "patterns": (
        "tiny-llama-untied",
        LORA
        | {
            "target_modules": ["q_proj", "v_proj", "down_proj"],
            "rank_pattern": {"layers.0.self_attn.q_proj": 4, "v_.*": 3, "q_proj": 5},
            "alpha_pattern": {"down_proj": 7, "self_attn.*proj": 2.5},
            "use_rslora": True,
        },
    ),
    "head": ("tiny-llama-untied", LORA | {"target_modules": ["lm_head", "o_proj"]}),
    "head-dora": ("tiny-llama-untied", LORA | {"target_modules": ["lm_head"], "use_dora": True}),
    "head-of-tied": ("tiny-llama-tied", LORA | {"target_modules": ["lm_head", "o_proj"]}),
    "embedding": ("tiny-llama-tied", LORA | {"target_modules": ["embed_tokens", "k_proj"]}),
    "embedding-of-gemma": ("tiny-gemma3-tied", LORA | {"target_modules": ["embed_tokens"]}),
    "expression": ("tiny-llama-untied", LORA | {"target_modules": r".*\.1\.(self_attn|mlp)\.(q|up)_proj"}),
    "one-block": ("tiny-llama-tied", LORA | {"layers_to_transform": [1], "layers_pattern": "layers"}),
    "one-block-plain": ("tiny-llama-tied", LORA | {"layers_to_transform": 0}),
    "excluded": ("tiny-llama-tied", LORA | {"exclude_modules": ["layers.0.self_attn.q_proj"]}),
    "gaussian": ("tiny-llama-tied", LORA | {"init_lora_weights": "gaussian"}),
    "mica": ("tiny-llama-tied", LORA | {"init_lora_weights": "mica"}),
    "some-unknown-names": (
        "tiny-llama-tied",
        LORA | {"target_modules": ["q_proj", "c_attn"], "modules_to_save": ["score"]},
    ),
    # Their initialisation changes the base weights; PEFT repeats that when it loads them.
    "pissa": ("tiny-llama-tied", LORA | {"init_lora_weights": "pissa"}),
    "pissa-fast": ("tiny-llama-tied", LORA | {"init_lora_weights": "pissa_niter_4"}),
    "olora": ("tiny-llama-tied", LORA | {"init_lora_weights": "olora"}),
}
# Values that a key may take instead; PEFT decides what each means.
CHANGES: dict[str, list] = {
    "alpha_pattern": [{"q_proj": 2}, {"x": 3}, None],
    "bias": ["all", "lora_only"],
    "ensure_weight_tying": [True],
    "exclude_modules": [["q_proj"], "x", ".*q_proj"],
    "fan_in_fan_out": [True],
    "inference_mode": [False],
    "init_lora_weights": [
        *(False, "gaussian", "orthogonal", "eva"),
        *("pissa", "pissa_niter_2", "olora", "mica", "lora_ga", "?"),
    ],
    "layer_replication": [[[0, 1], [0, 2]]],
    "layers_pattern": ["layers"],
    "layers_to_transform": [[0], 1, []],
    "lora_alpha": [1, 2.5, -3, 0],
    "lora_bias": [True],
    "lora_dropout": [0.3],
    "megatron_core": ["x"],
    "modules_to_save": [["norm"], ["embed_tokens"], []],
    "peft_version": ["0.1.0", None],
    "qalora_group_size": [8],
    "r": [2, 0, 4],
    "rank_pattern": [{"q_proj": 2}, {"x": 7}],
    "revision": ["main"],
    "target_modules": [["q_proj"], "all-linear", ".*q_proj", None, []],
    "target_parameters": [["x"]],
    "task_type": [None, "SEQ_2_SEQ_LM"],
    "trainable_token_indices": [[1, 2]],
    "use_dora": [True],
    "use_qalora": [True],
    "use_rslora": [True],
    "alora_invocation_tokens": [[1, 2]],
    "arrow_config": [{"top_k": 1}],
    "kasa_config": [{}],
    "monteclora_config": [{}],
    "velora_config": [{}],
    "use_bdlora": [{}],
    "corda_config": [{"cache_file": None}],
    "eva_config": [{"rho": 2.0}],
    "loftq_config": [{"loftq_bits": 4}],
    "lora_ga_config": [{"direction": "ArBr"}],
    "megatron_config": [{}],
    "auto_mapping": [{"base_model_class": "LlamaForCausalLM"}],
    "peft_type": ["IA3", "LORA"],
    "a_key_of_tomorrow": [None, False, 3],
}


def base(name: str) -> torch.nn.Module:
    """The committed checkpoint: the same bytes that the tests load."""
    return AutoModelForCausalLM.from_pretrained(FIXTURES / name, attn_implementation="eager", dtype=torch.float32)


def logits(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=ids, use_cache=False).logits.float().contiguous()


def tokens(vocab: int, seed: int) -> torch.Tensor:
    return torch.randint(vocab, (2, 11), generator=torch.Generator().manual_seed(seed))


def generate_one(name: str, model_name: str, keys: dict, seed: int, out: Path) -> None:
    """An adapter of a model that was trained (here: moved), loaded by another model."""
    torch.manual_seed(seed)
    model = get_peft_model(base(model_name), LoraConfig(task_type="CAUSAL_LM", **keys))
    tiny_adapters.randomise(model, seed)
    folder = out / "foreign-adapters" / name
    tiny_adapters.save(model, model_name, folder)
    ids = tokens(model.config.vocab_size, seed)
    read = PeftModel.from_pretrained(base(model_name), folder)
    save_file({"input_ids": ids, "logits": logits(read, ids)}, folder / "expected.safetensors")


def verdict(folder: Path, ids: torch.Tensor) -> dict:
    """The result of PEFT for a directory: the logits of the last position, or an error."""
    try:
        model = PeftModel.from_pretrained(base("tiny-llama-tied"), folder)
        found = logits(model, ids)
    except Exception as error:  # any exception of PEFT is a refusal
        return {"error": type(error).__name__}
    return {"logits": [round(float(value), 6) for value in found[0, -1, :12]]}


def key_changes(out: Path) -> None:
    """`adapter-keys.json`."""
    ids = tokens(67, SEED)
    rows = []
    source = FIXTURES / "tiny-lora"
    original = json.loads((source / "adapter_config.json").read_text(encoding="utf-8"))
    changes = [(key, value) for key, values in CHANGES.items() for value in values]
    changes += [(key, "absent") for key in original]
    with tempfile.TemporaryDirectory() as work:
        for index, (key, value) in enumerate([(None, None), *changes]):
            folder = Path(work) / str(index)
            copytree(source, folder)
            config = dict(original)
            if value == "absent":
                del config[key]
            elif key is not None:
                config[key] = value
            (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
            torch.manual_seed(SEED)
            rows.append({"key": key, "value": value, **verdict(folder, ids)})
    text = ",\n".join(json.dumps(row) for row in rows)
    document = f'{{"input_ids": {json.dumps(ids.tolist())}, "rows": [\n{text}\n]}}\n'
    (out / "adapter-keys.json").write_text(document, encoding="utf-8")


def generate(out: Path) -> None:
    """Write the folders and the file under `out`."""
    for index, (name, (model_name, keys)) in enumerate(CASES.items()):
        generate_one(name, model_name, keys, SEED + index, out)
    key_changes(out)
