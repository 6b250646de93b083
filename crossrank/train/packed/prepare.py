"""Preparation of packed inputs from a recipe: tokenise each text once, list BM25's documents for each query."""

import logging
import random
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import tomli_w
from numpy.typing import NDArray
from tokenizers import Tokenizer

from crossrank.data.bm25 import BM25
from crossrank.data.eval_set import JudgedSet
from crossrank.data.qrels import MEASURED, VALIDATED
from crossrank.errors import UsageError
from crossrank.evaluation.eval_set import EvalSet, read_eval_set
from crossrank.models.location import locate_model
from crossrank.train.overlap import refuse_learning_what_is_measured
from crossrank.train.packed.inputs import NO_DOCUMENT, Ints, PackedInputs, PackedSet
from crossrank.train.recipe import Recipe
from crossrank.train.sources import read_judged_source

_log = logging.getLogger("crossrank.train")

# BM25's documents for each query; a bi-encoder's are found on the GPU.
_DEPTH = 12
_TEXTS_AT_ONCE = 4096
# A text's first characters hold more tokens than are kept, whatever it is written in.
_CHARACTERS_A_TOKEN = 40


def prepare_inputs(recipe: Recipe, share: float = 1.0) -> PackedInputs:
    """Reads, tokenises and packs everything that a recipe names.

    Args:
        recipe: its `data.train` names evaluation sets; `data.dev` and `data.regression_sets` are evaluated on.
        share: of the queries of each source, and of the documents that they do not judge; for rehearsals.

    Raises:
        UsageError: the recipe has another loss, a source is not an evaluation set or has too many documents, or the
            tokenizer has too many tokens.
    """
    if recipe.loss.name != "list_net":
        raise UsageError(f"loss.name: packed training learns lists, not {recipe.loss.name}; set it to list_net")
    refuse_learning_what_is_measured(recipe)
    texts = _Texts(locate_model(recipe.base), recipe.max_length)
    train = []
    for source in recipe.data.train:
        if source.path is None or not source.path.is_dir():
            raise UsageError("data.train: packed inputs are made of evaluation sets; give the path of a directory")
        judged = _shared(read_judged_source(source, recipe.seed), recipe.seed, share)
        _log.info("pack %s: %d queries, %d documents", source.path, len(judged.queries), len(judged.corpus))
        lists = BM25(judged.corpus).top(judged.queries, _DEPTH)
        facts: dict[str, object] = {
            "weight": source.weight,
            "label_weight": source.label_weight,
            "licence": source.licence,
        }
        train.append(_packed(source.path.name, facts, judged, lists, texts))
    tune = []
    for path in (*([recipe.data.dev] if recipe.data.dev else []), *recipe.data.regression_sets):
        otherwise = VALIDATED if path == recipe.data.dev else MEASURED
        most = recipe.evaluation.max_queries
        held_out = read_eval_set(path, max_queries=most, seed=recipe.seed, otherwise=otherwise)
        held_out = _shared_eval_set(held_out, recipe.seed, share)
        tune.append(_packed(path.name, {}, held_out, held_out.candidates, texts))
    return texts.packed(train, tune, tomli_w.dumps(recipe.model_dump(mode="json", exclude={"data"}, exclude_none=True)))


def _shared(judged: JudgedSet, seed: int, share: float) -> JudgedSet:
    """A share of the queries, what they judge, and as large a share of the other documents."""
    if share == 1:
        return judged
    draw = random.Random(seed)
    queries = draw.sample(sorted(judged.queries), max(1, round(share * len(judged.queries))))
    documents = {doc_id for query_id in queries for doc_id in judged.qrels[query_id]}
    kept = {doc_id: body for doc_id, body in judged.corpus.items() if doc_id in documents or draw.random() < share}
    return JudgedSet({query_id: judged.queries[query_id] for query_id in queries}, kept, judged.qrels)


def _shared_eval_set(held_out: EvalSet, seed: int, share: float) -> EvalSet:
    """A share of the queries, with their candidates and what they judge."""
    if share == 1:
        return held_out
    some = random.Random(seed).sample(sorted(held_out.queries), max(1, round(share * len(held_out.queries))))
    few = held_out.only(sorted(some))
    kept = {doc_id for ids in (*few.candidates.values(), *few.qrels.values()) for doc_id in ids}
    return replace(few, corpus={doc_id: body for doc_id, body in few.corpus.items() if doc_id in kept})


class _Texts:
    """Token ids of texts, each text once."""

    def __init__(self, base: Path | str, longest: int) -> None:
        path = Path(base) / "tokenizer.json"
        self._tokenizer = Tokenizer.from_file(str(path))
        if self._tokenizer.get_vocab_size() > 2**16:
            raise UsageError(f"{path}: more than 65,536 tokens cannot be packed into 16 bits")
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(longest)
        self._longest = longest
        self._numbers: dict[str, int] = {}
        self._tokens = array("H")
        self._lengths = array("I")

    def numbers(self, texts: Sequence[str]) -> Ints:
        """The texts' numbers, int32 [texts]."""
        cut = [text[: self._longest * _CHARACTERS_A_TOKEN] for text in texts]
        fresh: Iterator[str] = iter(dict.fromkeys(text for text in cut if text not in self._numbers))
        while some := list(islice(fresh, _TEXTS_AT_ONCE)):
            for text, encoded in zip(
                some, self._tokenizer.encode_batch_fast(some, add_special_tokens=False), strict=True
            ):
                self._numbers[text] = len(self._lengths)
                self._tokens.extend(encoded.ids)
                self._lengths.append(len(encoded.ids))
        return np.fromiter((self._numbers[text] for text in cut), np.int32, len(cut))

    def packed(self, train: list[PackedSet], tune: list[PackedSet], recipe: str) -> PackedInputs:
        """The inputs of these sets."""
        special = {name: self._tokenizer.token_to_id(f"[{name.upper()}]") for name in ("cls", "sep", "pad")}
        starts = np.concatenate(([0], np.cumsum(np.array(self._lengths, dtype=np.int64))))
        return PackedInputs(np.array(self._tokens, dtype=np.uint16), starts, special, train, tune, recipe)


def _packed(
    name: str, facts: dict[str, object], judged: JudgedSet, lists: Mapping[str, Sequence[str]], texts: _Texts
) -> PackedSet:
    if len(judged.corpus) >= NO_DOCUMENT:
        raise UsageError(f"{name}: {len(judged.corpus)} documents; a packed source has fewer than {NO_DOCUMENT}")
    places = {doc_id: place for place, doc_id in enumerate(judged.corpus)}
    judgements = [
        (number, places[doc_id], max(grade, 0))
        for number, query_id in enumerate(judged.queries)
        for doc_id, grade in judged.qrels.get(query_id, {}).items()
    ]
    table = np.array(judgements, dtype=np.int32).reshape(-1, 3)
    found = [[places[doc_id] for doc_id in lists.get(query_id, ())] for query_id in judged.queries]
    return PackedSet(
        name,
        facts,
        texts.numbers(list(judged.queries.values())),
        texts.numbers(list(judged.corpus.values())),
        table[:, :2],
        table[:, 2].astype(np.float32),
        _padded(found),
    )


def _padded(lists: Sequence[Sequence[int]]) -> NDArray[np.uint16]:
    array = np.full((len(lists), max(map(len, lists), default=0)), NO_DOCUMENT, dtype=np.uint16)
    for row, places in zip(array, lists, strict=True):
        row[: len(places)] = places
    return array
