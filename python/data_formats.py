"""The same rows in the files that pandas, pyarrow and `datasets` write, and the conversations that are in them.

data-formats/: messages.* (nested columns), alpaca.* (flat columns), qa.* (mapped columns)
and expected.json, the conversations of each
"""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features, List, Value

SEED = 0

TOOLS = [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}]
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}

# In a table, a key that a turn does not have is `None`.
MESSAGES = [
    {
        "id": "m1",
        "weight": 0.5,
        "messages": [
            {"role": "system", "content": "Be brief.\nAlways."},
            {"role": "user", "content": 'Grüße, "世界" 🦀, a\\b\tc'},
            {"role": "assistant", "content": "Hallo.", "reasoning_content": "German."},
        ],
    },
    {
        "id": "m2",
        "weight": 1.0,
        "tools": TOOLS,
        "messages": [
            {"role": "user", "content": "1 + 2?"},
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "content": "3", "tool_call_id": "c1"},
            {"role": "assistant", "content": "3"},
        ],
    },
    {"id": "m3", "weight": 0.0, "messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": " a "}]},
]

ALPACA = [
    {"instruction": "Add.", "input": "1, 2", "output": "3"},
    {"instruction": 'Say "a, b"\nand a new line.', "input": "", "output": '"a, b"\n'},
    {"instruction": "NA", "input": "null", "output": "007"},
]

QA = [{"question": "1 + 2?", "answer": "3", "level": 1}, {"question": "2 · 2?", "answer": "4", "level": 2}]


def messages_features() -> Features:
    """Columns as in `datasets`: the first row determines the types of `tools` and of the arguments of calls."""
    call = {
        "type": Value("string"),
        "function": {"name": Value("string"), "arguments": {"a": Value("int64"), "b": Value("int64")}},
    }
    message = {
        "role": Value("string"),
        "content": Value("string"),
        "reasoning_content": Value("string"),
        "tool_calls": List(call),
        "tool_call_id": Value("string"),
    }
    tool = {
        "type": Value("string"),
        "function": {
            "name": Value("string"),
            "description": Value("string"),
            "parameters": {"type": Value("string")},
        },
    }
    return Features({"id": Value("string"), "weight": Value("float64"), "tools": List(tool), "messages": List(message)})


def write_messages(out: Path) -> None:
    """Nested columns: `datasets` to Parquet and JSON Lines, pyarrow with row groups, pandas to JSON and CSV."""
    features = messages_features()
    dataset = Dataset.from_list(
        [{"tools": None, **row, "messages": [fill(message) for message in row["messages"]]} for row in MESSAGES],
        features=features,
    )
    dataset.to_parquet(out / "messages.datasets.parquet")
    dataset.to_json(out / "messages.datasets.jsonl", force_ascii=True)
    table = dataset.data.table.replace_schema_metadata(None)
    pq.write_table(
        table, out / "messages.pyarrow.parquet", row_group_size=1, compression="zstd", data_page_version="2.0"
    )
    text = pd.DataFrame([{**row, "messages": json.dumps(row["messages"])} for row in MESSAGES])
    text["tools"] = [json.dumps(row.get("tools", [])) for row in MESSAGES]
    text.to_csv(out / "messages.pandas.csv.gz", index=False, compression={"method": "gzip", "mtime": 1})
    pd.DataFrame(MESSAGES).to_json(out / "messages.pandas.json", orient="records", indent=2, force_ascii=False)


def fill(message: dict) -> dict:
    """A turn with every key."""
    keys = ("role", "content", "reasoning_content", "tool_calls", "tool_call_id")
    return {key: message.get(key) for key in keys}


def write_alpaca(out: Path) -> None:
    """Flat columns of strings that readers may misinterpret: quotes, newlines, `NA`, `null`, `007`."""
    frame = pd.DataFrame(ALPACA)
    frame.to_csv(out / "alpaca.pandas.csv", index=False, lineterminator="\r\n", encoding="utf-8-sig")
    with pa.CompressedOutputStream(str(out / "alpaca.pandas.tsv.zst"), "zstd") as file:
        file.write(frame.to_csv(index=False, sep="\t").encode())
    frame.to_parquet(out / "alpaca.pandas.parquet")
    Dataset.from_list(ALPACA).to_csv(out / "alpaca.datasets.csv")
    columns = {key: [row[key] for row in ALPACA] for key in ALPACA[0]}
    arrays = {key: pa.array(values, pa.large_string()).dictionary_encode() for key, values in columns.items()}
    pq.write_table(pa.table(arrays), out / "alpaca.pyarrow.parquet", compression="brotli")


def write_expected(out: Path) -> None:
    """The contents of each file, read with the library that wrote it, without absent keys."""
    rows = {"messages": MESSAGES, "alpaca": [], "qa": []}
    for row in ALPACA:
        user = "\n".join(part for part in (row["instruction"], row["input"]) if part)
        rows["alpaca"].append(conversation(user, row["output"]))
    for row in QA:
        rows["qa"].append(conversation(row["question"], row["answer"]) | {"id": str(row["level"])})
    with (out / "expected.json").open("w", encoding="utf-8") as file:
        json.dump(rows, file, ensure_ascii=False, indent=1)
        file.write("\n")


def conversation(user: str, assistant: str) -> dict:
    """One question and its answer."""
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]}


def generate(out: Path) -> None:
    """Write every file."""
    folder = out / "data-formats"
    folder.mkdir(parents=True)
    write_messages(folder)
    write_alpaca(folder)
    pd.DataFrame(QA).to_parquet(folder / "qa.pandas.parquet")
    write_expected(folder)
