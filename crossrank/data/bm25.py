"""BM25, the lexical baseline and first stage (Robertson and Zaragoza 2009), on bm25s (Lù 2024).

Words are split where identifiers are: at underscores, at camelCase humps and around digits. A question about code
says "parse http header", and its function is called `parse_http_header` or `parseHTTPHeader`. Left whole, such a
name matches no word of any question, and whatever is compared with BM25 would win by BM25's tokeniser alone.
"""

import logging
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import chain

# Where JAX is installed, bm25s starts it, and it would take most of a GPU's memory from the training.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import bm25s
import numpy as np
import numpy.typing as npt
import Stemmer
from bm25s.stopwords import STOPWORDS_EN

from crossrank.data.trec import Ranking
from crossrank.progress import Progress

_LOG = logging.getLogger("crossrank.data")

K1 = 1.2
B = 0.75

# Letters and digits; a mark, such as Hindi's vowel signs, and a joiner stay with what they follow.
_MARKS = "".join(one for one in map(chr, range(0x300, 0x110000)) if unicodedata.category(one)[0] == "M")
_WORD = re.compile(rf"[^\W_][^\W_{_MARKS}]*(?:[{_MARKS}\u200c\u200d]+[^\W_{_MARKS}]*)*")
# Scripts that are written without spaces between words: their pairs of neighbours take the place of words.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_STOPWORDS = frozenset(STOPWORDS_EN)

# bm25s sets its logger to DEBUG, and would talk into the output of whoever has configured logging.
logging.getLogger("bm25s").setLevel(logging.WARNING)


class BM25:
    """An index of documents with k1 = 1.2, b = 0.75 and Lucene's idf, ln(1 + (N - df + 0.5) / (df + 0.5))."""

    def __init__(self, documents: Mapping[str, str]) -> None:
        """Index texts by document id."""
        self._doc_ids = list(documents)
        self._position = {doc_id: position for position, doc_id in enumerate(self._doc_ids)}
        with Progress(_LOG, "index for BM25", total=len(documents)) as progress:
            tokens = []
            for text in documents.values():
                tokens.append(tokenize(text))
                progress.advance()
        self._index = None
        if any(tokens):
            self._index = bm25s.BM25(k1=K1, b=B, method="lucene")
            self._index.index(tokens, show_progress=False)

    def top(self, queries: Mapping[str, str], k: int) -> Ranking:
        """The at most k best documents of each query; equal scores in corpus order, scores of 0 left out.

        Raises:
            ValueError: k is below 1.
        """
        if k < 1:
            raise ValueError(f"k is {k}; it must be at least 1")
        ranking: Ranking = {}
        with Progress(_LOG, "search with BM25", total=len(queries)) as progress:
            for query_id, query in queries.items():
                scores = self._scores(query)
                matching = np.flatnonzero(scores)
                if len(matching) > k:  # sorting all that share a word with the query would take most of the time
                    least = np.partition(scores[matching], -k)[-k]
                    matching = matching[scores[matching] >= least]
                best = matching[np.argsort(-scores[matching], kind="stable")[:k]]
                ranking[query_id] = [self._doc_ids[position] for position in best]
                progress.advance()
        return ranking

    def order(self, query: str, doc_ids: Sequence[str]) -> list[str]:
        """Documents of the index by falling score; equal scores keep the order that they are given in.

        Raises:
            KeyError: A document is not in the index.
        """
        positions = np.array([self._position[doc_id] for doc_id in doc_ids], dtype=np.intp)
        scores = self._scores(query)[positions]
        return [doc_ids[rank] for rank in np.argsort(-scores, kind="stable")]

    def _scores(self, query: str) -> npt.NDArray[np.float32]:
        ids = [] if self._index is None else self._index.get_tokens_ids(tokenize(query))
        if self._index is None or not ids:
            return np.zeros(len(self._doc_ids), dtype=np.float32)
        scores: npt.NDArray[np.float32] = self._index.get_scores_from_ids(ids)
        return scores


def tokenize(text: str) -> list[str]:
    """Words in lower case, identifiers split, without English stopwords (Lucene's 33), stemmed (Porter 2).

    Texts are compared in NFKC. Words with other than ASCII letters stay whole, marks and all; what is written without
    spaces (Chinese, Japanese, Thai, Lao, Burmese, Khmer) becomes its pairs of neighbouring characters.
    """
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    parts = chain.from_iterable(_parts(word) for word in _WORD.findall(text))
    stemmed: list[str] = Stemmer.Stemmer("english").stemWords([part for part in parts if part not in _STOPWORDS])
    return stemmed


def _parts(word: str) -> list[str]:
    if word.isascii():
        return [part.lower() for part in _PART.findall(word)]
    parts: list[str] = []
    end = 0
    for run in _UNSPACED.finditer(word):
        parts += _parts_of_spaced(word[end : run.start()])
        together = run[0]
        parts += [together[place : place + 2] for place in range(len(together) - 1)] or [together]
        end = run.end()
    return parts + _parts_of_spaced(word[end:])


def _parts_of_spaced(word: str) -> list[str]:
    if word.isascii():
        return [part.lower() for part in _PART.findall(word)]
    return [word.lower()]
