from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from sentence_transformers.cross_encoder.data_collator import CrossEncoderDataCollator

from crossrank.data.examples import Example
from crossrank.models.cross_encoder import open_cross_encoder, predict
from crossrank.train.fit.losses import CrossEntropyLoss, make_loss
from crossrank.train.materialise import materialise, open_training_set
from crossrank.train.recipe import Loss, LossName
from tests.support.tiny_models import tiny_cross_encoder
from tests.train.data.stored import stored

EXAMPLES = [
    Example("parse a date", ("def parse(date): ...", "def sort(items): ...", "class Tree: ..."), (1.0, 0.25, 0.0)),
    Example("sort a list", ("def sort(items): ...", "def parse(date): ...", "class Tree: ..."), (1.0, 0.25, 0.0)),
    Example("walk a tree", ("class Tree: ...", "def parse(date): ...", "def sort(items): ..."), (1.0, 0.25, 0.0)),
]


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("losses") / "model"
    tiny_cross_encoder("bert", path)
    return path


@pytest.mark.parametrize("name", get_args(LossName))
def test_a_step_lowers_the_loss_of_its_batch(name: LossName, tiny_base: Path, tmp_path: Path) -> None:
    """From the data as they are written for the loss, through the collator that the trainer uses."""
    wanted = Loss(name=name, num_negatives=2, in_batch_negatives=2)
    relabel = iter if name == "margin_mse" else None
    materialise(stored(tmp_path, wanted, (1.0, EXAMPLES)), wanted, tmp_path / "set", relabel=relabel)
    model = open_cross_encoder(str(tiny_base))
    model.eval()  # without dropout, a step down the gradient is a step down
    loss = make_loss(model, wanted)
    collator = CrossEncoderDataCollator(preprocess_fn=model.preprocess)
    rows = list(open_training_set(tmp_path / "set", 0).dataset)
    if wanted.uses_batch:
        rows = rows[::2]  # each query once, as the sampler has it

    def value() -> torch.Tensor:
        torch.manual_seed(0)  # what is drawn from the batch
        inputs, labels = collate(collator, rows)
        found: torch.Tensor = loss(inputs, labels)
        return found

    before = value()
    assert before > 0
    before.backward()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.grad is not None:
                weight -= 1e-3 * weight.grad / weight.grad.norm().clamp(min=1e-3)
    assert value() < before


def collate(collator: Any, rows: list[dict[str, Any]]) -> tuple[Any, Any]:
    batch = collator(rows)
    labels = batch.pop("label", None)
    return [batch[column] for column in rows[0] if column in batch], labels


def test_cross_entropy_is_that_of_the_relevant_document_among_its_own(tiny_base: Path) -> None:
    model = open_cross_encoder(str(tiny_base))
    model.eval()
    loss = make_loss(model, Loss(name="cross_entropy"))
    assert isinstance(loss, CrossEntropyLoss)
    queries = [example.query for example in EXAMPLES]
    columns = [[example.documents[place] for example in EXAMPLES] for place in range(3)]
    logits = torch.stack(
        [torch.from_numpy(predict(model, list(zip(queries, column, strict=True)))) for column in columns], dim=1
    )
    expected = (torch.logsumexp(logits, dim=1) - logits[:, 0]).mean()
    assert loss([queries, *columns], None).item() == pytest.approx(expected.item(), abs=1e-5)
