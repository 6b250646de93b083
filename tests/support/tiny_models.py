"""Cross-encoders with random weights and tokenizers of their own: seconds to export, every architecture's own way."""

import string
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    CamembertConfig,
    Data2VecTextConfig,
    DebertaV2Config,
    LongformerConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    RobertaConfig,
    XLMRobertaConfig,
)

MAX_LENGTH = 48
_WORDS = [
    *("how", "to", "read", "a", "file", "city", "capital", "of", "the", "france", "paris", "add", "two", "numbers"),
    *("return", "def", "import", "json", "parse", "empty", "nothing", "what", "is", "long", "word"),
]
_LETTERS = [*string.ascii_lowercase, *string.digits, *"()[]{}:,.+-*/=_'\"#"]

_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "num_labels": 1,
    "initializer_range": 0.25,
}


def tiny_cross_encoder(kind: str, directory: Path) -> Path:
    """Writes a cross-encoder of a kind: of bert, deberta-v2, modernbert, qwen2, and roberta with its relatives."""
    tokenizer, config = _MADE[kind]()
    torch.manual_seed(0)
    model: Any = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name.lower():  # fresh ones are ones and zeros, which would hide a mistake with them
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.eval().save_pretrained(directory, safe_serialization=True)
    tokenizer.save_pretrained(directory)
    return directory


def _bert() -> tuple[Any, Any]:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = list(dict.fromkeys([*specials, *_WORDS, *_LETTERS, *(f"##{letter}" for letter in _LETTERS)]))
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = _template(tokenizer, "[CLS] $A [SEP] $B:1 [SEP]:1", ("[CLS]", "[SEP]"))
    fast = _fast(tokenizer, "[CLS]", "[SEP]", "[PAD]", "[UNK]", ["input_ids", "token_type_ids", "attention_mask"])
    return fast, BertConfig(vocab_size=len(vocabulary), **_SIZES)


def _deberta() -> tuple[Any, Any]:
    fast, config = _bert()
    sizes = {**_SIZES, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}
    return fast, DebertaV2Config(vocab_size=config.vocab_size, pooler_hidden_size=32, **sizes)


def _modernbert() -> tuple[Any, Any]:
    tokenizer = _characters(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = _template(tokenizer, "[CLS] $A [SEP] $B [SEP]", ("[CLS]", "[SEP]"))
    fast = _fast(tokenizer, "[CLS]", "[SEP]", "[PAD]", "[UNK]", ["input_ids", "attention_mask"])
    ids = {name: tokenizer.token_to_id(f"[{name.upper()}]") for name in ("pad", "cls", "sep")}
    return fast, ModernBertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        pad_token_id=ids["pad"],
        cls_token_id=ids["cls"],
        sep_token_id=ids["sep"],
        bos_token_id=ids["cls"],
        eos_token_id=ids["sep"],
        attn_implementation="sdpa",
        **{**_SIZES, "global_attn_every_n_layers": 2, "local_attention": 16},
    )


def _roberta(config: Callable[..., Any]) -> tuple[Any, Any]:
    tokenizer = _characters(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = _template(tokenizer, "<s> $A </s> </s> $B </s>", ("<s>", "</s>"))
    fast = _fast(tokenizer, "<s>", "</s>", "<pad>", "<unk>", ["input_ids", "attention_mask"])
    sizes = {**_SIZES, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    return fast, config(vocab_size=tokenizer.get_vocab_size(), pad_token_id=1, bos_token_id=0, eos_token_id=2, **sizes)


def _qwen2() -> tuple[Any, Any]:
    """A decoder, whose head reads the last token that is not the padding: here id 4."""
    tokenizer = _characters(["<unk>", "<s>", "</s>", "<mask>", "<pad>"])
    tokenizer.post_processor = _template(tokenizer, "<s> $A </s> $B </s>", ("<s>", "</s>"))
    fast = _fast(tokenizer, "<s>", "</s>", "<pad>", "<unk>", ["input_ids", "attention_mask"])
    sizes = {**_SIZES, "num_key_value_heads": 2}
    return fast, Qwen2Config(vocab_size=tokenizer.get_vocab_size(), pad_token_id=fast.pad_token_id, **sizes)


def _characters(specials: list[str]) -> Tokenizer:
    """A unigram tokenizer of words and letters, as SentencePiece's are."""
    pieces = [*specials, "▁", *_LETTERS, *(f"▁{word}" for word in dict.fromkeys(_WORDS))]
    unknown = next(n for n, piece in enumerate(pieces) if "unk" in piece.lower())
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=unknown))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def _template(tokenizer: Tokenizer, pair: str, specials: tuple[str, str]) -> Any:
    single = pair.split(" $B")[0].split(" </s> </s>")[0]
    single = f"{single} </s>" if single.endswith("$A") else single
    return processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(name, tokenizer.token_to_id(name)) for name in specials]
    )


def _fast(tokenizer: Tokenizer, cls: str, sep: str, pad: str, unk: str, inputs: list[str]) -> Any:
    tokenizer.add_special_tokens([cls, sep, pad, unk])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token=cls,
        sep_token=sep,
        pad_token=pad,
        unk_token=unk,
        bos_token=cls,
        eos_token=sep,
        model_max_length=MAX_LENGTH,
        model_input_names=inputs,
    )


_MADE: dict[str, Callable[[], tuple[Any, Any]]] = {
    "bert": _bert,
    "deberta-v2": _deberta,
    "modernbert": _modernbert,
    "camembert": lambda: _roberta(CamembertConfig),
    "data2vec-text": lambda: _roberta(Data2VecTextConfig),
    "longformer": lambda: _roberta(partial(LongformerConfig, attention_window=8)),
    "mpnet": lambda: _roberta(MPNetConfig),
    "qwen2": _qwen2,
    "roberta": lambda: _roberta(RobertaConfig),
    "xlm-roberta": lambda: _roberta(XLMRobertaConfig),
}
