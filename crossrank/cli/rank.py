"""`crossrank rank`."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossrank.cli.output import print_json, print_table, ranker_or_default
from crossrank.data.documents import read_documents
from crossrank.errors import UsageError
from crossrank.reranker import LongDocumentStrategy, ScoreKind
from crossrank.results import RankedDocument

if TYPE_CHECKING:
    from crossrank.client import RankClient
    from crossrank.inference.scorer import Scorer

_log = logging.getLogger(__name__)


def rank(
    query: Annotated[str, typer.Argument(help="Search query.")],
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Documents: one a file, or one a record of a .jsonl, .csv, .tsv or .parquet file. A directory gives "
            "the text files in it; - is standard input, a document a line.",
        ),
    ],
    ranker: Annotated[
        str | None,
        typer.Option(help="Directory or Hugging Face id of a ranker. Default: the one that comes with crossrank."),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Address of a server, HOST:PORT, that ranks in place of this process.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="Model of a server, NAME or NAME@VERSION; without --target, of 127.0.0.1:50051.")
    ] = "",
    top_k: Annotated[int, typer.Option(min=1, help="Number of results.")] = 10,
    score_kind: Annotated[
        ScoreKind | None, typer.Option(help="What scores mean. Default: what the ranker was trained with.")
    ] = None,
    long_documents: Annotated[
        LongDocumentStrategy,
        typer.Option(help="Cut documents that are too long at their end, or rank them by their best chunk."),
    ] = "truncate",
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Order files by their relevance to a query."""
    if ranker and (target or model):
        raise UsageError("--ranker is for this process; leave out --target and --model, which are for a server")
    documents = read_documents(files)
    with _client(target, model) if target or model else _scorer(ranker) as reranker:
        results = reranker.rank(
            query,
            [document.text for document in documents],
            ids=[document.name for document in documents],
            top_k=top_k,
            score_kind=score_kind,
            long_documents=long_documents,
            return_documents=True,
        )
    if as_json:
        print_json(results)
    else:
        print_table(
            query,
            ("document", "score", "text"),
            [(result["id"], f"{result['score']:.4f}", _excerpt(result)) for result in results],
        )


def _scorer(ranker: str | None) -> "Scorer":
    from crossrank.inference.scorer import Scorer

    scorer = Scorer.open(ranker_or_default(ranker))
    for reason in scorer.rejected_variants:
        _log.info(f"variant rejected: {reason}")
    return scorer


def _client(target: str | None, model: str) -> "RankClient":
    from crossrank.client import DEFAULT_TARGET, RankClient

    return RankClient(target or DEFAULT_TARGET, model=model)


def _excerpt(result: RankedDocument) -> str:
    """The beginning of a document, or of the chunk that gave its score."""
    start, end = result.get("span", (0, None))
    line = " ".join(result["text"][start:end].split())
    return line if len(line) <= 80 else line[:79] + "…"
