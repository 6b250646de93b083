"""Evaluation sets in BEIR layout: queries, documents, graded judgements and, if there are any, first-stage candidates.

A directory holds `queries.jsonl` ({"query_id", "text"}), `corpus.jsonl` ({"doc_id", "text", and maybe "title"}),
`qrels.tsv` in TREC's four columns (query_id 0 doc_id grade) and maybe `candidates.jsonl` ({"query_id",
"doc_ids"}). BEIR's directories (Thakur et al. 2021) are read too: `_id` for either id, and judgements in three columns,
split by split. So are the formats of `crossrank.data.formats.readers`, and the names of
`crossrank.data.formats.columns` that other tools give the same. Integer ids are read as their decimal digits.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossrank.data.formats.columns import DOC_ID, QUERY_ID, QUERY_TEXT, TEXT, as_id, column_of, document_text, text_of
from crossrank.data.formats.files import written_beside
from crossrank.data.formats.readers import find_table, read_records
from crossrank.data.qrels import MEASURED, Qrels, find_qrels, has_qrels, note_qrels, read_qrels
from crossrank.errors import InvalidData, UsageError

Candidates = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """Texts by id, grades by query id and document id, and candidates by query id in first-stage order."""

    queries: dict[str, str]
    corpus: dict[str, str]
    qrels: Qrels
    candidates: Candidates | None = None

    def positives(self, query_id: str) -> set[str]:
        """The ids of the documents judged relevant, that is with a grade above 0; none for an unjudged query."""
        return {doc_id for doc_id, grade in self.qrels.get(query_id, {}).items() if grade > 0}

    def is_itself(self, query_id: str, doc_id: str) -> bool:
        """Whether a document is the query: of its id, with its text at the end, and not judged.

        Sets of questions and their duplicates, such as BEIR's Quora and ArguAna, have their queries in the corpus, and
        mean that a query does not find itself.
        """
        if doc_id != query_id or doc_id in self.qrels.get(query_id, {}):
            return False
        query = self.queries[query_id].split()
        return self.corpus[doc_id].split()[-len(query) :] == query


def is_judged_set(path: Path) -> bool:
    """Whether `path` is a directory with queries.jsonl, corpus.jsonl and qrels, in whichever format."""
    return all(find_table(path, name) for name in ("queries", "corpus")) and has_qrels(path)


def read_judged_set(
    directory: Path,
    corpus: dict[str, str] | None = None,
    *,
    split: str | None = None,
    otherwise: Sequence[str] = MEASURED,
) -> JudgedSet:
    """Read an evaluation set, every text and id of it in file order.

    A title that is not empty goes before its text, on a line of its own. Queries without a judgement are kept. The
    judgements may be of another set's documents: `corpus` then holds them, and the directory needs none. `split` and
    `otherwise` choose the judgements; see `find_qrels`. Judgements of unknown queries and documents are passed over.

    Raises:
        InvalidData: Files are missing, or a line is not what it should be, which includes ids that occur twice and
            candidates that name unknown ids; the message names file and line.
        OSError: A file cannot be read.
    """
    if corpus is None and not is_judged_set(directory):
        raise InvalidData(
            directory, "not an evaluation set; it must hold queries.jsonl, corpus.jsonl and qrels.tsv or qrels/*.tsv"
        )
    judgements = find_qrels(directory, split, otherwise)
    note_qrels(judgements)
    queries = read_queries(directory)
    corpus = read_corpus(directory) if corpus is None else corpus
    qrels = read_qrels(judgements, queries, corpus)
    candidates = find_table(directory, "candidates")
    return JudgedSet(queries, corpus, qrels, _read_candidates(candidates, queries, corpus) if candidates else None)


def write_judged_set(judged: JudgedSet, directory: Path) -> None:
    """Write an evaluation set and read it back before it takes its name; missing parents are made.

    Nothing is left of a write that fails. A query whose judgements are an empty mapping comes back without it.

    Raises:
        UsageError: `directory` exists.
        InvalidData: `read_judged_set` refuses what was written; the message names the line that it would be.
        ValueError: A text holds half of a surrogate pair.
    """
    if directory.exists():
        raise UsageError(f"{directory} exists already; give a new directory")
    with written_beside(directory) as staged:
        staged.mkdir()
        _write_lines(
            staged / "queries.jsonl",
            (_json_line({"query_id": query_id, "text": text}) for query_id, text in judged.queries.items()),
        )
        _write_lines(
            staged / "corpus.jsonl",
            (_json_line({"doc_id": doc_id, "text": text}) for doc_id, text in judged.corpus.items()),
        )
        _write_lines(
            staged / "qrels.tsv",
            (
                f"{query_id}\t0\t{doc_id}\t{grade}\n"
                for query_id, grades in judged.qrels.items()
                for doc_id, grade in grades.items()
            ),
        )
        if judged.candidates is not None:
            _write_lines(
                staged / "candidates.jsonl",
                (_json_line({"query_id": query_id, "doc_ids": ids}) for query_id, ids in judged.candidates.items()),
            )
        try:
            back = read_judged_set(staged)
        except InvalidData as error:
            raise InvalidData(error.where.replace(str(staged), str(directory)), error.problem) from None
        if sum(map(len, back.qrels.values())) < sum(map(len, judged.qrels.values())):
            raise InvalidData(
                directory / "qrels.tsv", "judges queries or documents that are not in the set; add them or drop it"
            )


def read_queries(path: Path) -> dict[str, str]:
    """Read the text of each query by its id from a file, or a directory's queries; raises as `read_judged_set` does."""
    queries: dict[str, str] = {}
    for where, record in read_records(_table(path, "queries"), headless=_headless_texts):
        text = text_of(where, record, column_of(where, record, QUERY_TEXT))
        queries[_new_id(where, record, QUERY_ID, queries)] = text
    return queries


def read_corpus(path: Path) -> dict[str, str]:
    """Read the text of each document, its title before it, by its id from a file or a directory's corpus; the same."""
    corpus: dict[str, str] = {}
    for where, record in read_records(_table(path, "corpus"), headless=_headless_texts):
        text = document_text(where, record, column_of(where, record, TEXT), blank=True)
        corpus[_new_id(where, record, DOC_ID, corpus)] = text
    return corpus


def _table(path: Path, name: str) -> Path:
    if not path.is_dir():
        return path
    if (found := find_table(path, name)) is None:
        raise InvalidData(path, f"has no {name}.jsonl; add it")
    return found


def _headless_texts(cells: list[str]) -> list[str] | None:
    """The columns of a .tsv without header: an id and a text, as MS MARCO's collection and pyserini's topics are."""
    return ["id", "text"] if len(cells) == 2 and not cells[0].strip().lower().endswith("id") else None


def _read_candidates(path: Path, queries: Mapping[str, str], corpus: Mapping[str, str]) -> Candidates:
    candidates: Candidates = {}
    for where, record in read_records(path):
        query_id = _new_id(where, record, QUERY_ID, candidates)
        _known(where, "query", query_id, queries)
        given = record.get("doc_ids")
        if not isinstance(given, list) or not all(isinstance(as_id(doc_id), str) for doc_id in given):
            raise InvalidData(where, "'doc_ids' must be a list of strings")
        doc_ids = [str(doc_id) for doc_id in given]
        for doc_id in doc_ids:
            _known(where, "document", doc_id, corpus)
        if len(set(doc_ids)) < len(doc_ids):
            raise InvalidData(where, "'doc_ids' names a document twice; name each once")
        candidates[query_id] = doc_ids
    return candidates


def _new_id(where: str, record: Mapping[str, object], names: tuple[str, ...], known: Mapping[str, object]) -> str:
    column = column_of(where, record, names)
    value = as_id(record[column])
    if not isinstance(value, str):
        raise InvalidData(where, f"{column!r} is not a string; put it in quotes")
    if value.split() != [value]:
        raise InvalidData(where, f"id {value!r} is empty or holds whitespace, which qrels cannot name; rename it")
    if value in known:
        raise InvalidData(where, f"id {value!r} occurs a second time; ids must be unique")
    return value


def _known(where: str, kind: str, identifier: str, texts: Mapping[str, str]) -> None:
    if identifier not in texts:
        source = "queries.jsonl" if kind == "query" else "corpus.jsonl"
        raise InvalidData(where, f"{kind} {identifier!r} is not in {source}; add it there or drop it here")


def _json_line(record: Mapping[str, object]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)
