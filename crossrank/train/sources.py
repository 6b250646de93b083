"""Sources: reads what a recipe names as training data, as examples with labels and negatives."""

import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from crossrank.data.eval_set import JudgedSet, is_judged_set, read_corpus, read_judged_set
from crossrank.data.examples import Example, grouped, read_examples, to_examples
from crossrank.data.formats.files import OnBad, raise_it
from crossrank.data.qrels import LEARNT
from crossrank.data.trec import ranking_from_scores, read_run
from crossrank.errors import UsageError
from crossrank.evaluation.baselines import Predict
from crossrank.inference.ranker.hub import token_of_environment
from crossrank.models.bi_encoder import BiEncoder
from crossrank.models.cross_encoder import open_cross_encoder, predict
from crossrank.train.negatives import mine_negatives
from crossrank.train.recipe import PAIR_LOSSES, Recipe
from crossrank.train.recipe_data import Negatives, Source


def read_source(
    source: Source,
    recipe: Recipe,
    on_bad: OnBad = raise_it,
    open_bi_encoder: Callable[[str, int], BiEncoder] = BiEncoder,
) -> Iterator[Example]:
    """Yields the examples of a source, in an order that is a function of data and seed.

    An evaluation set gives an example for each query with a relevant document: what is judged, and negatives. Rows are
    streamed, and for losses that take more than a pair collected by query.

    Args:
        source: names the data.
        recipe: the loss, the seed, and the negatives of sources that have no table of their own.
        on_bad: called with each invalid row; what it does not raise is left out.
        open_bi_encoder: opens a bi-encoder for mining, by name and length.

    Raises:
        UsageError: there is no such data.
        InvalidData: the data as a whole are invalid.
    """
    found: Iterable[Example]
    if source.dataset is not None:
        found = to_examples(_dataset_records(source), source.columns, on_bad)
    elif source.path is None or not source.path.exists():
        raise UsageError(f"data.train: {source.path} does not exist; correct the path")
    elif source.corpus or is_judged_set(source.path):
        return _judged_examples(read_judged_source(source, recipe.seed), source, recipe, open_bi_encoder)
    elif source.path.is_dir():
        raise UsageError(f"{source.path}: not an evaluation set; give it queries.jsonl, corpus.jsonl and qrels.tsv")
    else:
        found = read_examples(source.path, source.columns, on_bad)
    return iter(found if recipe.loss.name in PAIR_LOSSES else grouped(found, on_bad))


def read_judged_source(source: Source, seed: int) -> JudgedSet:
    """Reads an evaluation set to learn from: `max_queries` of its queries with a relevant document, drawn by seed.

    Args:
        source: has a `path`; the documents are those of its `corpus`, if it names one, and of all its `corpora`.
        seed: of the draw.
    """
    if source.path is None:
        raise ValueError("a source without a path is not an evaluation set")
    documents = read_corpus(source.corpus) if source.corpus else None
    judged = read_judged_set(source.path, documents, split=source.split, otherwise=LEARNT)
    queries = [query_id for query_id in judged.queries if judged.positives(query_id)]
    if source.max_queries and source.max_queries < len(queries):
        queries = random.Random(seed).sample(queries, source.max_queries)
    corpus = dict(judged.corpus)
    for path in source.corpora:
        # Ids are a set's own: documents of another one could bear the same.
        corpus |= {f"{path}/{doc_id}": text for doc_id, text in read_corpus(path).items()}
    return JudgedSet({query_id: judged.queries[query_id] for query_id in queries}, corpus, judged.qrels)


def _judged_examples(
    judged: JudgedSet, source: Source, recipe: Recipe, open_bi_encoder: Callable[[str, int], BiEncoder]
) -> Iterator[Example]:
    queries, corpus = list(judged.queries), judged.corpus
    wanted = source.negatives or recipe.data.negatives
    if wanted.run and source.run is None:
        raise UsageError("data.train.negatives.run needs data.train.run, the TREC run to draw from")
    run = ranking_from_scores(read_run(source.run)) if source.run else None
    bi_encoder = open_bi_encoder(wanted.bi_encoder_model, recipe.learning_length) if wanted.bi_encoder else None
    mined = mine_negatives(judged, wanted, recipe.seed, bi_encoder=bi_encoder, run=run, score=_scorer(wanted))
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

    given, split = str(source.dataset), source.split or "train"
    try:
        if (Path(given) / "state.json").is_file():
            records: Any = datasets.load_from_disk(given)
        elif (Path(given) / "dataset_dict.json").is_file():
            records = datasets.load_from_disk(str(Path(given) / split))
        else:
            records = datasets.load_dataset(
                given, source.name, split=split, revision=source.revision, token=token_of_environment()
            )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UsageError(f"data.train: cannot load dataset {given}: {str(error).splitlines()[0][:160]}") from None
    return ((f"{Path(given).name}:{number}", record) for number, record in enumerate(records, start=1))
