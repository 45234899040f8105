"""The cache that `huggingface_hub` writes for a model and a data set of a local Hub.

hub/cache.json: the files of the Hub, and every path of the cache with what a link points to or a file holds
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

SEED = 0
COMMIT = "0123456789abcdef0123456789abcdef01234567"

# Names, texts, and whether the Hub keeps them in LFS.
FILES = {
    "models/o/n": {
        "README.md": ("# A model", False),
        "config.json": ('{"model_type": "llama"}', False),
        "generation_config.json": ("{}", False),
        "model.safetensors": ("not really weights", True),
        "tokenizer.json": ('{"version": "1.0"}', False),
    },
    "datasets/o/d": {
        "README.md": ("# A data set", False),
        "data/train-00000-of-00002.jsonl": ('{"text": "a"}\n', True),
        "data/train-00001-of-00002.jsonl": ('{"text": "b"}\n', True),
        "data/a/b c é.jsonl": ('{"text": "c"}\n', False),
        "test.jsonl": ('{"text": "a"}\n', False),
    },
}


def git_hash(data: bytes) -> str:
    """The hash by which git names a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """The part of the Hub's interface that downloads need."""

    def log_message(self, *args) -> None:
        """Print nothing."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """One answer."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        """As GET, without the body."""
        self.do_GET()

    def do_GET(self) -> None:
        """A repository, its listing, or a file."""
        parts = urlsplit(self.path)
        path = parts.path.removeprefix("/")
        if path.startswith("storage/"):
            data = path.removeprefix("storage/")
            texts = [text.encode() for files in FILES.values() for text, _ in files.values()]
            return self.answer(200, next(text for text in texts if hashlib.sha256(text).hexdigest() == data))
        if path.startswith("api/"):
            repository = "/".join(path.split("/")[1:4])
            files = FILES[repository]
            if "/revision/" in path:
                names = [{"rfilename": name} for name in files]
                return self.json({"id": repository, "sha": COMMIT, "siblings": names})
            assert parse_qs(parts.query)["recursive"] == ["True"] or parse_qs(parts.query)["recursive"] == ["true"]
            return self.json([self.entry(name, *file) for name, file in files.items()])
        repository, rest = path.split("/resolve/")
        name = unquote(rest.split("/", 1)[1])
        files = FILES[repository if repository.startswith("datasets/") else f"models/{repository}"]
        if name not in files:
            return self.answer(404, X_Repo_Commit=COMMIT, X_Error_Code="EntryNotFound")
        data, is_lfs = files[name][0].encode(), files[name][1]
        if not is_lfs:
            return self.answer(200, data, ETag=f'"{git_hash(data)}"', X_Repo_Commit=COMMIT)
        digest = hashlib.sha256(data).hexdigest()
        return self.answer(
            302,
            # Another host than the Hub's, as in reality.
            Location=f"http://localhost:{self.server.server_port}/storage/{digest}",
            X_Linked_ETag=f'"{digest}"',
            X_Linked_Size=str(len(data)),
            X_Repo_Commit=COMMIT,
        )

    def json(self, value: object) -> None:
        """An answer that is JSON."""
        self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

    def entry(self, name: str, text: str, is_lfs: bool) -> dict:
        """A file in a listing."""
        data = text.encode()
        entry = {"type": "file", "oid": git_hash(data), "size": len(data), "path": name}
        if is_lfs:
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return entry


def listing(cache: Path) -> dict[str, str]:
    """Every file below the cache: the target of a link, or the content of a file."""
    paths = sorted(path for path in cache.rglob("*") if path.is_symlink() or path.is_file())
    return {
        path.relative_to(cache).as_posix(): f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        for path in paths
    }


def fetch(cache: Path) -> None:
    """A model without its README, and a data set twice: whole with its card, and one file at a tag."""
    from huggingface_hub import hf_hub_download, snapshot_download

    snapshot_download("o/n", cache_dir=cache, ignore_patterns="*.md")
    snapshot_download("o/d", repo_type="dataset", cache_dir=cache)
    hf_hub_download("o/d", "test.jsonl", repo_type="dataset", revision="refs/convert/x", cache_dir=cache)


def generate(out: Path) -> None:
    """Write the fixture."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        # In a separate process: the package reads its variables once, when it is imported.
        variables = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0", "HF_HOME": folder}
        variables["HF_HUB_DISABLE_TELEMETRY"] = "1"
        subprocess.run([sys.executable, __file__, f"{folder}/hub"], check=True, env={**os.environ, **variables})
        cache = listing(Path(folder) / "hub")
    server.shutdown()
    files = {
        repository: {name: {"text": text, "lfs": is_lfs} for name, (text, is_lfs) in files.items()}
        for repository, files in FILES.items()
    }
    text = json.dumps({"commit": COMMIT, "files": files, "cache": cache}, indent=1, ensure_ascii=False)
    (out / "hub").mkdir(parents=True)
    (out / "hub" / "cache.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
