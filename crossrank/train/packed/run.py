"""The run: embed with the teachers, build pools, train against the clock, evaluate, keep what can be resumed."""

import json
import time
import tomllib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from crossrank.train.packed.batches import Assembler, ahead
from crossrank.train.packed.checkpoint import State
from crossrank.train.packed.encoder import Shape, UnpaddedEncoder
from crossrank.train.packed.evaluate import Score, cosine_scores, model_scores, ndcg_at_10
from crossrank.train.packed.inputs import PackedInputs, read_inputs
from crossrank.train.packed.objective import losses
from crossrank.train.packed.pools import Pools, batches, build_pools
from crossrank.train.packed.teachers import embed, read_weights

# Steps end this long before the time limit, two minutes or a fifth of it: the model is then evaluated and written.
_RESERVE, _RESERVED_SHARE = 120.0, 0.2
_CHECKPOINT_EVERY, _REPORT_EVERY = 30.0, 10.0
# The last part of a run reads pairs at full length; in it, the weights of every so many steps are averaged.
_FULL_LENGTH_FROM, _AVERAGE_FROM, _AVERAGE_EVERY = 0.82, 0.88, 10
_TEACHER_LENGTH = 256
_TOKENS_TO_EMBED = {"cuda": 262144, "cpu": 8192}
_QUICK_QUERIES = 120


@dataclass(frozen=True, slots=True)
class Run:
    """A packed run.

    Attributes:
        inputs, recipe: what is learnt, and how.
        out: where the log, the checkpoint and the result go.
        device, dtype: where and in what the work is done.
        began: when this process began, by `time.monotonic`.
    """

    inputs: PackedInputs
    recipe: dict[str, Any]
    out: Path
    device: torch.device
    dtype: torch.dtype
    began: float

    @property
    def assembler(self) -> Assembler:
        """A new one: the texts' tokens on the device."""
        return Assembler(self.inputs, self.device)

    def log(self, event: str, **facts: Any) -> None:
        """One line, on standard output and in log.jsonl."""
        line = json.dumps({"at": round(time.monotonic() - self.began, 1), "event": event, **facts})
        print(line, flush=True)
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def evaluate(self, name: str, score: Score, most: int | None = None) -> None:
        """Logs each set's mean nDCG@10: the model's and then its exits', or one for each teacher."""
        found = {part.name: ndcg_at_10(part, score, most).mean(1).round(4).tolist() for part in self.inputs.tune}
        mean = np.mean(list(found.values()), axis=0).round(4).tolist() if found else []
        self.log("evaluated", model=name, queries=most, ndcg_at_10=found, mean=mean)


def run(
    inputs: Path,
    base: Path,
    teachers: list[Path],
    out: Path,
    *,
    time_limit: float,
    max_steps: int | None = None,
    compiled: bool = True,
) -> None:
    """Trains on packed inputs and writes weights by transformers' names; resumes what was stopped in `out`.

    Args:
        inputs: the file that `crossrank.train.packed.inputs.write_inputs` wrote.
        base: model directory with config.json and model.safetensors, from whose weights training starts.
        teachers: bi-encoders' directories; their cosines, fused, are what is learnt beside the judgements.
        out: a directory, made if missing: model.safetensors and exits.safetensors in fp16, and log.jsonl.
        time_limit: seconds from now; steps end two minutes, or a fifth of it, before.
        max_steps: steps of the whole run; the schedule is then a function of steps alone.
        compiled: whether layers are compiled on a GPU.

    Raises:
        ValueError: the base is not BERT, or there is neither a teacher nor a pool of an earlier start.
    """
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    began = time.monotonic()
    packed = read_inputs(inputs)
    this = Run(packed, tomllib.loads(packed.recipe), out, device, dtype, began)
    this.log("read", texts=len(packed.lengths), tokens=len(packed.tokens), device=str(device))
    assembler = this.assembler
    pools = _pools(this, assembler, teachers)
    settings = this.recipe["packed"]
    torch.manual_seed(this.recipe["seed"])  # of the exits' first weights
    shape = Shape.of(json.loads((base / "config.json").read_text()))
    model = UnpaddedEncoder(shape, read_weights(base), tuple(settings["exits"])).to(device)
    score = model_scores(
        model, assembler, packed.lengths, this.recipe["max_length"], settings["tokens_per_batch"], dtype
    )
    reserve = min(_RESERVE, _RESERVED_SHARE * time_limit)
    _train(this, model, pools, assembler, score, began + time_limit - reserve, max_steps, compiled)
    _write(model, out)
    this.log("written")
    this.evaluate("result", score)


def _pools(this: Run, assembler: Assembler, teachers: list[Path]) -> Pools:
    kept = this.out / "pools.safetensors"
    if kept.is_file():
        return Pools.read(kept)
    if not teachers:
        raise ValueError("name a teacher: a bi-encoder's directory")
    budget = _TOKENS_TO_EMBED[this.device.type]
    vectors: list[Tensor] = []
    for teacher in teachers:
        log = partial(_log_embedding, this, teacher.name)
        log(0.0)
        vectors.append(embed(teacher, assembler, this.inputs.lengths, _TEACHER_LENGTH, this.device, budget, log))
    this.evaluate("teachers", cosine_scores(vectors))
    pools = build_pools(
        this.inputs,
        vectors,
        label_weight=this.recipe["distillation"]["label_weight"],
        seed=this.recipe["seed"],
        log=lambda line: this.log("pool", source=line),
    )
    pools.write(kept)
    return pools


def _log_embedding(this: Run, teacher: str, done: float) -> None:
    this.log("embed", teacher=teacher, done=done)


def _train(
    this: Run,
    model: UnpaddedEncoder,
    pools: Pools,
    assembler: Assembler,
    score: Score,
    ends: float,
    max_steps: int | None,
    compiled: bool,
) -> None:
    settings, packed = this.recipe["training"], this.recipe["packed"]
    rate, warmup = settings["learning_rate"], settings["warmup_ratio"]
    optimizer = _optimizer(model, rate, settings["weight_decay"])
    state = State(model, optimizer, {name: tensor.clone() for name, tensor in model.state_dict().items()})
    kept = this.out / "checkpoint.safetensors"
    if kept.is_file():
        state.read(kept)
        this.log("resumed", step=state.step)
    started, before = time.monotonic(), state.seconds

    def share(step: int) -> float:
        if max_steps:
            return step / max_steps
        return (before + time.monotonic() - started) / max(before + ends - started, 1e-9)

    def longest(step: int) -> int:
        full = share(step) >= _FULL_LENGTH_FROM
        whole = int(this.recipe["max_length"])
        return whole if full else int(this.recipe.get("training_max_length", whole))

    if compiled and this.device.type == "cuda":
        model.compile_layers(lambda function: torch.compile(function, dynamic=False))
    reported = saved = time.monotonic()
    pairs, seen = 0, []
    drawn = batches(
        pools,
        this.inputs.lengths,
        seed=this.recipe["seed"],
        first=state.step,
        size=packed["list_size"],
        longest=longest,
        budget=packed["tokens_per_batch"],
    )
    for batch in ahead(drawn):
        done = share(state.step)
        if done >= 1.0 or time.monotonic() >= ends:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (done + 1e-4) / max(warmup, 1e-4)) * (1 - done)
        loss, exits = losses(model, assembler, batch, this.dtype)
        optimizer.zero_grad(set_to_none=True)
        (loss + exits).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings["max_grad_norm"])
        optimizer.step()
        state.step += 1
        if done >= _AVERAGE_FROM and state.step % _AVERAGE_EVERY == 0:
            state.include()
        pairs += batch.pairs
        seen.append(torch.stack((loss.detach(), exits.detach())))
        now = time.monotonic()
        if now - reported >= _REPORT_EVERY or state.step == 1:
            means = [round(value, 4) for value in torch.stack(seen).mean(0).tolist()]
            speed = round(pairs / (now - reported))
            this.log(
                "step", step=state.step, done=round(done, 3), loss=means[0], exits=means[1], pairs_per_second=speed
            )
            pairs, seen, reported = 0, [], now
        if now - saved >= _CHECKPOINT_EVERY:
            state.seconds = before + now - started
            state.write(kept)
            if this.device.type == "cuda":
                this.evaluate("student", score, _QUICK_QUERIES)
            pairs, seen, reported = 0, [], time.monotonic()
            saved = reported
    state.seconds = before + time.monotonic() - started
    state.write(kept)
    if state.averaged:
        model.load_state_dict(state.average)
    this.log("trained", steps=state.step, averaged=state.averaged, seconds=round(state.seconds, 1))


def _optimizer(model: UnpaddedEncoder, rate: float, decay: float) -> torch.optim.Optimizer:
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def _write(model: UnpaddedEncoder, out: Path) -> None:
    weights = {name: tensor.half().cpu().contiguous() for name, tensor in model.transformers_state().items()}
    save_file(weights, out / "model.safetensors", {"format": "pt"})
    exits = {name: tensor.half().cpu() for name, tensor in model.exits.state_dict().items()}
    if exits:
        save_file(exits, out / "exits.safetensors", {"layers": json.dumps(model.exit_layers)})
