"""The run: embed with the teachers, build pools, train against the clock, evaluate, keep what can be resumed."""

import json
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from crossrank.train.packed.batches import Assembler, Plan, ahead, gathered, moved
from crossrank.train.packed.encoder import Shape, UnpaddedEncoder
from crossrank.train.packed.evaluate import Score, cosine_scores, model_scores, ndcg_at_10
from crossrank.train.packed.inputs import PackedInputs, read_inputs
from crossrank.train.packed.pools import Pools, build_pools, plans
from crossrank.train.packed.teachers import embed, read_weights

# A run ends this long before its limit, with its model written and evaluated.
_RESERVE = 45.0
_CHECKPOINT_EVERY = 30.0
# The last part of a run reads pairs at full length; in it, the weights of every so many steps are averaged.
_FULL_LENGTH_FROM, _AVERAGE_FROM, _AVERAGE_EVERY = 0.82, 0.88, 10
_TEACHER_LENGTH = 256
_QUICK_QUERIES = 120
_RELEVANCE_SHARE = 0.05


@dataclass(slots=True)
class Run:
    """A packed run and where it is.

    Attributes:
        inputs, recipe: what is learnt, and how.
        out: where the log, the checkpoint and the result go.
        device: what it runs on.
        began: when this process began, by `time.monotonic`.
        before: seconds of training before it, in processes that were stopped.
    """

    inputs: PackedInputs
    recipe: dict[str, Any]
    out: Path
    device: torch.device
    began: float = field(default_factory=time.monotonic)
    before: float = 0.0
    step: int = 0
    averaged: int = 0

    def log(self, kind: str, **facts: Any) -> None:
        """One line, for people on standard output and for programs in log.jsonl."""
        line = json.dumps({"at": round(time.monotonic() - self.began, 1), "event": kind, **facts})
        print(line, flush=True)
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def run(
    inputs_path: Path,
    base: Path,
    teachers: list[Path],
    out: Path,
    *,
    time_limit: float,
    max_steps: int | None = None,
    compiled: bool = True,
) -> UnpaddedEncoder:
    """Trains on packed inputs and writes weights by transformers' names; resumes where a run in `out` stopped.

    Args:
        inputs_path: of `write_inputs`.
        base: model directory with config.json and model.safetensors, from whose weights training starts.
        teachers: bi-encoders' directories; their cosines, fused, are what is learnt beside the judgements.
        out: a directory, made if missing.
        time_limit: seconds from now; the model is written before them.
        max_steps: ends earlier, and makes the schedule a function of steps alone.
        compiled: whether layers are compiled on a GPU.
    """
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    this = Run(read_inputs(inputs_path), {}, out, device)
    this.recipe = tomllib.loads(this.inputs.recipe)
    assembler = Assembler(this.inputs, device)
    this.log("read", texts=len(this.inputs.lengths), tokens=len(this.inputs.tokens), device=str(device))
    pools, cosines = _pools(this, assembler, teachers)
    packed = this.recipe["packed"]
    config = json.loads((base / "config.json").read_text())
    model = UnpaddedEncoder(Shape.of(config), read_weights(base), tuple(packed.get("exits", ()))).to(device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    budget = packed["tokens_per_batch"]
    score = model_scores(model, assembler, this.inputs.lengths, this.recipe["max_length"], budget, dtype)
    if cosines:
        _evaluate(this, "teachers", cosine_scores(cosines), None)
    del cosines
    _evaluate(this, "base", score, _QUICK_QUERIES)
    _train(this, model, pools, assembler, score, dtype, this.began + time_limit, max_steps, compiled)
    _evaluate(this, "result", score, None)
    _write(model, out)
    return model


def _pools(this: Run, assembler: Assembler, teachers: list[Path]) -> tuple[Pools, list[Tensor]]:
    kept = this.out / "pools.safetensors"
    if kept.is_file():
        return Pools.read(kept), []
    budget = 262144 if this.device.type == "cuda" else 8192
    vectors = []
    for teacher in teachers:
        vectors.append(embed(teacher, assembler, this.inputs.lengths, _TEACHER_LENGTH, this.device, budget))
        this.log("embedded", teacher=teacher.name)
    pools = build_pools(
        this.inputs,
        vectors,
        label_weight=this.recipe.get("distillation", {}).get("label_weight", 0.0),
        seed=this.recipe.get("seed", 42),
        log=lambda line: this.log("pool", source=line),
    )
    pools.write(kept)
    this.log("pools", queries=len(pools.query), places=pools.documents.shape[1])
    return pools, vectors


def _evaluate(this: Run, who: str, score: Score, most: int | None) -> float:
    """Logs each set's mean nDCG@10 by system; returns the mean of the first system over the sets."""
    found = {part.name: ndcg_at_10(part, score, most).mean(1) for part in this.inputs.tune}
    this.log(
        "evaluated",
        model=who,
        step=this.step,
        queries=most,
        ndcg_at_10={name: [round(float(value), 4) for value in values] for name, values in found.items()},
        mean=[round(float(value), 4) for value in np.mean(list(found.values()), axis=0)] if found else [],
    )
    return float(np.mean([values[0] for values in found.values()])) if found else 0.0


def _train(
    this: Run,
    model: UnpaddedEncoder,
    pools: Pools,
    assembler: Assembler,
    score: Score,
    dtype: torch.dtype,
    ends: float,
    max_steps: int | None,
    compiled: bool,
) -> None:
    settings, packed = this.recipe["training"], this.recipe["packed"]
    on_gpu = this.device.type == "cuda"
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": settings.get("weight_decay", 0.01)},
            {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0},
        ],
        lr=settings["learning_rate"],
        betas=(0.9, 0.98),
        fused=on_gpu,
    )
    average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    _resume(this, model, optimizer, average)
    began = time.monotonic()
    available = ends - _RESERVE - began + this.before

    def progress(step: int) -> float:
        by_steps = step / max_steps if max_steps else 0.0
        return by_steps if max_steps else min((this.before + time.monotonic() - began) / max(available, 1e-9), 1.0)

    def longest(number: int) -> int:
        full = progress(number) >= _FULL_LENGTH_FROM
        return int(this.recipe["max_length"] if full else this.recipe["training_max_length"])

    if compiled and on_gpu:
        model.compile_layers(lambda function: torch.compile(function, dynamic=False))
    batches = ahead(
        plans(
            pools,
            this.inputs.lengths,
            seed=this.recipe.get("seed", 42),
            first=this.step,
            size=packed["list_size"],
            longest=longest,
            budget=packed["tokens_per_batch"],
        )
    )
    pairs, losses, reported, kept = 0, [], time.monotonic(), time.monotonic()
    model.train()
    for plan, targets, relevant in batches:
        share = progress(this.step)
        if share >= 1.0:
            break
        rate = settings["learning_rate"] * min(1.0, share / max(settings.get("warmup_ratio", 0.0), 1e-9)) * (1 - share)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, exit_loss = _losses(model, assembler.pairs(plan), plan, targets, relevant, dtype)
        optimizer.zero_grad(set_to_none=True)
        (loss + exit_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.get("max_grad_norm", 1.0))
        optimizer.step()
        this.step += 1
        if share >= _AVERAGE_FROM and this.step % _AVERAGE_EVERY == 0:
            this.averaged += 1
            for name, tensor in model.state_dict().items():
                average[name].lerp_(tensor, 1 / this.averaged)
        pairs += int((plan.places >= 0).sum())
        losses.append(torch.stack((loss.detach(), exit_loss.detach())))
        now = time.monotonic()
        if now - reported >= (10.0 if on_gpu else 5.0) or this.step == 1:
            mean = torch.stack(losses).mean(0).tolist()
            this.log(
                "training",
                step=this.step,
                progress=round(share, 3),
                loss=round(mean[0], 4),
                exits=round(mean[1], 4),
                pairs_per_second=round(pairs / (now - reported)) if this.step > 1 else None,
            )
            pairs, losses, reported = 0, [], time.monotonic()
        if now - kept >= _CHECKPOINT_EVERY:
            this.before, began = this.before + time.monotonic() - began, time.monotonic()
            _checkpoint(this, model, optimizer, average)
            if on_gpu:
                model.eval()
                _evaluate(this, "student", score, _QUICK_QUERIES)
                model.train()
            kept = reported = time.monotonic()
            pairs, losses = 0, []
    model.eval()
    _evaluate(this, "last", score, _QUICK_QUERIES)
    if this.averaged:
        model.load_state_dict(average)
    this.log("trained", steps=this.step, averaged=this.averaged)


def _losses(
    model: UnpaddedEncoder, tokens: Any, plan: Plan, targets: Any, relevant: Any, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The list-wise loss against the targets (Cao et al. 2007) with a small share of relevance, and the exits' own."""
    logits, early = model(tokens, dtype)
    device = logits.device
    places, wanted, right = (moved(part, device) for part in (plan.places, targets, relevant))
    present = places >= 0
    lists = gathered(logits, places)
    shares = torch.softmax(wanted.masked_fill(~present, -torch.inf), 1)
    loss = _divergence(shares, lists, present)
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.where(present, lists, 0.0), right.float(), reduction="none"
    )
    loss = loss + _RELEVANCE_SHARE * torch.where(present, each, 0.0).sum() / present.sum()
    own = torch.softmax(lists.detach(), 1)
    exits = sum((_divergence(own, gathered(part, places), present) for part in early), torch.zeros((), device=device))
    return loss, exits


def _divergence(shares: Tensor, lists: Tensor, present: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of the softmax of `lists` from `shares`, both [lists, size]."""
    logarithms = torch.log_softmax(lists, 1).masked_fill(~present, 0.0)
    return (torch.special.xlogy(shares, shares) - shares * logarithms).sum(1).mean()


def _checkpoint(this: Run, model: UnpaddedEncoder, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]) -> None:
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"average/{name}": tensor for name, tensor in average.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{name}": tensor for name, tensor in state.items()}
    facts = {"step": str(this.step), "averaged": str(this.averaged), "seconds": str(this.before)}
    partial = this.out / "checkpoint.partial"
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial, facts)
    partial.replace(this.out / "checkpoint.safetensors")


def _resume(this: Run, model: UnpaddedEncoder, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]) -> None:
    path = this.out / "checkpoint.safetensors"
    if not path.is_file():
        return
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        facts = file.metadata()
    stored = load_file(path)
    part: Callable[[str], dict[str, Tensor]] = lambda name: {  # noqa: E731
        key.removeprefix(name): tensor for key, tensor in stored.items() if key.startswith(name)
    }
    model.load_state_dict(part("model/"))
    for name, tensor in part("average/").items():
        average[name].copy_(tensor)
    state = optimizer.state_dict()
    for key, tensor in part("optimizer/").items():
        number, name = key.split("/")
        state["state"].setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict(state)
    this.step, this.averaged, this.before = int(facts["step"]), int(facts["averaged"]), float(facts["seconds"])
    this.log("resumed", step=this.step)


def _write(model: UnpaddedEncoder, out: Path) -> None:
    """Writes model.safetensors in fp16, and the exits beside it."""
    state = {name: tensor.half().cpu().contiguous() for name, tensor in model.transformers_state().items()}
    save_file(state, out / "model.safetensors", {"format": "pt"})
    exits = {name: tensor.half().cpu() for name, tensor in model.exits.state_dict().items()}
    if exits:
        save_file(exits, out / "exits.safetensors", {"layers": json.dumps(model.exit_layers)})
