from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, BertModel, MPNetConfig, MPNetModel

from crossrank.train.packed.batches import Assembler, Plan, plan_pairs
from crossrank.train.packed.encoder import Shape, UnpaddedEncoder
from crossrank.train.packed.inputs import PackedInputs
from crossrank.train.packed.teachers import embed, read_weights, write_rounded
from tests.train.packed.made import made_inputs

CPU = torch.device("cpu")


def _plan(inputs: PackedInputs) -> Plan:
    part = inputs.train[0]
    query = np.repeat(part.queries, 4).astype(np.int64)
    document = part.documents[np.arange(len(query)) % len(part.documents)].astype(np.int64)
    lists = np.arange(len(query)) // 4
    return plan_pairs(query, document, inputs.lengths.astype(np.int64), lists, 24, 1500)[0]


def _padded(inputs: PackedInputs, plan: Plan) -> dict[str, torch.Tensor]:
    batch = Assembler(inputs, CPU).pairs(plan)
    count, longest = len(plan.query), int((plan.query_length + plan.document_length).max()) + 3
    names = ("input_ids", "token_type_ids", "attention_mask")
    padded = {name: torch.zeros(count, longest, dtype=torch.int64) for name in names}
    for name, values in (("input_ids", batch.ids), ("token_type_ids", batch.types), ("attention_mask", 1)):
        padded[name][batch.sequence, batch.positions] = values
    return padded


def test_unpadded_and_padded_training_lose_the_same(tmp_path: Path) -> None:
    inputs = made_inputs(tmp_path)
    plan = _plan(inputs)
    places = torch.from_numpy(plan.places)
    targets = torch.softmax(torch.randn(places.shape, generator=torch.Generator().manual_seed(0)) * 3, 1)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    ours = UnpaddedEncoder(Shape.of(theirs.config.to_dict()), theirs.state_dict())
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-3) for model in (ours, theirs)]
    batch, padded = Assembler(inputs, CPU).pairs(plan), _padded(inputs, plan)
    for _ in range(20):
        losses = []
        for logits, optimizer in zip((ours(batch)[0], theirs(**padded).logits[:, 0]), optimizers, strict=True):
            loss = -(targets * torch.log_softmax(logits[places], 1)).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_a_bi_encoders_vectors_are_the_means_of_its_tokens(tmp_path: Path) -> None:
    inputs = made_inputs(tmp_path)
    vectors = embed(tmp_path / "teacher", Assembler(inputs, CPU), inputs.lengths, 16, CPU, 300)
    model = BertModel.from_pretrained(tmp_path / "teacher").eval()
    for number in (0, 3, len(inputs.lengths) - 1):
        tokens = inputs.tokens[inputs.starts[number] : inputs.starts[number + 1]][:14].tolist()
        ids = torch.tensor([[inputs.special["cls"], *tokens, inputs.special["sep"]]])
        with torch.no_grad():
            expected = F.normalize(model(input_ids=ids).last_hidden_state[0].mean(0), dim=0)
        torch.testing.assert_close(vectors[number], expected, atol=1e-5, rtol=0)


def test_mpnet_gives_what_transformers_gives(tmp_path: Path) -> None:
    inputs = made_inputs(tmp_path)
    torch.manual_seed(3)
    config = MPNetConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.3,
    )
    model = MPNetModel(config).eval()
    model.save_pretrained(tmp_path / "mpnet", safe_serialization=True)
    vectors = embed(tmp_path / "mpnet", Assembler(inputs, CPU), inputs.lengths, 16, CPU, 300)
    for number in (0, 3, len(inputs.lengths) - 1):
        tokens = inputs.tokens[inputs.starts[number] : inputs.starts[number + 1]][:14].astype(int) + 4
        with torch.no_grad():
            states = model(input_ids=torch.tensor([[0, *tokens.tolist(), 2]])).last_hidden_state[0]
        torch.testing.assert_close(vectors[number], F.normalize(states.mean(0), dim=0), atol=1e-5, rtol=0)


def test_rounded_weights_are_near_and_small(tmp_path: Path) -> None:
    torch.manual_seed(0)
    from transformers import BertConfig

    BertModel(BertConfig(vocab_size=500, hidden_size=96, num_hidden_layers=1, num_attention_heads=4)).save_pretrained(
        tmp_path / "wide", safe_serialization=True
    )
    write_rounded(tmp_path / "wide", tmp_path / "rounded")
    before, after = read_weights(tmp_path / "wide"), read_weights(tmp_path / "rounded")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        largest = tensor.abs().amax(-1, keepdim=True)
        assert ((after[name] - tensor).abs() <= largest / 200).all()
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("wide", "rounded")]
    assert sizes[1] < 0.4 * sizes[0]
