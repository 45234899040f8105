"""Rows to token ids with a loss mask, by the specification and independent of the Rust code.

- `messages`: the rendered chat is tokenised once. An assistant turn is trained from the end of its generation prompt to
  its stop token, that token included; the newline that the template puts after it is not.
- `prompt`/`completion`: prompt + completion + EOS is tokenised once; completion and EOS are trained. A token that
  crosses the boundary belongs to the completion.
- `text`: everything, with EOS.
- The first token of a sequence is never a target.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Example:
    """One sample: `trained[t]` says whether token t is a target."""

    id: str
    ids: list[int]
    trained: list[bool]
    weight: float

    @property
    def supervised(self) -> int:
        """Number of trained tokens."""
        return sum(self.trained)


def chat_spans(messages: list[dict], tokenizer: PreTrainedTokenizerFast) -> tuple[str, list[tuple[int, int]]]:
    """The rendered chat and the character range of each assistant turn, stop token included."""
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    spans = []
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = tokenizer.apply_chat_template(messages[:i], tokenize=False, add_generation_prompt=True)
        if not text.startswith(prompt):
            raise ValueError("the template rewrites earlier turns; this reference does not cover that")
        stop = text.index(tokenizer.eos_token, len(prompt) + len(message["content"]))
        spans.append((len(prompt), stop + len(tokenizer.eos_token)))
    return text, spans


def build(row: dict, tokenizer: PreTrainedTokenizerFast, fallback_id: str) -> Example:
    """Tokenise one row of any of the three formats."""
    eos = tokenizer.eos_token
    if "messages" in row:
        text, spans = chat_spans(row["messages"], tokenizer)
    elif "prompt" in row:
        text = row["prompt"] + row["completion"] + eos
        spans = [(len(row["prompt"]), len(text))]
    else:
        text = row["text"] + eos
        spans = [(0, len(text))]
    encoded = tokenizer(text, add_special_tokens="messages" not in row, return_offsets_mapping=True)
    trained = [any(begin < stop and end > start for start, stop in spans) for begin, end in encoded["offset_mapping"]]
    trained[0] = False
    return Example(str(row.get("id", fallback_id)), list(encoded["input_ids"]), trained, float(row.get("weight", 1.0)))


def load(paths: list[Path], tokenizer: PreTrainedTokenizerFast, max_length: int) -> list[Example]:
    """All samples of JSONL files, in order. None may be longer than `max_length`, or have no trained token."""
    result = []
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            example = build(json.loads(line), tokenizer, f"{path.name}:{number}")
            if len(example.ids) > max_length or example.supervised == 0:
                raise ValueError(f"{path.name}:{number}: {len(example.ids)} tokens, {example.supervised} trained")
            result.append(example)
    return result
