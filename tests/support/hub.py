"""A Hugging Face hub on loopback: what huggingface_hub asks for, over directories."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    """Repositories by id and revision; those in `private` want the token, those in `datasets` are no models.

    `served` and `tokens` say what was sent, and which tokens came with requests.
    """

    repositories: dict[str, dict[str, Path]]
    private: set[str] = field(default_factory=set)
    datasets: set[str] = field(default_factory=set)
    token: str = "hf_secret"
    url: str = ""
    served: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def commit(self, repository: str, revision: str) -> str:
        """The commit that a revision stands for; commits stand for themselves."""
        commits = {
            name: hashlib.sha1(f"{repository}@{name}".encode()).hexdigest() for name in self.repositories[repository]
        }
        return revision if revision in commits.values() else commits[revision]

    def directory(self, repository: str, revision: str) -> Path | None:
        for name, directory in self.repositories[repository].items():
            if revision in (name, self.commit(repository, name)):
                return directory
        return None


@contextmanager
def running_hub(hub: Hub) -> Iterator[Hub]:
    """Serves on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

        def _answer(self, *, body: bool) -> None:
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            api = parts[0] == "api"
            kind = (parts[1:] if api else parts)[0]
            parts = parts[2 if api else 1 if kind == "datasets" else 0 :]
            repository, rest = "/".join(parts[:2]), parts[2:]
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            hub.tokens |= {token} - {""}
            allowed = repository not in hub.private or token == hub.token
            known = repository in hub.repositories and (repository in hub.datasets) == (kind == "datasets")
            if not (known and allowed):
                return self._send(401, b"", {"X-Error-Code": "RepoNotFound"}, body)
            revision = rest[1] if len(rest) > 1 else "main"
            directory = hub.directory(repository, revision)
            if directory is None:
                return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"}, body)
            commit = hub.commit(repository, revision)
            files = sorted(path for path in directory.rglob("*") if path.is_file())
            if api:
                listed = [{"rfilename": path.relative_to(directory).as_posix()} for path in files]
                info = {"id": repository, "sha": commit, "siblings": listed, "private": False, "tags": []}
                if rest and rest[0] == "tree":
                    tree = [{"type": "file", "path": e["rfilename"], "size": 1, "oid": "0" * 40} for e in listed]
                    return self._send(200, json.dumps(tree).encode(), {}, body)
                return self._send(200, json.dumps(info).encode(), {}, body)
            path = directory / "/".join(rest[2:])
            if path not in files:
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, body)
            content = path.read_bytes()
            if body:
                hub.served.append("/".join(rest[2:]))
            etag = hashlib.sha256(content).hexdigest()
            return self._send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": commit}, body)

        def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
