"""The first sentence of a docstring, as a query in plain words."""

import inspect
import re

MIN_WORDS, MAX_WORDS = 3, 40
_MAX_CHARACTERS = 2000

_TOO_SHORT = f"function: first docstring sentence has fewer than {MIN_WORDS} words"
_TOO_LONG = f"function: first docstring sentence has more than {MAX_WORDS} words"
_NOT_ENGLISH = "function: first docstring sentence does not read as English"
_BOILERPLATE = "function: first docstring sentence is boilerplate or points elsewhere"

_BOILERPLATE_START = re.compile(
    r"(?:please )?(?:see(?! (?:if|whether|that|how|what))|refer to|same as|identical to|equivalent (?:to|of)"
    r"|alias|synonym|deprecated|obsolete|overrid(?:e|es|den|ing)|inherit(?:s|ed)|internal use|for internal"
    r"|(?:this is )?not (?:yet )?implemented|undocumented|todo|fixme|xxx|returns? self$|abstract method"
    r"|constructor|public api|private api|implements? (?:the )?(?:abstract|base|parent|interface|super))\b"
    r"|(?:an? |the |this is an? )?(?:\w+ )?(?:helper|utility|convenience|internal|private)"
    r"(?: (?:function|method|routine|helper|api|only|use))+$",
    re.IGNORECASE,
)
_ROLE = re.compile(r"(?::[\w+.-]+)+:`([^`]+)`")
_MARKUP = (
    (re.compile(r"(`+)([^`]+?)(?:\s*<[^<>`]*>)?\1_{0,2}"), r"\2"),
    (re.compile(r"`([^`']+)'"), r"\1"),
    (re.compile(r"(?<![\w*])(\*{1,2})(\w(?:[^*]*\w)?)\1(?![\w*])"), r"\2"),
    (re.compile(r"\b[BCILMUX]\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\[([^\]]+)\]\([^)\s]+\)"), r"\1"),
    (re.compile(r"`+|\s*::?$"), ""),
)
_AFTER_THE_SUMMARY = re.compile(
    r"\s*(?:>>>|\.\. |:[\w ]+:(?!`)|@\w+|[-=~^*]{3,}\s*$|[-*+•] |\d+[.)] "
    r"|(?:arg(?:ument)?s?|param(?:eter)?s?|returns?|raises|yields|examples?|notes?|usage|see also)\s*:*\s*$)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(
    r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bvs)(?<!\bcf)(?<!\bincl)(?<!\.)[.!?](?=\s|$)", re.IGNORECASE
)
_PLAIN_WORD = re.compile(r"[(\"']*[A-Za-z]+(?:['/-][A-Za-z]+)*[)\"',;:.!?]*")


def first_sentence(docstring: str, name: str) -> str:
    """Cut a docstring of the function `name` down to its first sentence, on one line, without markup."""
    paragraph = _first_paragraph(_without_signature(inspect.cleandoc(docstring), name))
    plain = _ROLE.sub(_role_text, paragraph[:_MAX_CHARACTERS])
    for pattern, replacement in _MARKUP:
        plain = pattern.sub(replacement, plain)
    plain = " ".join(plain.split())
    plain = re.sub(r"^(?:internal|private|helper): ", "", plain, flags=re.IGNORECASE)
    return _SENTENCE_END.split(plain, maxsplit=1)[0].strip(" .,:;-")


def sentence_problem(sentence: str) -> str | None:
    """Say why a first sentence cannot be a query, or return None where it can."""
    words = sentence.split()
    if len(words) < MIN_WORDS:
        return _TOO_SHORT
    if len(words) > MAX_WORDS:
        return _TOO_LONG
    if _BOILERPLATE_START.match(sentence):
        return _BOILERPLATE
    letters = sum(character.isascii() and character.isalpha() for character in sentence)
    plain_words = sum(_PLAIN_WORD.fullmatch(word) is not None for word in words)
    if not sentence.isprintable() or letters < 0.75 * len("".join(words)) or plain_words < 0.6 * len(words):
        return _NOT_ENGLISH
    return None


def _without_signature(text: str, name: str) -> str:
    """Take "name(args) -> result" lines and a leading "name -- " off the start of a docstring."""
    call = re.compile(rf"(?:\w+\.)*{re.escape(name)} ?\(")
    while (start := call.match(text)) is not None:
        end = _closing_parenthesis(text, start.end())
        result = re.match(r"[ \t]*(?:->|=>)[^\n]*?(?= --? |[.:;]\s|\n|$)", text[end:])
        text = text[end + (result.end() if result else 0) :].lstrip(" \t\n.:;-")
    return re.sub(rf"^{re.escape(name)}\s*(?:--+|-|:|—)\s+", "", text)


def _closing_parenthesis(text: str, position: int) -> int:
    depth = 1
    while depth and position < len(text):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        position += 1
    return position


def _first_paragraph(text: str) -> str:
    kept: list[str] = []
    for line in text.split("\n"):
        if not line.strip() or _AFTER_THE_SUMMARY.match(line):
            break
        # A short line before a capital is a headline without its full stop, not a wrapped sentence.
        if kept and len(kept[-1]) < 50 and line[0].isupper():
            break
        kept.append(line)
    return "\n".join(kept)


def _role_text(match: re.Match[str]) -> str:
    target = match[1].lstrip("!")
    if target.startswith("~"):
        return target.rpartition(".")[2].lstrip("~")
    return re.sub(r"\s*<[^<>]*>$", "", target)
