"""What is wrong with a command line, in the one line that every error of this command is told in."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import (
    CycloptsError,
    MissingArgumentError,
    Token,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)


def usage_message(error: CycloptsError) -> str:
    """What was found, what was expected, and where to read more."""
    error.verbose = False
    command = " ".join(("babelclip", *(error.command_chain or ())))
    message = _reason(error).rstrip(". \n")
    if message[:2].istitle():
        message = f"{message[:1].lower()}{message[1:]}"
    return f"{message}{'' if message.endswith('?') else '.'} See: {command} --help"


def _reason(error: CycloptsError) -> str:
    match error:
        case MissingArgumentError() if error.argument is not None and (error.keyword or error.argument.tokens):
            return f"{error.keyword or error.argument.name} needs a value"
        case MissingArgumentError() if error.argument is not None:
            return f"{error.argument.name} is missing"
        case UnusedCliTokensError():
            return f"expected no more than this, found {' '.join(error.unused_tokens or ())!r} too"
        case UnknownCommandError() if error.app is not None and error.unused_tokens:
            return _unknown_verb(error.unused_tokens[0], [name for name in error.app if not name.startswith("-")])
        case ValidationError() if error.group is not None:
            return error.exception_message
    return str(error)


def _unknown_verb(word: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    nearest = get_close_matches(word, known, n=1)
    guess = f" Did you mean {nearest[0]}?" if nearest else ""
    return f"expected one of {', '.join(known)}, found {word!r}.{guess}"


def refuse_flags(words: Sequence[str], verb: str) -> None:
    """Refuse a misspelled option among words, where a lone hyphen is a word.

    Args:
        words: what was taken for words.
        verb: whose options there are.

    Raises:
        UnknownOptionError: a word begins with two hyphens; it names the option that is nearest.
    """
    from babelclip.cli.main import app

    for word in words:
        if word.startswith("--"):
            options = app[verb].assemble_argument_collection()
            token = Token(keyword=word, source="cli")
            raise UnknownOptionError(token=token, argument_collection=options, command_chain=(verb,))
