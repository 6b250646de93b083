"""Judgements to training rows."""

import random
from pathlib import Path

from judgements.judged_set import JudgedSet, is_judged_set, read_judged_set
from judgements.rows import Row, read_rows
from serve.errors import UsageError
from train.negatives import mine_negatives
from train.recipe import Recipe


def training_rows(recipe: Recipe) -> list[Row]:
    """The rows of a recipe, in an order that is a function of its seed.

    A judged set gives its relevant documents the label 1, its judged irrelevant ones 0, and is filled up with
    negatives; rows are taken as they are.

    Raises:
        UsageError: no such data, or rows of a single label, from which nothing can be learnt.
        judgements.errors.JudgementsError: a line is at fault.
    """
    path = recipe.data.train
    if not path.exists():
        raise UsageError(f"data.train: {path} does not exist")
    rows = _judged_rows(read_judged_set(path), recipe) if is_judged_set(path) else read_rows(path)
    if len({row.label for row in rows}) < 2:
        raise UsageError(f"data.train: all {len(rows)} rows have the same label; a ranker learns from differences")
    random.Random(recipe.seed).shuffle(rows)
    return rows


def dev_set(path: Path) -> JudgedSet:
    """The judged set that a model is evaluated on.

    Raises:
        UsageError: no such set, or nothing in it is judged relevant.
        judgements.errors.JudgementsError: a line is at fault.
    """
    if not is_judged_set(path):
        raise UsageError(f"{path} is no judged set: it needs queries.jsonl, corpus.jsonl and qrels.tsv")
    judged = read_judged_set(path)
    if not any(judged.positives(query_id) for query_id in judged.queries):
        raise UsageError(f"{path}: no query has a relevant document; there is nothing to measure an order on")
    return judged


def _judged_rows(judged: JudgedSet, recipe: Recipe) -> list[Row]:
    queries = [query_id for query_id in judged.queries if judged.positives(query_id)]
    if recipe.data.max_queries and recipe.data.max_queries < len(queries):
        queries = random.Random(recipe.seed).sample(queries, recipe.data.max_queries)
    chosen = JudgedSet({query_id: judged.queries[query_id] for query_id in queries}, judged.corpus, judged.qrels)
    mined = mine_negatives(chosen, recipe.data.negatives, recipe.seed)
    rows = []
    for query_id in queries:
        query = judged.queries[query_id]
        for doc_id, grade in judged.qrels[query_id].items():
            rows.append(Row(query, judged.corpus[doc_id], 1.0 if grade > 0 else 0.0))
        rows.extend(Row(query, judged.corpus[doc_id], 0.0) for doc_id in mined[query_id])
    return rows
