"""`python -m benchmarks.packed INPUTS`: a step of packed training next to the same pairs padded, with its profile."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForSequenceClassification

from benchmarks.commands import run_command
from benchmarks.interleave import interleave
from crossrank.train.packed.batches import Assembler, Batch
from crossrank.train.packed.encoder import Shape, UnpaddedEncoder
from crossrank.train.packed.inputs import PackedInputs, read_inputs
from crossrank.train.packed.objective import losses
from crossrank.train.packed.pools import Pools, batches
from crossrank.train.packed.teachers import read_weights

_LONGEST, _LIST_SIZE = 192, 12
_PADDED_PAIRS = 16


def main(
    inputs: Annotated[Path, typer.Argument(help="File that `crossrank train --prepare` wrote.")],
    base: Annotated[Path, typer.Option(help="Directory of a BERT cross-encoder.")],
    tokens: Annotated[int, typer.Option(min=1024, help="Tokens of a step.")] = 8192,
    rounds: Annotated[int, typer.Option(min=1, help="Measured rounds of two steps.")] = 7,
    operators: Annotated[int, typer.Option(min=1, help="Rows of the profile.")] = 12,
) -> None:
    """Measure pairs a second of packed and of padded training, and profile a step."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    packed = read_inputs(inputs)
    drawn = _batches(packed, tokens)
    steps = {"padded": _padded(packed, base, device, dtype), "packed": _packed(packed, base, device, dtype)}
    if device.type == "cuda":
        steps["packed, compiled"] = _packed(packed, base, device, dtype, compiled=True)
    pairs = sum(batch.pairs for batch in drawn)
    measured = interleave({name: _each(step, drawn, device) for name, step in steps.items()}, rounds)
    padded = np.array(measured.seconds["padded"])
    for name, seconds in measured.seconds.items():
        ratios = padded / np.array(seconds)
        print(
            json.dumps(
                {
                    "training": name,
                    "pairs_per_second": round(pairs / float(np.median(seconds)), 1),
                    "tokens_per_second": round(len(drawn) * tokens / float(np.median(seconds))),
                    "ratio_to_padded": [round(float(value), 2) for value in np.quantile(ratios, (0.5, 0.0, 1.0))],
                }
            )
        )
    last = list(steps)[-1]
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as profiled:
        _each(steps[last], drawn[:1], device)()
    order = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
    print(last)
    print(profiled.key_averages().table(sort_by=order, row_limit=operators, max_name_column_width=48))


def _batches(packed: PackedInputs, tokens: int) -> list[Batch]:
    """Two batches of real pairs: a query with what it judges and what BM25 found."""
    rows = []
    for part in packed.train:
        found = part.documents[np.where(part.first_stage < len(part.documents), part.first_stage, 0)]
        rows.append((part.queries, _widened(found.astype(np.int32))))
    query = np.concatenate([queries for queries, _ in rows])
    documents = np.concatenate([found for _, found in rows])
    shape, draw = documents.shape, np.random.default_rng(0)
    targets = draw.normal(size=shape).astype(np.float32)
    pools = Pools(query, documents, np.zeros(shape, bool), targets, np.ones(len(query), np.float32))
    made = batches(
        pools, packed.lengths, seed=0, first=0, size=_LIST_SIZE, longest=lambda number: _LONGEST, budget=tokens
    )
    return [next(made) for _ in range(2)]


def _widened(found: Any) -> Any:
    wide = np.full((len(found), _LIST_SIZE), -1, np.int32)
    wide[:, : min(found.shape[1], _LIST_SIZE)] = found[:, :_LIST_SIZE]
    return wide


def _each(step: Callable[[Batch], None], drawn: list[Batch], device: torch.device) -> Callable[[], None]:
    def run() -> None:
        for batch in drawn:
            step(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


def _packed(
    packed: PackedInputs, base: Path, device: torch.device, dtype: torch.dtype, *, compiled: bool = False
) -> Callable[[Batch], None]:
    shape = Shape.of(json.loads((base / "config.json").read_text()))
    model = UnpaddedEncoder(shape, read_weights(base)).to(device)
    assembler = Assembler(packed, device)
    if compiled:
        model.compile_layers(lambda function: torch.compile(function, dynamic=False))
    return _stepping(model, lambda batch: losses(model, assembler, batch, dtype)[0])


def _padded(packed: PackedInputs, base: Path, device: torch.device, dtype: torch.dtype) -> Callable[[Batch], None]:
    """The same pairs in mini-batches of like length, each padded to its longest, as transformers takes them."""
    model = AutoModelForSequenceClassification.from_pretrained(base).to(device).eval()
    assembler = Assembler(packed, device)

    def loss(batch: Batch) -> Tensor:
        tokens = assembler.pairs(batch.plan)
        bounds = torch.cat((tokens.sequences.first, torch.tensor([len(tokens.ids)], device=device))).tolist()
        real = np.sort(batch.plan.places[batch.plan.places >= 0]).tolist()
        parts = []
        for start in range(0, len(real), _PADDED_PAIRS):
            some = real[start : start + _PADDED_PAIRS]
            spans = [slice(bounds[place], bounds[place + 1]) for place in some]
            features = {
                "input_ids": _stack([tokens.ids[span] for span in spans]),
                "token_type_ids": _stack([tokens.types[span] for span in spans]),
                "attention_mask": _stack([torch.ones_like(tokens.ids[span]) for span in spans]),
            }
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                parts.append(model(**features).logits[:, 0])
        logits = torch.full((len(batch.plan.query),), -torch.inf, device=device)
        logits[torch.tensor(real, device=device)] = torch.cat(parts).float()
        places = torch.from_numpy(batch.plan.places).to(device)
        lists = logits[places.clamp(min=0)].masked_fill(places < 0, -torch.inf)
        shares = torch.softmax(torch.from_numpy(batch.targets).to(device).masked_fill(places < 0, -torch.inf), 1)
        return -(shares * torch.log_softmax(lists, 1).masked_fill(places < 0, 0.0)).sum(1).mean()

    return _stepping(model, loss)


def _stack(rows: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def _stepping(model: torch.nn.Module, loss: Callable[[Batch], Tensor]) -> Callable[[Batch], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step(batch: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(batch).backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    run_command(main)
