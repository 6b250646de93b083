"""The judgements that a recipe names, as examples: from files, judged sets and Hugging Face datasets."""

import random
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from crossrank.data.eval_set import JudgedSet, is_judged_set, read_judged_set
from crossrank.data.examples import Example, grouped, read_examples, to_examples
from crossrank.data.trec import ranking_from_scores, read_run
from crossrank.errors import UsageError
from crossrank.evaluation.baselines import Predict
from crossrank.inference.hub import token_of_environment
from crossrank.models.cross_encoder import open_cross_encoder, predict
from crossrank.train.dataset import shape_of
from crossrank.train.negatives import mine_negatives
from crossrank.train.recipe import Negatives, Recipe, Source
from crossrank.train.screening import Screen


def examples_of(source: Source, recipe: Recipe, screen: Screen) -> Iterator[Example]:
    """The examples of a source that may be learnt from, in an order that is a function of data and seed.

    A judged set gives an example for each query with a relevant document: what is judged, and negatives. Rows are
    streamed, and for losses that take more than a pair collected by query.

    Raises:
        UsageError: no such data.
        InvalidData: the data as a whole are at fault.
    """
    found: Iterable[Example]
    if source.dataset is not None:
        found = to_examples(_dataset_records(source), source.columns, screen.bad_row)
    elif source.path is None or not source.path.exists():
        raise UsageError(f"data.train: {source.path} does not exist")
    elif is_judged_set(source.path):
        return filter(screen.passes, _judged_examples(read_judged_set(source.path), source, recipe))
    elif source.path.is_dir():
        raise UsageError(f"{source.path} is no judged set: it needs queries.jsonl, corpus.jsonl and qrels.tsv")
    else:
        found = read_examples(source.path, source.columns, screen.bad_row)
    return filter(screen.passes, found if shape_of(recipe.loss) == "pairs" else grouped(found, screen.bad_row))


def has_few_queries(recipe: Recipe, few: int) -> bool:
    """Whether all sources together have fewer than `few` queries; reads no more than it needs for the answer."""
    seen: set[str] = set()
    for source in recipe.data.train:
        ignored = Screen(recipe.data, [])
        if source.path is not None and is_judged_set(source.path):
            judged = read_judged_set(source.path)
            queries = [judged.queries[query_id] for query_id in judged.queries if judged.positives(query_id)]
            seen.update(queries[: source.max_queries])
        else:
            for example in examples_of(source, recipe, ignored):
                seen.add(example.query)
                if len(seen) >= few:
                    break
        if len(seen) >= few:
            return False
    return True


def _judged_examples(judged: JudgedSet, source: Source, recipe: Recipe) -> Iterator[Example]:
    queries = [query_id for query_id in judged.queries if judged.positives(query_id)]
    if source.max_queries and source.max_queries < len(queries):
        queries = random.Random(recipe.seed).sample(queries, source.max_queries)
    corpus = dict(judged.corpus)
    for path in source.corpora:
        # Ids are a set's own: documents of another one could bear the same.
        corpus |= {f"{path}/{doc_id}": text for doc_id, text in read_judged_set(path).corpus.items()}
    chosen = JudgedSet({query_id: judged.queries[query_id] for query_id in queries}, corpus, judged.qrels)
    wanted = source.negatives or recipe.data.negatives
    if wanted.run and source.run is None:
        raise UsageError("data.train.negatives.run needs data.train.run, the TREC run to draw from")
    run = ranking_from_scores(read_run(source.run)) if source.run else None
    mined = mine_negatives(
        chosen, wanted, recipe.seed, max_length=recipe.learning_length, run=run, score=_scorer(wanted)
    )
    highest = max(grade for query_id in queries for grade in judged.qrels[query_id].values()) if queries else 1
    for query_id in queries:
        labels = {
            doc_id: max(grade, 0) / highest if source.graded else float(grade > 0)
            for doc_id, grade in judged.qrels[query_id].items()
        } | dict.fromkeys(mined[query_id], 0.0)
        yield Example(judged.queries[query_id], tuple(corpus[doc_id] for doc_id in labels), tuple(labels.values()))


def _scorer(wanted: Negatives) -> Predict | None:
    if wanted.scorer is None:
        return None
    try:
        model = open_cross_encoder(wanted.scorer)
    except UsageError as error:
        raise UsageError(f"negatives.scorer: {error}") from None
    return partial(predict, model)


def _dataset_records(source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    import datasets

    given = str(source.dataset)
    try:
        if (Path(given) / "state.json").is_file():
            records: Any = datasets.load_from_disk(given)
        elif (Path(given) / "dataset_dict.json").is_file():
            records = datasets.load_from_disk(str(Path(given) / source.split))
        else:
            records = datasets.load_dataset(
                given, source.name, split=source.split, revision=source.revision, token=token_of_environment()
            )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UsageError(f"data.train: the dataset {given} cannot be had: {str(error).splitlines()[0][:160]}") from None
    return ((f"{Path(given).name}:{number}", record) for number, record in enumerate(records, start=1))
