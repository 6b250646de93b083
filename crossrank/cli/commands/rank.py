"""`crossrank rank`."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field, model_validator

from crossrank.cli.options import options_of, parse
from crossrank.cli.output import print_json, print_table, ranker_or_default
from crossrank.reranker import LongDocumentStrategy, ScoreKind

if TYPE_CHECKING:
    from crossrank.client import RankClient
    from crossrank.inference.scorer import Scorer
    from crossrank.results import RankedDocument

_log = logging.getLogger(__name__)


class RankCommandOptions(BaseModel):
    """Who ranks, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ranker: str | None = Field(
        None, description="Directory or Hugging Face id of a ranker. Default: the one that comes with crossrank."
    )
    target: str | None = Field(None, description="Address of a server, HOST:PORT, that ranks in place of this process.")
    model: str = Field("", description="Model of a server, NAME or NAME@VERSION; without --target, of 127.0.0.1:50051.")
    top_k: int = Field(10, ge=1, description="Number of results.")
    score_kind: ScoreKind | None = Field(
        None, description="What scores mean. Default: what the ranker was trained with."
    )
    long_documents: LongDocumentStrategy = Field(
        "truncate",
        description="Cut documents that are too long at their end, or rank them by their best chunk.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> "RankCommandOptions":
        if self.ranker and (self.target or self.model):
            raise ValueError("--ranker is for this process; leave out --target and --model, which are for a server")
        return self


@options_of(RankCommandOptions)
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    **given: Any,
) -> None:
    """Order files by their relevance to a query."""
    from crossrank.data.documents import read_documents

    options = parse(RankCommandOptions, given)
    documents = read_documents(files)
    with _client(options) if options.target or options.model else _scorer(options.ranker) as reranker:
        results = reranker.rank(
            query,
            [document.text for document in documents],
            ids=[document.name for document in documents],
            top_k=options.top_k,
            score_kind=options.score_kind,
            long_documents=options.long_documents,
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


def _client(options: RankCommandOptions) -> "RankClient":
    from crossrank.client import DEFAULT_TARGET, RankClient

    return RankClient(options.target or DEFAULT_TARGET, model=options.model)


def _excerpt(result: "RankedDocument") -> str:
    """The beginning of a document, or of the chunk that gave its score."""
    start, end = result.get("span", (0, None))
    line = " ".join(result["text"][start:end].split())
    return line if len(line) <= 80 else line[:79] + "…"
