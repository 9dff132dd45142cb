"""Token ids of a text of any length, in memory that does not grow with it.

A tokenizer takes up to several hundred bytes for a character, and a model reads a few thousand tokens at most. So a
long text is read in slices, and only ids up to the model's limit are kept. Slices end before a blank: the tokenizers
here cut a text into words first and see each by itself, so the ids are those of the whole text. Only a word of more
than ``LONGEST_WORD`` characters, or of ``LETTERS_PER_TOKEN`` for each token that the model reads, is cut within. There
are no such words, but text in scripts without blanks may come as one: its ids differ from the whole's at the cuts
alone, and the first cut lies beyond what the model reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

SLICE = 8_192
"""Characters; a text that has no more is not sliced."""
LONGEST_WORD = 32_768
LETTERS_PER_TOKEN = 8
_SWELLING = re.compile("[\u3300-\u33ff\ufdf0-\ufdfc]")
"""Letters that stand for five or more (NFKC), up to eighteen: nobody writes a long word of many of them."""
_BLANKS = (" ", "\n")  # in any Unicode and any tokenizer


@dataclass(frozen=True, slots=True)
class LongText:
    """What was read of a text."""

    token_ids: list[int]  # within the limit, special tokens included
    tokens: int  # of all that was read, special ones included
    read: int  # characters; the ids within the limit are those of as many alone
    is_whole: bool  # whether that is the whole text


def slices(text: str, longest_word: int = LONGEST_WORD, splits_at_blanks: bool = True) -> Iterator[str]:
    """The text in pieces of about ``SLICE`` characters, that together are the text."""
    start = 0
    while start < len(text):
        first, last = start + SLICE, min(start + longest_word, len(text))
        found = [text.find(blank, first, last) for blank in _BLANKS] if splits_at_blanks else []
        end = min((each for each in found if each > 0), default=last)
        if end - start > SLICE and len(_SWELLING.findall(text, start, end)) > SLICE // 8:
            end = start + SLICE
        yield text[start:end]
        start = end


def read_long_text(tokenizer: Tokenizer, prefix: str, text: str, limit: int, count_up_to: int | None) -> LongText:
    """Ids within a limit, and how many there would be.

    Args:
        tokenizer: puts one special token in front and one behind.
        prefix: before the text, with a blank at its end, or "".
        limit: tokens, special ones included.
        count_up_to: tokens after which the rest is not counted; None: all are.
    """
    first, last = tokenizer.encode("").ids
    kept: list[int] = []
    tokens, read = 2, 0
    splits_at_blanks = "WhitespaceSplit" in repr(tokenizer.pre_tokenizer)
    pieces = slices(text, max(LONGEST_WORD, LETTERS_PER_TOKEN * limit), splits_at_blanks)
    for group in _groups(pieces, LONGEST_WORD if count_up_to is None else 1):
        for number, ids in enumerate(_ids(tokenizer, [prefix + group[0], *group[1:]] if read == 0 else group)):
            tokens += len(ids) - 2
            read += len(group[number])
            if len(kept) < limit - 2:
                kept += ids[1:-1][: limit - 2 - len(kept)]
        if count_up_to is not None and tokens > count_up_to:
            break
    return LongText([first, *kept, last], tokens, read, read == len(text))


def _groups(pieces: Iterable[str], characters: int) -> Iterator[list[str]]:
    """Pieces that the tokenizer's threads read together: few enough that all of them are little."""
    group: list[str] = []
    for piece in pieces:
        if group and sum(map(len, group)) + len(piece) > characters:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Ids alone: all else that the tokenizer made is let go before the next are read."""
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
