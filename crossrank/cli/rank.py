"""`crossrank rank`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from crossrank.cli.output import print_json, print_step, print_table, ranker_or_default
from crossrank.errors import UsageError
from crossrank.results import RankedDocument


@dataclass(frozen=True, slots=True)
class _Document:
    name: str
    text: str


def rank(
    query: Annotated[str, typer.Argument(help="What is looked for.")],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Documents: one a file, or one a line of a .jsonl file.")
    ],
    ranker: Annotated[
        str | None,
        typer.Option(help="Directory or Hugging Face id of a ranker. Default: the one that comes with crossrank."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Address of a server, HOST:PORT, which then ranks.")] = None,
    model: Annotated[
        str, typer.Option(help="Model of a server, NAME or NAME@VERSION; without --target, of 127.0.0.1:50051.")
    ] = "",
    top_n: Annotated[int, typer.Option(min=1, help="How many results.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Order files by their relevance to a query."""
    if ranker and (target or model):
        raise UsageError("--ranker is for this process; leave out --target and --model, which are for a server")
    documents = [document for file in files for document in _read(file)]
    if not documents:
        raise UsageError("the files hold no documents")
    texts = [document.text for document in documents]
    by_server = target or model
    results = _by_server(target, model, query, texts, top_n) if by_server else _in_process(ranker, query, texts, top_n)
    if as_json:
        print_json(
            [
                {"document": documents[result["corpus_id"]].name, "score": result["score"], "text": result["text"]}
                for result in results
            ]
        )
    else:
        print_table(
            query,
            ("document", "score", "text"),
            [
                (documents[result["corpus_id"]].name, f"{result['score']:.4f}", _excerpt(result["text"]))
                for result in results
            ],
        )


def _in_process(ranker: str | None, query: str, texts: list[str], top_n: int) -> list[RankedDocument]:
    from crossrank.inference.scorer import Scorer

    if not query.strip():
        raise UsageError("query: is empty")
    with Scorer.open(ranker_or_default(ranker)) as scorer:
        for reason in scorer.rejected_variants:
            print_step(f"passed over: {reason}")
        return scorer.rank(query, texts, top_n=top_n, return_documents=True)


def _by_server(target: str | None, model: str, query: str, texts: list[str], top_n: int) -> list[RankedDocument]:
    from crossrank.client import DEFAULT_TARGET, RankClient

    with RankClient(target or DEFAULT_TARGET, model=model) as client:
        return client.rank(query, texts, top_n=top_n, return_documents=True)


def _read(file: Path) -> list[_Document]:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8 text") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    if file.suffix != ".jsonl":
        return [_Document(str(file), text)]
    documents = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            documents.append(_Document(str(entry.get("doc_id", f"{file}:{number}")), str(entry["text"])))
        except (ValueError, KeyError, AttributeError):
            raise UsageError(f"{file}:{number}: not a JSON object with a text") from None
    return documents


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:79] + "…"
