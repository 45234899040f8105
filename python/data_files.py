"""The same rows in every kind of file, written by pandas, Polars, pyarrow and `datasets`: all must read alike.

data-files/: plain.* (every row has the same keys), calls.* (tools and arguments of different shapes), each with the
rows that are meant in NAME.jsonl; and refused-*.parquet, with a value that no row can have
"""

import datetime
import decimal
import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, load_dataset

SEED = 0

PLAIN = [
    {
        "id": "p1",
        "weight": 0.5,
        "answer": "4",
        "messages": [
            {"role": "user", "content": 'Grüße, "世界" 🦀\na\\b'},
            {"role": "assistant", "content": "4", "turn": 1, "score": 0.1, "good": True, "tags": ["a", ""]},
        ],
    },
    {
        "id": "p2",
        "weight": 0.25,
        "answer": "007",
        "messages": [
            {"role": "user", "content": ""},
            {"role": "assistant", "content": "007", "turn": 9007199254740993, "score": 1e-7, "good": False, "tags": []},
        ],
    },
    {
        "id": "p3",
        "weight": 2.0,
        "answer": "null",
        "messages": [
            {"role": "user", "content": "null"},
            {"role": "assistant", "content": " NaN ", "turn": -1, "score": 3.0, "good": True, "tags": ["b"]},
        ],
    },
]

CALLS = [
    {
        "id": "c1",
        "tools": [tool := {"type": "function", "function": {"name": "f", "parameters": {"city": {"type": "string"}}}}],
        "messages": [
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"city": "Oslo"}}}],
            },
            {"role": "tool", "content": '{"degrees": 3}'},
            {"role": "assistant", "content": "3", "note": {"from": "x"}},
        ],
    },
    {
        "id": "c2",
        "tools": [
            tool,
            {
                "type": "function",
                "function": {"name": "g", "parameters": {"n": {"type": "integer", "enum": [1, 2, None]}}},
            },
        ],
        "messages": [
            {"role": "user", "content": "Sum?"},
            {
                "role": "assistant",
                "tool_calls": [
                    {"type": "function", "function": {"name": "g", "arguments": {"n": [1, "z", {"k": 1.5}]}}}
                ],
            },
            {"role": "tool", "content": "[1]"},
            {"role": "assistant", "content": "1", "note": [1, "two"]},
        ],
    },
]


def dump(value: object) -> str:
    """A value as JSON text, for a column of a table."""
    return json.dumps(value, ensure_ascii=False)


def write_lines(path: Path, rows: list[dict]) -> None:
    """JSON Lines."""
    path.write_text("".join(dump(row) + "\n" for row in rows), encoding="utf-8")


def write_text(out: Path, name: str, rows: list[dict]) -> None:
    """Writes all kinds of text files."""
    write_lines(out / f"{name}.jsonl", rows)
    (out / f"{name}.list.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    flat = [{key: dump(value) if isinstance(value, list) else value for key, value in row.items()} for row in rows]
    pd.DataFrame(flat).to_csv(out / f"{name}.pandas.csv", index=False)
    pd.DataFrame(flat).to_parquet(out / f"{name}.pandas-text.parquet")


def filled(rows: list[dict]) -> list[dict]:
    """The rows with every key in every turn."""
    keys = list(dict.fromkeys(key for row in rows for turn in row["messages"] for key in turn))
    return [{**row, "messages": [{key: turn.get(key) for key in keys} for turn in row["messages"]]} for row in rows]


def arrow_type(string: pa.DataType, real: pa.DataType, listed: type) -> pa.DataType:
    """The type of `messages` of plain rows."""
    fields = [("role", string), ("content", string), ("turn", pa.int64()), ("score", real), ("good", pa.bool_())]
    return listed(pa.struct([*fields, ("tags", listed(string))]))


def arrow_table(string: pa.DataType, real: pa.DataType, weight: pa.DataType, listed: type) -> pa.Table:
    """The plain rows in these types."""
    weights = [row["weight"] for row in PLAIN]
    if pa.types.is_decimal(weight):
        weights = [decimal.Decimal(str(value)) for value in weights]
    elif pa.types.is_float16(weight):
        weights = [np.float16(value) for value in weights]
    encode = (lambda text: text.encode()) if pa.types.is_binary(string) or pa.types.is_large_binary(string) else str

    def encoded(value: object) -> object:
        if isinstance(value, str):
            return encode(value)
        if isinstance(value, dict):
            return {key: encoded(item) for key, item in value.items()}
        return [encoded(item) for item in value] if isinstance(value, list) else value

    column = [[encoded(turn) for turn in row["messages"]] for row in filled(PLAIN)]
    return pa.table(
        {
            "id": pa.array([encode(row["id"]) for row in PLAIN], string),
            "weight": pa.array(weights, weight),
            "answer": pa.array([encode(row["answer"]) for row in PLAIN], string),
            "messages": pa.array(column, arrow_type(string, real, listed)),
        }
    )


def write_plain(out: Path) -> None:
    """Rows with columns of nested types."""
    write_text(out, "plain", PLAIN)
    rows = filled(PLAIN)
    pd.DataFrame(rows).to_parquet(out / "plain.pandas.parquet")
    pl.DataFrame(rows).write_parquet(out / "plain.polars.parquet")
    pl.DataFrame(rows).write_ndjson(out / "plain.polars.jsonl")
    pl.DataFrame(rows).with_columns(pl.col("id").cast(pl.Categorical)).write_parquet(
        out / "plain.polars-categorical.parquet"
    )
    Dataset.from_list(rows).to_parquet(out / "plain.datasets.parquet")
    string, real = pa.string(), pa.float64()
    tables = {
        "pyarrow": arrow_table(string, real, pa.float64(), pa.list_),
        "pyarrow-large": arrow_table(pa.large_string(), real, pa.float32(), pa.large_list),
        "pyarrow-half": arrow_table(string, real, pa.float16(), pa.list_),
        "pyarrow-binary": arrow_table(pa.binary(), real, pa.decimal128(5, 2), pa.list_),
        "pyarrow-large-binary": arrow_table(pa.large_binary(), pa.float32(), pa.decimal256(40, 3), pa.large_list),
    }
    tables["pyarrow-dictionary"] = tables["pyarrow"].set_column(
        2, "answer", tables["pyarrow"]["answer"].combine_chunks().dictionary_encode()
    )
    for name, table in tables.items():
        pq.write_table(table, out / f"plain.{name}.parquet", compression="zstd")
    plain = tables["pyarrow"]
    pq.write_table(
        plain, out / "plain.pyarrow-v2.parquet", data_page_version="2.0", compression="gzip", row_group_size=2
    )
    pq.write_table(plain, out / "plain.pyarrow-schemaless.parquet", store_schema=False, compression="brotli")
    pq.write_table(plain, out / "plain.pyarrow-lz4.parquet", compression="lz4", use_dictionary=False)
    pq.write_table(
        plain,
        out / "plain.pyarrow-delta.parquet",
        use_dictionary=False,
        column_encoding={"id": "DELTA_BYTE_ARRAY", "answer": "DELTA_LENGTH_BYTE_ARRAY"},
    )


def write_calls(out: Path) -> None:
    """Rows whose tools and calls have no common type: JSON in columns."""
    write_text(out, "calls", CALLS)
    cache = out / "cache"
    dataset = load_dataset("json", data_files=str(out / "calls.jsonl"), split="train", cache_dir=str(cache))
    dataset.to_parquet(out / "calls.datasets.parquet")
    dataset.to_json(out / "calls.datasets.jsonl")
    for path in sorted(cache.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    cache.rmdir()
    text = {key: [dump(row[key]) for row in CALLS] for key in ("tools", "messages")}
    columns = {key: pa.ExtensionArray.from_storage(pa.json_(), pa.array(values)) for key, values in text.items()}
    table = pa.table({"id": pa.array([row["id"] for row in CALLS]), **columns})
    pq.write_table(table, out / "calls.pyarrow.parquet")
    pq.write_table(table, out / "calls.pyarrow-schemaless.parquet", store_schema=False)


def write_refused(out: Path) -> None:
    """Files whose second row has an unsupported value."""
    text = ["a", "b"]
    turns = [{"role": "assistant", "content": "a", "score": 1.0}]
    bad = [{"role": "user", "content": "b", "score": 2.0}, {"role": "assistant", "content": "b", "score": float("inf")}]
    maps = pa.array([[(1, "a")], [(2, "b")]], pa.map_(pa.int64(), pa.string()))
    objects = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['[{"role": "assistant", "content": "a"}]', "[{"]))
    tables = {
        "nan": {"text": text, "weight": [1.0, float("nan")]},
        "infinity": {"text": text, "weight": pa.array([1.0, float("inf")], pa.float32())},
        "nested-infinity": {"messages": [turns, bad]},
        "bytes": {"text": pa.array([b"a", b"\xff\xfe"])},
        "json": {"messages": objects},
        "decimal": {"text": text, "id": pa.array([decimal.Decimal(1), decimal.Decimal(2**70)], pa.decimal128(30, 0))},
        "map": {"text": text, "tools": maps},
        "date": {"text": text, "weight": [datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)]},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), out / f"refused-{name}.parquet")


def write_bombs(out: Path) -> None:
    """A few bytes that decompress to gigabytes: a page, a row of many nulls, values with common prefixes."""
    plain = {"compression": "zstd", "write_statistics": False, "store_schema": False}
    table = pa.table({"text": ["a", "a" * (420 << 20)]})
    pq.write_table(table, out / "refused-page.parquet", use_dictionary=False, **plain)
    count = (1 << 25) + 1
    nulls = pa.ListArray.from_arrays(pa.array([0, 1, count], pa.int32()), pa.nulls(count, pa.bool_()))
    pq.write_table(pa.table({"text": ["a", "b"], "tools": nulls}), out / "refused-values.parquet", **plain)
    table = pa.table({"text": ["a" * (1 << 20) + str(index) for index in range(300)]})
    encoding = {"text": "DELTA_BYTE_ARRAY"}
    pq.write_table(table, out / "refused-rows.parquet", use_dictionary=False, column_encoding=encoding, **plain)


def generate(out: Path) -> None:
    """Write every file."""
    folder = out / "data-files"
    folder.mkdir(parents=True)
    write_plain(folder)
    write_calls(folder)
    write_refused(folder)
    write_bombs(folder)
