"""Tokenizers of every kind: the tiny models' own, and others that split, normalise and join texts in their own way."""

from collections.abc import Callable
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from crossrank.inference.ranker.hub import DEFAULT_RANKER
from tests.support.tiny_models import tiny_cross_encoder

TINY = ("bert", "roberta", "xlm-roberta", "deberta-v2", "modernbert")
_CORPUS = ["how to read a file", "def add(a, b):\n    return a + b", "the capital of France is Paris", "new york 2024"]


def tokenizer_directory(kind: str, directory: Path) -> Path:
    """Writes the `tokenizer.json` of a kind below a directory, and gives the directory that holds it."""
    if kind == "default":
        return DEFAULT_RANKER
    directory.mkdir(exist_ok=True)
    if kind in TINY:
        return tiny_cross_encoder(kind, directory)
    KINDS[kind]().save(str(directory / "tokenizer.json"))
    return directory


def _byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(_CORPUS * 4, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    tokenizer.add_tokens([AddedToken("  ", normalized=False), AddedToken("    ", normalized=False)])
    return tokenizer


def _decoder() -> Tokenizer:
    """Pre-tokenised by a pattern, as GPT-4's and Qwen's are, and composed by a normalizer."""
    tokenizer = _byte_level()
    tokenizer.normalizer = normalizers.NFC()
    pattern = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _unsplit() -> Tokenizer:
    """Tokens span words, and a replacement lies before the whole text."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.train_from_iterator(
        ["a b c"] * 50 + _CORPUS, trainers.BpeTrainer(vocab_size=150, special_tokens=["<unk>"])
    )
    return tokenizer


def _spanning_metaspace() -> Tokenizer:
    tokenizer = Tokenizer(
        models.Unigram([("<unk>", -5.0), ("▁", -2.0), *((letter, -3.0) for letter in "abcdefgh"), ("▁a▁b", -1.0)], 0)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    return tokenizer


def _added_phrase() -> Tokenizer:
    tokenizer = _byte_level()
    tokenizer.add_tokens(["a b", "new york"])
    return tokenizer


def _replacing() -> Tokenizer:
    """A pattern of its normalizer reaches over words."""
    tokenizer = _byte_level()
    tokenizer.normalizer = normalizers.Replace(Regex("a.*b"), "z")
    return tokenizer


def _document_first() -> Tokenizer:
    tokenizer = _byte_level()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair="<s>:3 $B:2 </s> <s>:1 $A:1 </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": _byte_level,
    "decoder": _decoder,
    "unsplit": _unsplit,
    "spanning-metaspace": _spanning_metaspace,
    "added-phrase": _added_phrase,
    "replacing": _replacing,
    "document-first": _document_first,
}
# Those whose texts are read as a whole: nothing tells where their tokens end.
WHOLE = ("unsplit", "spanning-metaspace", "added-phrase", "replacing")
