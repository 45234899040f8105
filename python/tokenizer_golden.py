"""The results of transformers for tokenizer directories: `tokenizers.json`.

Each case is the directory of `blackbox/model` with some keys of `tokenizer_config.json` set (`null` removes one) and
other files beside it. Of each: the ids of `TEXTS`, the size of the vocabulary, the end-of-sequence token, and the text
of a question without and with tools; or nothing where transformers fails.
"""

import json
import os
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
from transformers import AutoTokenizer
from transformers.utils import logging

ROOT = Path(__file__).resolve().parent.parent / "tests" / "fixtures"
MODEL = ROOT / "blackbox" / "model"
TEXTS = ["Hello <x> world", "a<x>b <y>\n c", "<|im_start|>user\nH e l l o<|im_end|>", " leading", "Hello, 12345!"]
MESSAGES = [{"role": "user", "content": "q"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
SHOWN = (
    "{{ bos_token }}|{{ eos_token }}|{{ unk_token }}|{{ sep_token }}|{{ pad_token }}|{{ cls_token }}|{{ mask_token }}|"
    "{{ image_token }}|{{ q_token }}|{{ additional_special_tokens }}|{{ extra_special_tokens }}|{{ messages[0].content }}"
)
PLAIN = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
ADDED = {"__type": "AddedToken", "special": True, **PLAIN}

# Keys of `tokenizer_config.json`, each with values from published models.
KEYS = {
    "add_bos_token": [True, False],
    "add_eos_token": [True, False],
    "add_prefix_space": [True, False],
    "additional_special_tokens": [["<x>"], ["<x>", "<y>"], []],
    "auto_map": [{"AutoTokenizer": ["a.B", None]}],
    "backend": ["tokenizers"],
    "bos_token": ["<|im_start|>", "<x>", {**ADDED, "content": "<x>", "rstrip": True}],
    "clean_up_tokenization_spaces": [True, False],
    "cls_token": ["<x>"],
    "do_lower_case": [True],
    "eos_token": ["<|endoftext|>", "H", {**ADDED, "content": "<|im_end|>", "lstrip": True}],
    "eos_token_id": [5],
    "errors": ["replace"],
    "extra_special_tokens": [["<x>"], {"image_token": "<x>"}, {}],
    "image_token": ["<x>"],
    "is_local": [True],
    "legacy": [True, False],
    "mask_token": ["<x>", {**ADDED, "content": "<x>", "lstrip": True}],
    "max_length": [4],
    "model_input_names": [["input_ids"]],
    "model_max_length": [4, 1000000000000000019884624838656],
    "model_specific_special_tokens": [{"q_token": "<x>"}],
    "name_or_path": ["x"],
    "pad_to_multiple_of": [8],
    "pad_token": ["<|im_end|>", "<x>"],
    "pad_token_type_id": [0],
    "padding_side": ["left", "right"],
    "processor_class": ["AProcessor"],
    "sep_token": ["<x>"],
    "sp_model_kwargs": [{}],
    "special_tokens_map_file": ["x"],
    "split_special_tokens": [True, False],
    "stride": [0],
    "strip_accents": [True],
    "tokenize_chinese_chars": [True],
    "tokenizer_class": ["PreTrainedTokenizerFast", "TokenizersBackend", "Qwen2Tokenizer", "GPT2Tokenizer"],
    "tokenizer_file": ["/nowhere"],
    "truncation_side": ["left"],
    "unk_token": ["<x>", "<|endoftext|>"],
    "use_default_system_prompt": [True],
    "use_fast": [False],
    "verbose": [False],
    "vocab_size": [4, 49152],
}
WITHOUT_ADDED = {"added_tokens_decoder": None}
TEMPLATES = [
    {"config": {"chat_template": {"default": "D", "tool_use": "T"}}},
    {"config": {"chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]}},
    {"config": {"chat_template": [{"name": "rag", "template": "R"}, {"name": "default", "template": "D"}]}},
    {"config": {"chat_template": [{"name": "tool_use", "template": "T"}]}},
    {"config": {"chat_template": "C"}, "files": {"chat_template.jinja": "J\r\n{{ messages[0].content }}\n"}},
    {"config": {"chat_template": "C"}, "files": {"additional_chat_templates/tool_use.jinja": "T"}},
    {"files": {"chat_template.jinja": "J", "additional_chat_templates/tool_use.jinja": "T"}},
    {"files": {"chat_template.jinja": "J", "additional_chat_templates/rag.jinja": "R"}},
    {"config": {"chat_template": "C"}, "files": {"chat_template.json": {"chat_template": "P"}}},
]
OTHERS = [
    {"config": {"added_tokens_decoder": {"320": {**PLAIN, "content": "<x>", "special": False}}}},
    {"config": {"added_tokens_decoder": {"320": {**PLAIN, "content": "<x>", "special": True, "rstrip": True}}}},
    {"config": {"added_tokens_decoder": {}}},
    {"config": WITHOUT_ADDED, "files": {"special_tokens_map.json": {"eos_token": "<|endoftext|>", "sep_token": "<x>"}}},
    {
        "config": WITHOUT_ADDED,
        "files": {"special_tokens_map.json": {"mask_token": {**PLAIN, "content": "<x>", "lstrip": True}}},
    },
    {"config": WITHOUT_ADDED, "files": {"special_tokens_map.json": {"additional_special_tokens": ["<x>", "<y>"]}}},
    {"config": WITHOUT_ADDED, "files": {"added_tokens.json": {"<x>": 320, "<y>": 321}}},
    {"files": {"special_tokens_map.json": {"eos_token": "<|endoftext|>", "sep_token": "<x>"}}},
    {"files": {"added_tokens.json": {"<x>": 320}}},
    {"config": {"additional_special_tokens": ["<x>"], "extra_special_tokens": ["<y>"]}},
    {
        "config": {**WITHOUT_ADDED, "additional_special_tokens": None},
        "files": {"special_tokens_map.json": {"additional_special_tokens": ["<x>", "<y>"]}},
    },
    {"config": WITHOUT_ADDED, "files": {"special_tokens_map.json": {"extra_special_tokens": ["<x>", "<y>"]}}},
    {"config": {"bos_token": "<x>", "sep_token": "<y>", "pad_token": None}},
    {"config": {"eos_token": None, "pad_token": None}},
]


def cases() -> list[dict]:
    """Every case without its expected values."""
    keys = [{"config": {key: value}} for key, values in KEYS.items() for value in values]
    shown = {"chat_template": SHOWN}
    # Python's tokenizer classes add special tokens, which only a template would show.
    unshown = [case for case in keys if "tokenizer_class" in case["config"]]
    cases = [{"config": {}}, *unshown] + [{"config": {**shown, **case["config"]}} for case in keys if case not in unshown]
    cases += TEMPLATES + [{**case, "config": {**shown, **case.get("config", {})}} for case in OTHERS]
    return [{"config": {}, "files": {}, **case} for case in cases]


def write(folder: Path, case: dict) -> None:
    """The directory of a case."""
    (folder / "tokenizer.json").write_bytes((MODEL / "tokenizer.json").read_bytes())
    config = json.loads((MODEL / "tokenizer_config.json").read_text(encoding="utf-8")) | case["config"]
    config = {key: value for key, value in config.items() if value is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    for name, content in case["files"].items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((content if isinstance(content, str) else json.dumps(content)).encode())


def expected(case: dict) -> dict:
    """The result of transformers for a case."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), case)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            chat = {"conversation": MESSAGES, "tokenize": False, "add_generation_prompt": True}
            return {
                "ids": [tokenizer(text, add_special_tokens=False).input_ids for text in TEXTS],
                "whole": [tokenizer(text).input_ids for text in TEXTS],
                "size": len(tokenizer),
                "eos": tokenizer.eos_token_id,
                "plain": tokenizer.apply_chat_template(**chat),
                "tools": tokenizer.apply_chat_template(**chat, tools=TOOLS),
            }
        except (AttributeError, OSError, TypeError, ValueError) as error:
            return {"why": f"{type(error).__name__}: {error}"[:100]}


def generate(out: Path) -> None:
    """Write `tokenizers.json` under `out`."""
    logging.set_verbosity_error()
    lines = [json.dumps({**case, **expected(case)}, ensure_ascii=False) for case in cases()]
    head = json.dumps({"texts": TEXTS, "tools": TOOLS}, ensure_ascii=False)[1:-1]
    text = f'{{{head}, "cases": [\n' + ",\n".join(lines) + "\n]}\n"
    (out / "tokenizers.json").write_text(text, encoding="utf-8")
