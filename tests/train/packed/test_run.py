import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from crossrank.errors import UsageError
from crossrank.train.packed import run as packed_run
from crossrank.train.packed.checkpoint import State
from crossrank.train.packed.evaluate import ndcg_at_10
from crossrank.train.packed.inputs import PackedSet, read_inputs, write_inputs
from crossrank.train.packed.pools import build_pools
from crossrank.train.packed.prepare import prepare_inputs
from tests.train.packed.made import made_inputs, made_recipe


def _events(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def _run(directory: Path, out: Path, steps: int | None = None, limit: float = 600) -> None:
    packed_run.run(
        directory / "inputs.npz", directory / "model", [directory / "teacher"], out, time_limit=limit, max_steps=steps
    )


def test_inputs_come_back(tmp_path: Path) -> None:
    inputs = made_inputs(tmp_path)
    write_inputs(inputs, tmp_path / "inputs.npz")
    again = read_inputs(tmp_path / "inputs.npz")
    assert again.special == inputs.special
    assert again.recipe == inputs.recipe
    np.testing.assert_array_equal(again.tokens, inputs.tokens)
    np.testing.assert_array_equal(again.starts, inputs.starts)
    for part, other in zip(inputs.train + inputs.tune, again.train + again.tune, strict=True):
        assert (part.name, part.facts) == (other.name, other.facts)
        for name in ("queries", "documents", "judged", "grades", "first_stage"):
            np.testing.assert_array_equal(getattr(part, name), getattr(other, name))


def test_a_share_keeps_that_share_of_queries_and_what_they_judge(tmp_path: Path) -> None:
    part = prepare_inputs(made_recipe(tmp_path), 0.25).train[0]
    assert len(part.queries) == 10
    assert len(part.judged) == 10
    assert 10 <= len(part.documents) < 40


def test_another_loss_is_refused(tmp_path: Path) -> None:
    recipe = made_recipe(tmp_path)
    other = recipe.model_copy(update={"loss": recipe.loss.model_copy(update={"name": "rank_net"})})
    with pytest.raises(UsageError, match="list_net"):
        prepare_inputs(other)


def test_a_run_learns_and_its_weights_open_in_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_run, "_REPORT_EVERY", 0.0)
    write_inputs(made_inputs(tmp_path), tmp_path / "inputs.npz")
    out = tmp_path / "out"
    _run(tmp_path, out, steps=150)
    losses = [event["loss"] for event in _events(out) if event["event"] == "step"]
    state = load_file(out / "model.safetensors")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    model.load_state_dict(state)
    results = [event for event in _events(out) if event["event"] == "evaluated" and event["model"] == "result"]
    assert len(results[0]["mean"]) == 2  # the model's and its exit's
    assert load_file(out / "exits.safetensors").keys() == {
        "0.inner.weight",
        "0.inner.bias",
        "0.outer.weight",
        "0.outer.bias",
    }
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_a_killed_run_is_resumed_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_inputs(made_inputs(tmp_path), tmp_path / "inputs.npz")
    _run(tmp_path, tmp_path / "whole", steps=12)

    monkeypatch.setattr(packed_run, "_CHECKPOINT_EVERY", 0.0)
    write, written = State.write, 0

    def killed(state: State, path: Path) -> None:
        nonlocal written
        write(state, path)
        written += 1
        if written == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(State, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            _run(tmp_path, tmp_path / "parts", steps=12)
    _run(tmp_path, tmp_path / "parts", steps=12)
    assert {"at", "event", "step"} <= next(e for e in _events(tmp_path / "parts") if e["event"] == "resumed").keys()
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=1e-6, rtol=0)


def test_a_run_stops_before_its_limit_with_a_model_in_hand(tmp_path: Path) -> None:
    write_inputs(made_inputs(tmp_path), tmp_path / "inputs.npz")
    _run(tmp_path, tmp_path / "out", limit=4.0)
    events = _events(tmp_path / "out")
    assert next(event for event in events if event["event"] == "written")["at"] < 4.0
    assert next(event for event in events if event["event"] == "trained")["at"] < 4.0
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_pools_hold_what_is_judged_and_no_copies_of_it(tmp_path: Path) -> None:
    inputs = made_inputs(tmp_path)
    part = inputs.train[0]
    copied = int(part.judged[0, 1])
    documents = np.append(part.documents, part.documents[copied])
    doubled = PackedSet(part.name, part.facts, part.queries, documents, part.judged, part.grades, part.first_stage)
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(len(inputs.lengths), 16, generator=generator), dim=1)
    pools = build_pools(replace(inputs, train=[doubled]), [vectors], label_weight=5.0, seed=0, log=lambda line: None)
    assert pools.relevant.sum(1).tolist() == [1] * len(part.queries)
    assert (pools.documents[0] == documents[copied]).sum() == 1
    places = pools.documents >= 0
    assert np.isneginf(pools.targets[~places]).all()
    assert np.isfinite(pools.targets[places]).all()
    for row, relevant in zip(pools.documents, pools.relevant, strict=True):
        assert len({text for text in row if text >= 0}) == (row >= 0).sum() or relevant.any()


def test_ndcg_is_that_of_the_order_and_ties_keep_the_candidates_order() -> None:
    part = PackedSet(
        "made",
        {},
        np.array([0], np.int32),
        np.array([1, 2, 3], np.int32),
        np.array([[0, 2]], np.int32),
        np.array([1.0], np.float32),
        np.array([[0, 1, 2]], np.uint16),
    )
    systems = np.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0], [1.0, 1.0, 1.0]], np.float32)
    found = ndcg_at_10(part, lambda query, document: systems)
    assert found[:, 0].tolist() == pytest.approx([1.0, 0.5, 0.5])
