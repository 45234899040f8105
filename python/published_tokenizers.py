"""The results of transformers for texts and conversations with published tokenizers (`cargo xtask fetch tokenizers`).

Reads `{"texts": [..], "conversations": {name: {"messages": [..], "tools": [..]}}}` from standard input, and prints for each
directory of the command line, by its name:
    texts          token ids of each text, without the tokens that a model begins with
    special        the same with them
    conversations  absent without a chat template; by name `error`, or the rendered `text` and its `ids`
"""

import json
import sys
from pathlib import Path

from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer


def conversation(tokenizer, row: dict) -> dict:
    """One conversation under the tokenizer's own template."""
    tools = row.get("tools") or None
    try:
        text = tokenizer.apply_chat_template(row["messages"], tools=tools, tokenize=False)
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
        return {"error": str(error)}
    return {"text": text, "ids": tokenizer(text, add_special_tokens=False).input_ids}


def main() -> None:
    """Reads the question, prints the answer."""
    wanted = json.load(sys.stdin)
    found = {}
    for directory in map(Path, sys.argv[1:]):
        tokenizer = AutoTokenizer.from_pretrained(directory)
        answer = {
            "texts": [tokenizer(text, add_special_tokens=False).input_ids for text in wanted["texts"]],
            "special": [tokenizer(text).input_ids for text in wanted["texts"]],
        }
        if tokenizer.chat_template:
            answer["conversations"] = {
                name: conversation(tokenizer, row) for name, row in wanted["conversations"].items()
            }
        found[directory.name] = answer
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
