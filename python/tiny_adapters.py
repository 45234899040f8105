"""Random PEFT adapters on tiny checkpoints, and the results of PEFT for them.

Each folder holds `adapter_config.json` and `adapter_model.safetensors` as `save_pretrained` writes them (lists sorted),
for the checkpoint that `base_model_name_or_path` names, and `expected.safetensors` (f64, rounded to f32):

    input_ids [2, 11]; logits [2, 11, vocab]; loss [1]; grad.{name}; trained.{name} (after ten steps);
    losses [10], grad_norms [10] (before clipping)

and for the cases of `LORAPLUS` also loraplus.{name}: after ten steps of PEFT's LoRA+ optimizer, with ratio 16 and without decay.

Names are PEFT's without `base_model.model.` and without the adapter's own name. The steps are those of
`tiny_llama.py`; magnitude vectors do not decay either.
"""

import json
from pathlib import Path
from random import Random

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import tiny_llama
from double_precision import to_f64
from optimizer import step, update

SEED = 20250805
# `all-linear` and a list; LoRA, rsLoRA and DoRA; no module saved, the output weight, the tied embedding.
CASES: dict[str, tuple[str, dict]] = {
    "tiny-lora": ("tiny-llama-tied", {"r": 3, "lora_alpha": 5, "target_modules": "all-linear"}),
    "tiny-rslora": (
        "tiny-llama-untied",
        {
            "r": 4,
            "lora_alpha": 3,
            "use_rslora": True,
            "target_modules": ["q_proj", "o_proj", "up_proj"],
            "modules_to_save": ["lm_head"],
        },
    ),
    "tiny-dora": (
        "tiny-llama-tied",
        {
            "r": 2,
            "lora_alpha": 4,
            "use_dora": True,
            "target_modules": ["q_proj", "v_proj", "down_proj"],
            "modules_to_save": ["embed_tokens"],
            "ensure_weight_tying": True,
        },
    ),
    "tiny-phi3-lora": ("tiny-phi3-untied", {"r": 2, "lora_alpha": 3, "target_modules": "all-linear"}),
    "tiny-glm4-dora": (
        "tiny-glm4-untied",
        {"r": 3, "lora_alpha": 4, "use_dora": True, "target_modules": ["k_proj", "gate_up_proj", "down_proj"]},
    ),
    "tiny-granite-lora": ("tiny-granite-untied", {"r": 2, "lora_alpha": 5, "target_modules": "all-linear"}),
    "tiny-qwen3-moe-lora": (
        "tiny-qwen3-moe-tied",
        {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj", "v_proj"], "modules_to_save": ["gate"]},
    ),
    "tiny-olmoe-dora": (
        "tiny-olmoe-untied",
        {"r": 2, "lora_alpha": 5, "use_dora": True, "target_modules": ["k_proj", "o_proj"]},
    ),
    "tiny-qwen3-5-lora": ("tiny-qwen3-5-tied", {"r": 2, "lora_alpha": 3, "target_modules": "all-linear"}),
    "tiny-gemma4-lora": ("tiny-gemma4-tied", {"r": 3, "lora_alpha": 4, "target_modules": "all-linear"}),
}

# Cases that are also trained by LoRA+.
LORAPLUS = ("tiny-lora", "tiny-glm4-dora")
FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "fixtures"


def plain(name: str) -> str:
    """The name in the adapter's file, without PEFT's prefix."""
    name = name.removeprefix("base_model.model.").replace(".modules_to_save.default", "")
    return name.replace("lora_magnitude_vector.default.weight", "lora_magnitude_vector").replace(".default", "")


def trained(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    """The parameters that an optimizer updates, by plain name."""
    return {plain(name): p for name, p in model.named_parameters() if p.requires_grad}


def randomise(model: PeftModel, seed: int) -> None:
    """Seeded noise on every trained parameter, so that neither factor is zero."""
    rng = Random(seed)
    with torch.no_grad():
        for p in trained(model).values():
            noise = torch.tensor([rng.gauss(0.0, 0.15) for _ in range(p.numel())], dtype=p.dtype)
            p.add_(noise.view(p.shape))


def save(model: PeftModel, base: str, out: Path) -> None:
    """PEFT's two files, with sets in a fixed order and nothing that depends on the machine."""
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(out)
    (out / "README.md").unlink()
    path = out / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("target_modules", "modules_to_save"):
        config[key] = sorted(config[key]) if isinstance(config[key], list) else config[key]
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def optimizer_of(model: PeftModel) -> torch.optim.AdamW:
    """AdamW that does not decay magnitudes."""
    by_name = trained(model)
    groups = [
        {"params": [p for n, p in by_name.items() if "magnitude" not in n], "weight_decay": 0.01},
        {"params": [p for n, p in by_name.items() if "magnitude" in n], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, foreach=False)


def loraplus(base: str, adapter: Path, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """The adapter after ten steps with PEFT's groups of learning rates."""
    model = AutoModelForCausalLM.from_pretrained(FIXTURES / base, attn_implementation="sdpa")
    model = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    to_f64(model.get_base_model())
    optimizer = create_loraplus_optimizer(
        model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16, betas=(0.9, 0.95), eps=1e-8, foreach=False
    )
    for _ in range(tiny_llama.STEPS):
        tiny_llama.nll(model, ids).backward()
        update(model, optimizer, 1.0)
    return {k: p.detach() for k, p in trained(model).items()}


def generate_one(name: str, base: str, keys: dict, seed: int, out: Path) -> None:
    """One adapter folder."""
    # The checkpoint is the committed one: the same bytes that the tests load.
    model = AutoModelForCausalLM.from_pretrained(FIXTURES / base, attn_implementation="sdpa")
    torch.manual_seed(seed)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **keys))
    randomise(model, seed)
    save(model, base, out)
    to_f64(model.get_base_model())
    vocab = model.config.vocab_size
    ids = torch.randint(vocab, (2, 11), generator=torch.Generator().manual_seed(seed + 1))
    with torch.no_grad():
        expected = {"input_ids": ids, "logits": model(input_ids=ids, use_cache=False).logits}
    loss = tiny_llama.nll(model, ids)
    loss.backward()
    expected["loss"] = loss.detach()[None]
    expected |= {f"grad.{k}": p.grad.clone() for k, p in trained(model).items()}
    model.zero_grad()
    optimizer, losses, norms = optimizer_of(model), [], []
    for _ in range(tiny_llama.STEPS):
        loss = tiny_llama.nll(model, ids)
        loss.backward()
        losses.append(loss.item())
        norms.append(step(model, optimizer, 1e-3, 1.0))
    expected |= {f"trained.{k}": p.detach() for k, p in trained(model).items()}
    if name in LORAPLUS:
        expected |= {f"loraplus.{k}": value for k, value in loraplus(base, out, ids).items()}
    expected |= {"losses": torch.tensor(losses), "grad_norms": torch.tensor(norms)}
    rounded = {k: (v.float() if v.is_floating_point() else v).contiguous() for k, v in expected.items()}
    save_file(rounded, out / "expected.safetensors")


def generate(out: Path) -> None:
    """Write the adapter folders under `out`."""
    for i, (name, (base, keys)) in enumerate(CASES.items()):
        generate_one(name, base, keys, SEED + 100 + 10 * i, out / name)
