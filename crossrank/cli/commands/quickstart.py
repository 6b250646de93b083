"""`crossrank quickstart`: the default ranker answers, then learns one code base and answers again; offline.

A second run picks up what exists.
"""

import json
import logging
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from crossrank.cli.commands.export import show_report
from crossrank.cli.commands.train import show_mining, show_training, show_verdicts
from crossrank.cli.output import needs, print_json, print_table
from crossrank.cli.progress import progress_bars, steps_of
from crossrank.progress import Progress

QUESTIONS = (
    "parse an ISO 8601 date string",
    "find the longest common substring of two sequences",
    "copy a directory tree recursively",
    "guess the MIME type of a file from its name",
)

_log = logging.getLogger(__name__)
_DEV_QUERIES = 80
_COMPARED_QUERIES = 40
_FOUND_BY_BM25 = 50
_SHOWN = 3


Show = Callable[[Callable[[Any], None], Any], None]


def quickstart(
    out: Annotated[Path, typer.Option(help="Directory for everything that is made.")] = Path("quickstart"),
    as_json: Annotated[bool, typer.Option("--json", help="Print evaluation and answers as JSON.")] = False,
) -> None:
    """Serve, fine-tune, export and serve again: offline, on a CPU."""
    with needs("all"), _step("import PyTorch and what goes with it"):
        import crossrank.export.pipeline  # noqa: F401
        from crossrank.evaluation.eval_result import METRICS_FILE
    out.mkdir(parents=True, exist_ok=True)
    # With --json, standard output holds one document; what each step made is in its directory.
    show: Show = (lambda table, report: None) if as_json else (lambda table, report: table(report))
    _mine(out, show)
    answers = {"default": _ask(out, None, "2/6 serve the default ranker, and rank")}
    show(_show_answers, answers["default"])
    _choose_dev(out)
    _train(out, show)
    _export(out, show)
    answers["tuned"] = _ask(out, out / "ranker", "6/6 serve what was trained, and rank")
    show(_show_answers, answers["tuned"])
    evaluation = json.loads((out / "model" / METRICS_FILE).read_text(encoding="utf-8"))["evaluation"]
    if as_json:
        print_json({"evaluation": evaluation, "answers": answers})
    else:
        show_verdicts(evaluation["verdicts"])


def _mine(out: Path, show: Show) -> None:
    from crossrank.data.mining.code import mine_code

    if (out / "data").exists():
        _log.info(f"1/6 mined already: {out / 'data'}")
        return
    with _step("1/6 mine the standard library"):
        report = mine_code([Path(sysconfig.get_path("stdlib"))], out / "data")
    show(show_mining, report)


def _choose_dev(out: Path) -> None:
    """Held-out queries with the candidates of BM25 and of the base; no positive is added."""
    from crossrank.data.eval_set import write_judged_set
    from crossrank.evaluation.eval_set import read_eval_set
    from crossrank.models.bi_encoder import BiEncoder
    from crossrank.models.packaged import PACKAGED_BASE

    if (out / "dev").exists():
        _log.info(f"3/6 candidates found already: {out / 'dev'}")
        return
    with _step("3/6 find candidates for held-out queries"):
        dev = read_eval_set(out / "data" / "dev", max_queries=_DEV_QUERIES, bi_encoder=BiEncoder(PACKAGED_BASE))
    write_judged_set(dev, out / "dev")


def _train(out: Path, show: Show) -> None:
    import crossrank.train
    from crossrank.export.graph.onnx_to_torch import write_cross_encoder
    from crossrank.inference.ranker.hub import DEFAULT_RANKER
    from crossrank.train.pipeline import train as run
    from crossrank.train.recipe_files import load_recipe

    if (out / "model").exists():
        _log.info(f"4/6 trained already: {out / 'model'}")
        return
    recipe = load_recipe(
        Path(crossrank.train.__path__[0]) / "recipes" / "quickstart.toml",
        [f"base={out}/base", f"data.train={out}/data/train", f"data.dev={out}/dev"],
    )
    with _step("4/6 fine-tune the default ranker"):
        if not (out / "base").exists():
            write_cross_encoder(DEFAULT_RANKER, out / "base")
        report = run(recipe, out / "model")
    show(show_training, report)


def _export(out: Path, show: Show) -> None:
    from crossrank.export.options import ExportOptions
    from crossrank.export.pipeline import export_ranker

    if (out / "ranker").exists():
        _log.info(f"5/6 exported already: {out / 'ranker'}")
        return
    options = ExportOptions(eval_sets=(out / "dev",), max_queries=_COMPARED_QUERIES)
    with _step("5/6 export") as progress:
        report = export_ranker(str(out / "model"), out / "ranker", options, progress=steps_of(progress))
    show(show_report, report)


@contextmanager
def _step(what: str) -> Iterator[Progress]:
    """Says what is done, and every ten seconds how far it is."""
    with progress_bars(), Progress(_log, what) as progress:
        yield progress


def _ask(out: Path, ranker: Path | None, what: str) -> list[dict[str, Any]]:
    """Asks real questions over the functions that BM25 finds in the whole of what was mined."""
    with _step(what):
        return _answers(out, ranker)


def _answers(out: Path, ranker: Path | None) -> list[dict[str, Any]]:
    from crossrank.client import RankClient
    from crossrank.data.bm25 import BM25
    from crossrank.data.eval_set import read_judged_set
    from crossrank.serve.local import local_server
    from crossrank.v1 import ranker_pb2

    sides = [read_judged_set(out / "data" / side) for side in ("train", "dev")]
    corpus = {doc_id: text for side in sides for doc_id, text in side.corpus.items()}
    found = BM25(corpus).top({question: question for question in QUESTIONS}, _FOUND_BY_BM25)
    answers = []
    named = () if ranker is None else (str(ranker),)
    with local_server(*named) as (target, _), RankClient(target) as client:
        for question in QUESTIONS:
            documents = [ranker_pb2.Document(id=doc_id, text=corpus[doc_id]) for doc_id in found[question]]
            started = time.monotonic()
            response = client.call_rank(ranker_pb2.RankRequest(query=question, documents=documents, top_n=_SHOWN))
            answers.append(
                {
                    "question": question,
                    "documents": len(documents),
                    "milliseconds": round(1000 * (time.monotonic() - started), 1),
                    "tokenize_ms": round(response.timings.tokenize.ToNanoseconds() / 1e6, 1),
                    "queue_ms": round(response.timings.queue.ToNanoseconds() / 1e6, 1),
                    "compute_ms": round(response.timings.compute.ToNanoseconds() / 1e6, 1),
                    "tokens": response.usage.tokens,
                    "results": [
                        {"document": result.id, "score": round(result.score, 3), "bm25_rank": result.index + 1}
                        for result in response.results
                    ],
                }
            )
    return answers


def _show_answers(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        print_table(
            f"{answer['question']}: {answer['documents']} functions in {answer['milliseconds']} ms (tokenise "
            f"{answer['tokenize_ms']}, queue {answer['queue_ms']}, compute {answer['compute_ms']})",
            ("function", "score", "BM25 rank"),
            [(result["document"], str(result["score"]), str(result["bm25_rank"])) for result in answer["results"]],
        )
