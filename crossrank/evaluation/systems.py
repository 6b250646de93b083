"""The systems that an evaluation compares: ids for code and files, labels for people."""

TUNED = "tuned"
BASE = "base"
BASE_CUT = "base_cut"
COSINE = "cosine"
BM25 = "bm25"
RRF = "rrf"
TEACHER = "teacher"

_LABELS = {
    TUNED: "tuned",
    BASE: "base, untuned",
    BASE_CUT: "base at that depth, untuned",
    COSINE: "cosine of the base",
    BM25: "BM25",
    RRF: "BM25 + cosine (RRF)",
    TEACHER: "teacher",
}


def label(system: str) -> str:
    """How a system is printed; what is none of these, such as a model's name, is printed as it is."""
    return _LABELS.get(system, system)
