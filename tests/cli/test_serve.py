from pathlib import Path

import grpc
import pytest

from crossrank.client import RankClient
from crossrank.export.pipeline import ExportReport
from crossrank.inference.ranker.hub import DEFAULT_RANKER
from crossrank.serve.local import local_server
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc


def test_a_server_beside_a_service_of_its_name_serves_further_rankers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSRANK_PORT", "tcp://10.96.7.1:80")
    monkeypatch.setenv("CROSSRANK_METRICS_PORT", "tcp://10.96.7.1:80")
    with local_server("--ranker", f"second={DEFAULT_RANKER}") as (target, _):
        answers = []
        for model in ("", "second"):
            with RankClient(target, model=model) as client:
                answers.append(client.rank("read a file", ["def read(path): ...", "import os"]))
    assert answers[0] == answers[1]


def test_rankers_of_one_server_run_in_variants_of_their_own(tiny: ExportReport, tmp_path: Path) -> None:
    config = tmp_path / "serve.toml"
    config.write_text(
        f'[rankers.own]\npath = "{tiny.directory}"\nvariant = "pruned"\n[rankers]\nplain = "{tiny.directory}"\n'
    )
    with (
        local_server(str(tiny.directory), "--config", str(config), "--variant", "fp32") as (target, _),
        grpc.insecure_channel(target) as channel,
    ):
        models = ranker_pb2_grpc.RankServiceStub(channel).ListModels(ranker_pb2.ListModelsRequest()).models
    variants = {model.name: model.variant for model in models}
    assert variants == {"ranker": "onnx/model.onnx", "own": "onnx/model_pruned.onnx", "plain": "onnx/model.onnx"}
