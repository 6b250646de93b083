"""Clients of others, unmodified, against a real server: each keeps our order and our scores, and shows our errors."""

import json
import os
import subprocess
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from crossrank.v1 import ranker_pb2, ranker_pb2_grpc
from tests.serve.http.conftest import Served, serve

pytestmark = pytest.mark.verify
HERE = Path(__file__).parent
QUERY = "add two numbers"
DOCUMENTS = ["the capital of France", "def add(a, b): return a + b", "def mul(a, b): return a * b"]

# Three environments, since their pins exclude each other. What stands behind the bar is installed without its
# dependencies, which would.
PYTHON = {
    "clients_a.py": "cohere==7.3.1 haystack-ai==3.4.1 huggingface-api-haystack[grpc]==3.1.0 jina-haystack==2.0.1 "
    "vllm-haystack==3.0.1 litellm==1.110.2 voyageai==0.5.0 xinference-client==4.1.0 tei-client==0.2.4 attrs | "
    "infinity-client==0.0.78 rerankers==0.10.0",
    "clients_b.py": "langchain-cohere==0.6.0 langchain-community==0.4.2 langchain-voyageai==0.4.1 | "
    "infinity-client==0.0.78",
    "clients_c.py": "llama-index-postprocessor-cohere-rerank==0.10.0 llama-index-postprocessor-jinaai-rerank==0.6.0 "
    "llama-index-postprocessor-tei-rerank==0.6.0",
}
NODE = "cohere-ai@8.1.0 @ai-sdk/cohere@4.0.52 ai@7.0.173 voyage-ai-provider@4.0.0 voyageai@0.4.0"
# These show no error, whatever a server sends.
SILENT = {"infinity", "langchain infinity", "llama_index tei", "rerankers", "tei_client"}
OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HAYSTACK_TELEMETRY_ENABLED": "False"}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    yield from serve()


@pytest.fixture(scope="module")
def expected(served: Served) -> list[tuple[str, float]]:
    """What gRPC says, as probabilities."""
    with grpc.insecure_channel(served.target) as channel:
        request = ranker_pb2.RankRequest(
            query=QUERY,
            documents=[ranker_pb2.Document(text=text) for text in DOCUMENTS],
            score_kind=ranker_pb2.SCORE_KIND_PROBABILITY,
        )
        response = ranker_pb2_grpc.RankServiceStub(channel).Rank(request, timeout=60)
    return [(DOCUMENTS[result.index], result.score) for result in response.results]


def python(script: str, home: Path) -> list[str]:
    venv.create(home, with_pip=True)
    program = str(home / "bin" / "python")
    wanted, _, alone = PYTHON[script].partition("|")
    subprocess.run([program, "-m", "pip", "install", "-q", *wanted.split()], check=True)
    if alone:
        subprocess.run([program, "-m", "pip", "install", "-q", "--no-deps", *alone.split()], check=True)
    return [program, str(HERE / script)]


def node(script: str, home: Path) -> list[str]:
    home.mkdir()
    (home / script).write_text((HERE / script).read_text())
    (home / "package.json").write_text("{}")
    # The newest of them asks for a newer Node than it needs.
    subprocess.run(["npm", "install", "--force", "--silent", *NODE.split()], check=True, cwd=home)
    return ["node", str(home / script)]


@pytest.mark.parametrize(("script", "environment"), [*((script, python) for script in PYTHON), ("clients.mjs", node)])
def test_clients_of_others_keep_order_and_scores_and_show_errors(
    script: str,
    environment: Callable[[str, Path], list[str]],
    served: Served,
    expected: list[tuple[str, float]],
    tmp_path: Path,
) -> None:
    command = environment(script, tmp_path / "environment")

    def said(query: str) -> dict[str, Any]:
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [*command, served.root, served.target, query, *DOCUMENTS],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**clean, **OFFLINE, "HOME": str(tmp_path)},
        )
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    answers = said(QUERY)
    assert {name: found for name, found in answers.items() if not kept(found, expected)} == {}
    assert len(answers) >= 3
    errors = {name: str(found) for name, found in said(" ").items() if name not in SILENT}
    assert {name: text for name, text in errors.items() if "query: must not be empty" not in text} == {}


def kept(found: object, expected: list[tuple[str, float]]) -> bool:
    """Whether a client has all of the order, or its beginning where it asked for that."""
    if not isinstance(found, list) or len(found) < 2:
        return False
    # Some hold scores in 32 bits and print them so.
    return all(
        text == wanted and score == pytest.approx(best, rel=1e-6)
        for (text, score), (wanted, best) in zip(found, expected, strict=False)
    )
