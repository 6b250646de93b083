"""An evaluation set with the scores of two systems, small enough to work out every figure by hand."""

from collections.abc import Mapping

import numpy as np

from crossrank.data.eval_set import JudgedSet
from crossrank.data.trec import Run, ranking_from_scores
from crossrank.evaluation.compare import SystemComparison, compare_systems
from crossrank.evaluation.eval_set import EvalSet

ATTACK = '<script>alert("1")</script> & größe 日本'

# By hand. "up": the relevant document goes from 3 to 1, nDCG@10 from 1/log2(4) = 0.5 to 1. "down": the document of
# grade 2 goes from 1 to 2 and that of grade 1 from 2 to 1, nDCG@10 from 1 to (1 + 2/log2(3)) / (2 + 1/log2(3)).
JUDGED = JudgedSet(
    {"up": ATTACK, "down": "what went down", "same": "what stayed", "unjudged": "nobody knows"},
    {"a": "first\n  document", "b": ATTACK, "c": "", "d": "x" * 201, "e": "y" * 200},
    {"up": {"a": 1, "b": 0}, "down": {"d": 2, "e": 1}, "same": {"a": 1}},
)
UNTUNED: Run = {
    "up": {"a": 0.1, "b": 0.3, "c": 0.2},
    "down": {"d": 0.9, "e": 0.8},
    "same": {"a": 0.9, "c": 0.1},
    "unjudged": {"a": 0.5},
}
TUNED: Run = {
    "up": {"a": 3.0, "b": 2.0, "c": 1.0},
    "down": {"d": 1.0, "e": 2.0},
    "same": {"a": 2.0, "c": -1.0},
    "unjudged": {"a": 0.5},
}
AFTER_DOWN = (1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3))


def evaluated(judged: JudgedSet, runs: Mapping[str, Run]) -> SystemComparison:
    candidates = {query_id: list(scores) for query_id, scores in next(iter(runs.values())).items()}
    eval_set = EvalSet(judged.queries, judged.corpus, judged.qrels, candidates, "by hand")
    return compare_systems(eval_set, {name: ranking_from_scores(run) for name, run in runs.items()})
