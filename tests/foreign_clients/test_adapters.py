"""Our adapters within the frameworks themselves, and the sentence of each where its framework is missing."""

import importlib
import json
import os
import subprocess
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest

from crossrank.errors import UsageError
from crossrank.inference.scorer import Scorer

QUERY = "add two numbers"
DOCUMENTS = ["the capital of France", "def add(a, b): return a + b", "def mul(a, b): return a * b"]
PACKAGES = {"haystack": "haystack-ai", "langchain": "langchain-core", "llama_index": "llama-index-core"}
VERSIONS = {"haystack": "==3.4.1", "langchain": ">=1,<2", "llama_index": ">=0.14,<0.15"}


@pytest.mark.verify
@pytest.mark.parametrize("framework", PACKAGES)
def test_adapters_keep_the_best_with_our_scores(framework: str, wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "environment", with_pip=True)
    python = tmp_path / "environment" / "bin" / "python"
    wanted = [f"{wheel}[cpu]", PACKAGES[framework] + VERSIONS[framework]]
    subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, Path(__file__).with_name("adapters.py"), framework, QUERY, *DOCUMENTS],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**clean, "HOME": str(tmp_path), "HAYSTACK_TELEMETRY_ENABLED": "False"},
    )
    with Scorer.open() as scorer:
        ranked = scorer.rank(QUERY, DOCUMENTS, top_k=2)
    expected = [[DOCUMENTS[one["corpus_id"]], one["score"], one["corpus_id"]] for one in ranked]
    assert json.loads(done.stdout.splitlines()[-1]) == expected


@pytest.mark.parametrize("framework", PACKAGES)
def test_a_missing_framework_is_one_sentence(framework: str) -> None:
    package = PACKAGES[framework]
    if find_spec({"langchain": "langchain_core"}.get(framework, framework)) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(UsageError, match=f"pip install {package}$"):
        importlib.import_module(f"crossrank.integrations.{framework}")
