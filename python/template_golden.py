"""The renderings of transformers for conversations with chat templates: `templates/handwritten.json`.

The templates are those of `tests/fixtures/templates/*.jinja`, written for the tests in the manner of well-known models,
and the presets. The ids are those of the small tokenizer of `blackbox/model` with the special tokens of the template
added to it, in the order of `tokens`.

For each template: `sha256` of its source, `bos`, `eos`, `tokens`, `replace` (what stands for the date of today), and by
conversation either `error`, or
    text    sha256 of the rendered conversation
    ids     its token ids
    mask    runs [start, end) of trained tokens: from `{% generation %}` marks (`marks`) or by the rule for templates
            without any, from the end of the generation prompt to the stop token (`rule`); absent where neither says
    prompt  sha256 of the conversation up to its last answer, with the generation prompt
"""

import contextlib
import hashlib
import json
import re
from pathlib import Path

from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parent.parent / "tests" / "fixtures"
PRESETS = Path(__file__).resolve().parent.parent / "crates" / "cadft-data" / "src" / "template" / "preset"
SPECIAL = re.compile(
    r"<\|[A-Za-z0-9_ /▁-]+\|>|<｜[^｜]+｜>|<[a-z_]+\|>|<\|[a-z_]+>|<(?:start|end)_of_[a-z]+>"
    r"|\[/?(?:INST|TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS|SYSTEM_PROMPT)\]"
)
TODAY = "26 Jul 2024"
DATE = re.compile(r"""strftime_now\((?:"[^"]*"|'[^']*')\)""")
# Beginnings of template names, with the tokens of their models.
BOS_EOS = {
    "llama3": ("<|begin_of_text|>", "<|eot_id|>"),
    "gemma": ("<bos>", "<end_of_turn>"),
    "diffusion_gemma": ("<bos>", "<turn|>"),
    "gemma4": ("<bos>", "<turn|>"),
    "phi": ("<s>", "<|endoftext|>"),
    "deepseek": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "cohere": ("<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"),
    "glm4moe": (None, "<|endoftext|>"),
    "gptoss": ("<|startoftext|>", "<|return|>"),
    "lfm2": ("<|startoftext|>", "<|im_end|>"),
    "idefics3": ("<|begin_of_text|>", "<end_of_utterance>"),
    "smolvlm": (None, "<end_of_utterance>"),
    "muse_glimmer": (None, "<|eot|>"),
    "qwen": (None, "<|im_end|>"),
    "nemotron": ("<s>", "<|im_end|>"),
    "llava_next": ("<s>", "</s>"),
    "mistral": ("<s>", "</s>"),
    "llama2": ("<s>", "</s>"),
    "zephyr": ("<s>", "</s>"),
    "chatml": (None, "<|im_end|>"),
    "smollm2": ("<|im_start|>", "<|im_end|>"),
    "qwq": (None, "<|im_end|>"),
    "marked": (None, "<|im_end|>"),
}
# The texts that open and end an assistant's turn, if no variant of the template with marks shows them.
TURNS = {
    "mistral": (r"\[/INST\]|\[/TOOL_RESULTS\]", "</s>"),
    "llama2": (r" \[/INST\]", "</s>"),
    "zephyr": (r"<\|assistant\|>\n", "</s>"),
    "deepseekv3": (r"<｜Assistant｜>|<｜tool▁outputs▁end｜>", "<｜end▁of▁sentence｜>"),
    "qwen3_5": (None, None),
    "qwen3_6": (None, None),
    "qwen3_8": (None, None),
    "deepseek_r1": (r"<｜Assistant｜>|<｜tool▁outputs▁end｜>", "<｜end▁of▁sentence｜>"),
    "qwen": (r"<\|im_start\|>assistant\n", "<|im_end|>"),
    "chatml": (r"<\|im_start\|>assistant\n", "<|im_end|>"),
    "smollm2": (r"<\|im_start\|>assistant\n", "<|im_end|>"),
    "qwq": (r"<\|im_start\|>assistant\n", "<|im_end|>"),
    "phi3": (r"<\|assistant\|>\n", "<|end|>"),
    "llama3": (r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n", "<|eot_id|>"),
}


def by_prefix(table: dict, name: str, default):
    """The entry of the longest beginning of `name`."""
    found = [prefix for prefix in table if name.startswith(prefix)]
    return table[max(found, key=len)] if found else default


def conversations() -> dict[str, dict]:
    """Conversations by name, each with `messages` and perhaps `tools`."""
    return json.loads((ROOT / "templates" / "conversations.json").read_text(encoding="utf-8"))


def sha256(text: str) -> str:
    """Hex digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def runs(mask: list[int]) -> list[list[int]]:
    """The ranges in which a mask is set, as [start, end)."""
    edges = [i for i in range(len(mask) + 1) if bool(mask[i - 1] if i else 0) != bool(mask[i] if i < len(mask) else 0)]
    return [list(pair) for pair in zip(edges[::2], edges[1::2], strict=True)]


def tokens_of(encoding, start: int, end: int) -> range:
    """The tokens of characters [start, end), including those that are only partly in the range."""
    inside = [i for i, (a, b) in enumerate(encoding.offset_mapping) if b > start and a < end]
    return range(inside[0], inside[-1] + 1)


class Case:
    """One template with its tokenizer."""

    def __init__(self, name: str, source: str, directory: Path):
        self.name, self.stem = name, name.split("/")[1]
        self.bos, self.eos = by_prefix(BOS_EOS, self.stem, ("<s>", "</s>"))
        self.replace = {date: f"'{TODAY}'" for date in sorted(set(DATE.findall(source)))}
        self.source = source
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        assert isinstance(self.tokenizer, PreTrainedTokenizerFast)
        wanted = [token for token in (self.bos, self.eos) if token] + SPECIAL.findall(source)
        vocabulary = self.tokenizer.get_vocab()
        self.tokens = [token for token in dict.fromkeys(wanted) if token not in vocabulary]
        self.tokenizer.add_special_tokens(
            {"additional_special_tokens": self.tokens}, replace_extra_special_tokens=False
        )
        self.tokenizer.bos_token, self.tokenizer.eos_token = self.bos, self.eos
        for date, text in self.replace.items():
            source = source.replace(date, text)
        self.tokenizer.chat_template = source

    def render(self, messages: list, tools: list | None, prompt: bool = False) -> str:
        return self.tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=prompt)

    def marks(self, messages: list, tools: list | None) -> list[int]:
        """The mask that `{% generation %}` gives."""
        out = self.tokenizer.apply_chat_template(
            messages, tools=tools, return_dict=True, return_assistant_tokens_mask=True
        )
        return out["assistant_masks"]

    def turns(self, text: str, messages: list) -> list[tuple[int, int]] | None:
        """Ranges of the assistant's turns, found by the texts that open and end them; `None` if some are missing."""
        opening, stop = by_prefix(TURNS, self.stem, (None, None))
        if opening is None:
            return None
        found = []
        for match in re.finditer(opening, text):
            end = text.find(stop, match.end())
            # If openings follow each other without a turn in between, the last one opens the turn.
            if end >= 0 and not re.search(opening, text[match.end() : end]):
                found.append((match.end(), end + len(stop)))
        return found if len(found) == sum(message["role"] == "assistant" for message in messages) else None

    def mask(self, conversation: dict, text: str, encoding, variant: "Case | None") -> dict:
        """`{"mask": .., "by": ..}`, or nothing."""
        messages, tools = conversation["messages"], conversation.get("tools")
        if "{% generation" in self.source or "{%- generation" in self.source:
            mask = self.marks(messages, tools)
            return {"mask": runs(mask), "by": "marks"} if any(mask) else {}
        if conversation.get("spells_tokens"):
            # User text that looks like a turn must not be taken for one: only a variant with marks distinguishes them.
            spans = self.variant_spans(conversation, text, encoding, variant)
        else:
            spans = self.turns(text, messages) or self.variant_spans(conversation, text, encoding, variant)
        if not spans:
            return {}
        mask = [0] * len(encoding.input_ids)
        for start, end in spans:
            for token in tokens_of(encoding, start, end):
                mask[token] = 1
        return {"mask": runs(mask), "by": "rule"}

    def variant_spans(self, conversation: dict, text: str, encoding, variant: "Case | None"):
        """Characters of the turns that the variant with marks trains, from the end of the generation prompt to the
        stop token; nothing where the variant renders something else."""
        messages, tools = conversation["messages"], conversation.get("tools")
        if variant is None:
            return None
        try:
            if variant.render(messages, tools) != text:
                return None
        except (TemplateError, TypeError):
            return None
        closed, opened = self.render(messages[:-1], tools), self.render(messages[:-1], tools, prompt=True)
        prompt = opened[len(closed) :] if opened.startswith(closed) else None
        if self.stem.startswith("deepseek"):
            return None  # The variants train the token that opens a turn.
        special = set(self.tokenizer.all_special_ids)
        spans = []
        for first, last in runs(variant.marks(messages, tools)):
            stops = [i for i in range(first, last) if encoding.input_ids[i] in special]
            if not stops or not prompt:
                return None
            start, end = encoding.offset_mapping[first][0], encoding.offset_mapping[stops[-1]][1]
            for before in range(len(prompt) + 1):
                if text[start - before :].startswith(prompt):
                    start = start - before + len(prompt)
                    break
            else:
                return None  # The template opens the turn in another way.
            spans.append((start, end))
        return spans

    def entry(self, variant: "Case | None") -> dict:
        """The entry of this template in the fixture."""
        cases = {}
        for name, conversation in conversations().items():
            messages, tools = conversation["messages"], conversation.get("tools")
            case = {}
            try:
                text = self.render(messages, tools)
                encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
                case = {"text": sha256(text), "ids": encoding.input_ids}
                case |= self.mask(conversation, text, encoding, variant)
            except TemplateError as error:
                # Only errors that the template raises itself have a message to compare.
                case = {"error": str(error)} if type(error) is TemplateError else {"error": "", "why": str(error)}
            except (TypeError, AttributeError) as error:
                case = {"error": "", "why": str(error)}
            with contextlib.suppress(TemplateError, TypeError, AttributeError):
                case["prompt"] = sha256(self.render(messages[:-1], tools, prompt=True))
            cases[name] = case
        return {
            "sha256": sha256(self.source),
            "bos": self.bos,
            "eos": self.eos,
            "tokens": self.tokens,
            "replace": self.replace,
            "cases": cases,
        }


def entries(sources: dict[str, str], directory: Path) -> dict[str, dict]:
    """The entries of several templates in the fixture."""
    result = {}
    for name, source in sources.items():
        marked = sources.get(f"{name}_training")
        variant = None
        if marked is not None:
            # The variant with the tokens of the template itself.
            variant = Case(name, source, directory)
            variant.tokenizer.chat_template = marked
        result[name] = Case(name, source, directory).entry(variant)
    return result


def generate(out: Path) -> None:
    """Write `templates/handwritten.json` under `out`, and beside it the templates and conversations it is made of."""
    folder = out / "templates"
    folder.mkdir()
    for path in (*(ROOT / "templates").glob("*.jinja"), ROOT / "templates" / "conversations.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    sources = {}
    for kind, place in (("own", ROOT / "templates"), ("preset", PRESETS)):
        for path in sorted(place.glob("*.jinja")):
            sources[f"{kind}/{path.stem}"] = path.read_text(encoding="utf-8")
    found = entries(sources, ROOT / "blackbox" / "model")
    lines = [f"{json.dumps(name)}: {json.dumps(entry, ensure_ascii=False)}" for name, entry in found.items()]
    (folder / "handwritten.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
