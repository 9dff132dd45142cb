"""Texts become token ids.

The fast tokenizer of the model's folder is the reference (docs/reference/published-model.md#tokenizer).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from babelclip.arrays import NO_ADAPTER, TextBatch
from babelclip.errors import ConfigError, FolderError, TextError, UnknownTask
from babelclip.prepare.config import TextPrepareConfig
from babelclip.prepare.long_texts import SLICE, read_long_text

SMALLEST_MAX_TOKENS = 3
"""Both special tokens and one token of the text."""


@dataclass(frozen=True, slots=True)
class Tokenized:
    """Token ids of some texts, each already within the limit, and what the limit cost."""

    token_ids: list[list[int]]  # one list per text, special tokens included, not padded
    num_cut: int  # texts that were cut
    num_dropped: int  # tokens that the cuts took away, over all texts
    longest: int  # tokens of the longest text before it was cut; 0 without texts
    max_tokens: int  # the limit that was applied


@dataclass(frozen=True, slots=True)
class TextLength:
    """What a text comes to."""

    tokens: int  # special ones included; of ``text`` alone
    text: str  # what was read of it: its start
    is_whole: bool  # whether that is all of it


class TextPreparer:
    """Turns texts into ids and ids into batches. Holds no state between calls, so threads may share one.

    Truncation and padding that the tokenizer file carries are switched off: the published jina-clip-v2 file carries 77
    for both. The cut is made here instead, because the tokenizer's own settings would be shared between threads.
    """

    def __init__(self, tokenizer_file: Path, config: TextPrepareConfig) -> None:
        self.config = config
        self._tokenizer = _read_tokenizer(tokenizer_file)
        _check_config(config)
        _check_tokenizer(self._tokenizer, tokenizer_file, config)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that the model knows."""
        return tuple(self.config.instructions)

    def digest(self) -> str:
        """Tells preparers apart that would give other ids: 32 hex digits of the tokenizer and the configuration."""
        parts = (self._tokenizer.to_str(), repr(self.config))
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def pieces(self) -> list[str]:
        """The vocabulary's pieces by token id, added tokens included."""
        return [self._tokenizer.id_to_token(token_id) or "" for token_id in range(self.vocab_size)]

    @property
    def vocab_size(self) -> int:
        """Number of token ids, added tokens included."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def tokenize(self, texts: Sequence[str], task: str | None = None, max_tokens: int | None = None) -> Tokenized:
        """Ids of each text with its task's instruction in front.

        Args:
            texts: to tokenize.
            task: one of the model's tasks; None: its default.
            max_tokens: special tokens included; None stands for the model's whole context. A cut keeps the start of the
                text and the closing special token.

        Raises:
            UnknownTask: the model has no such task.
            ConfigError: a limit out of range.
            TextError: the first text that is none.
        """
        limit = self._limit(max_tokens)
        prefix = self.instruction(task)
        checked = [check_text(text, f"text {index}") for index, text in enumerate(texts)]
        if self.config.strip:
            checked = [text.strip() for text in checked]
        short = [text for text in checked if len(text) <= SLICE]
        read = iter(self._tokenizer.encode_batch_fast([prefix + text for text in short]))
        token_ids: list[list[int]] = []
        lengths: list[int] = []  # before the cut
        for text in checked:
            if len(text) <= SLICE:
                ids = next(read).ids
                token_ids.append(ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]])
                lengths.append(len(ids))
            else:
                long_text = read_long_text(self._tokenizer, prefix, text, limit, None)
                token_ids.append(long_text.token_ids)
                lengths.append(long_text.tokens)
        over = [length - limit for length in lengths if length > limit]
        return Tokenized(
            token_ids=token_ids,
            num_cut=len(over),
            num_dropped=sum(over),
            longest=max(lengths, default=0),
            max_tokens=limit,
        )

    def measure(self, text: str, task: str | None = None, *, count_up_to: int) -> TextLength:
        """How many tokens a text has, as far as somebody wants to know.

        Args:
            text: to measure.
            task: as in ``tokenize``.
            count_up_to: tokens; not much more of the text is read than what has so many.

        Raises:
            UnknownTask: the model has no such task.
            TextError: it is no text.
        """
        prefix, text = self.instruction(task), check_text(text)
        if self.config.strip:
            text = text.strip()
        if len(text) <= SLICE:
            return TextLength(len(self._tokenizer.encode_batch_fast([prefix + text])[0].ids), text, True)
        found = read_long_text(self._tokenizer, prefix, text, self.config.max_tokens, count_up_to)
        return TextLength(found.tokens, text[: found.read], found.is_whole)

    def batch(self, token_ids: Sequence[Sequence[int]], task: str | Sequence[str | None] | None = None) -> TextBatch:
        """Pad ids to the longest of them. ``task`` is one for all rows, or a sequence with one per row."""
        rows = len(token_ids)
        tasks = [task] * rows if task is None or isinstance(task, str) else list(task)
        if len(tasks) != rows:
            raise ConfigError(f"{len(tasks)} tasks for {rows} texts: give one for all, or one per text")
        width = max(map(len, token_ids), default=0)
        padded = np.full((rows, width), self.config.pad_id, dtype=np.int64)
        for row, ids in enumerate(token_ids):
            padded[row, : len(ids)] = ids
        return TextBatch(token_ids=padded, adapters=np.array([self.adapter(t) for t in tasks], dtype=np.int64))

    def instruction(self, task: str | None) -> str:
        """The words that ``task`` puts in front of a text, trailing blank included; "" without a task."""
        known = self._known_task(task)
        return "" if known is None else self.config.instructions[known]

    def adapter(self, task: str | None) -> int:
        """Index of the adapter that a text of ``task`` uses, ``NO_ADAPTER`` for the base weights alone."""
        known = self._known_task(task)
        name = self.config.always_adapter or known
        return self.config.adapters.index(name) if name is not None and self.config.adapters else NO_ADAPTER

    def _known_task(self, task: str | None) -> str | None:
        if task is None:
            task = self.config.default_task
        if task is None:
            return None
        if not isinstance(task, str) or task not in self.config.instructions:
            known = ", ".join(map(repr, self.config.instructions)) or "none at all"
            raise UnknownTask(f"unknown task {task!r}; this model knows {known}. Without a task nothing is added.")
        return task

    def _limit(self, max_tokens: int | None) -> int:
        whole_context = self.config.max_tokens
        if max_tokens is None:
            return whole_context
        whole = isinstance(max_tokens, int | np.integer) and not isinstance(max_tokens, bool)
        if not whole or not SMALLEST_MAX_TOKENS <= max_tokens <= whole_context:
            raise ConfigError(
                f"max_tokens must be a whole number from {SMALLEST_MAX_TOKENS} (two special ones and one more) "
                f"to this model's {whole_context}, found {max_tokens!r}"
            )
        return int(max_tokens)


def check_text(text: object, name: str = "text") -> str:
    """``text`` itself where it can be embedded, else a ``TextError`` that says why; ``name`` begins the message."""
    if not isinstance(text, str):
        advice = (
            "; decode bytes first, for instance with .decode('utf-8')" if isinstance(text, bytes | bytearray) else ""
        )
        raise TextError(f"{name}: expected a str, found {type(text).__name__}{advice}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TextError(
            f"{name}: the character at position {error.start} is a lone surrogate (U+{ord(text[error.start]):04X}), "
            "which no text has: decode the source as UTF-8 and decide what to do with bytes that are not"
        ) from error
    return str(text)  # subclasses such as numpy.str_ too become what the tokenizer takes


def _read_tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise FolderError(f"no tokenizer file at {path}: a model folder needs a tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises a bare Exception for everything that it cannot read
        raise FolderError(f"{path} is not a tokenizer.json that the tokenizers library can read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _check_config(config: TextPrepareConfig) -> None:
    if config.max_tokens < SMALLEST_MAX_TOKENS:
        raise ConfigError(f"a context of {config.max_tokens} tokens is too short: at least {SMALLEST_MAX_TOKENS}")
    if config.default_task is not None and config.default_task not in config.instructions:
        raise ConfigError(f"default_task {config.default_task!r} is not one of the tasks {list(config.instructions)}")
    if config.always_adapter is not None:
        if config.always_adapter not in config.adapters:
            raise ConfigError(f"always_adapter {config.always_adapter!r} is not one of {list(config.adapters)}")
    elif config.adapters:
        without = [task for task in config.instructions if task not in config.adapters]
        if without:
            raise ConfigError(f"the tasks {without} have no adapter among {list(config.adapters)}")


def _check_tokenizer(tokenizer: Tokenizer, path: Path, config: TextPrepareConfig) -> None:
    """The cut and the attention mask rely on these two facts, so a tokenizer without them is refused."""
    empty = tokenizer.encode("").ids
    if len(empty) != 2:
        raise ConfigError(
            f"{path} gives an empty text the ids {empty}: expected one special token in front, one behind"
        )
    pad_id = tokenizer.token_to_id("<pad>")
    if pad_id != config.pad_id:
        raise ConfigError(f"{path} gives <pad> the id {pad_id}, the configuration says {config.pad_id}")
