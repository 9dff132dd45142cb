"""``babelclip help``: what ``--help`` prints, and what the environment and the configuration file may say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cyclopts import App, UnknownCommandError

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

EPILOGUE = "Results go to stdout, progress and problems to stderr. Try: babelclip demo"
TOPIC = "environment"


def help_(*verb: str) -> int:
    """Explain a verb, as babelclip VERB --help does, or what the environment may say: babelclip help environment.

    Args:
        verb: The words of the verb, such as search or keys create; all verbs are listed when it is left out.
    """
    from babelclip.cli.main import app

    if verb == (TOPIC,):
        print("\n".join(environment_lines()))
        return 0
    if verb and verb[0] not in app:
        raise UnknownCommandError(unused_tokens=list(verb), app=app)
    with whole_help(app, verb):
        app.help_print(list(verb))
    return 0


def environment_lines() -> list[str]:
    """Every variable and its meaning, to read."""
    from babelclip.cli.environment import VARIABLES

    width = max(len(variable.name) for variable in VARIABLES)
    return [f"{variable.name:<{width}}  {variable.meaning}" for variable in VARIABLES]


@contextmanager
def whole_help(app: App, words: Sequence[str]) -> Iterator[None]:
    """Meanwhile the help of a verb says what the list of verbs must do without, because verbs are not loaded for it.

    That is its whole docstring in place of one sentence, and the variables that it reads.

    Args:
        app: the command line.
        words: what the user typed; the first is a verb where there is one.
    """
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb is None or verb not in app:
        yield
        return
    command = app[verb]
    summary = command.help
    if command.default_command is not None:
        command.help = None
    command.help_epilogue = f"{EPILOGUE}\n\n{_environment_of(command)}"
    yield
    command.help = summary


def _environment_of(command: App) -> str:
    from babelclip.cli.environment import variables_for

    parts = [command] if command.default_command is not None else [command[name] for name in command if name[0] != "-"]
    flags = {name for part in parts for option in part.assemble_argument_collection() for name in option.names}
    names = ", ".join(variable.name for variable in variables_for(flags) if not variable.is_former)
    return f"It reads of the environment: {names}. What they mean says: babelclip help {TOPIC}"


class ParagraphFormatter:
    """Help in which a line ends where the terminal does, not where one in the source did."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Prints a panel of options."""
        for entry in panel.entries:
            _join_lines(entry.description)
        self._default()(console, options, panel)

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Prints the first line."""
        self._default().render_usage(console, options, usage)

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Prints what a verb does."""
        _join_lines(description)
        self._default().render_description(console, options, description)

    @staticmethod
    def _default() -> Any:
        from cyclopts.help.formatters import DefaultFormatter  # loaded for help alone

        return DefaultFormatter()


def _join_lines(shown: Any) -> None:
    from rich.text import Text

    text = getattr(shown, "primary_renderable", None)
    if isinstance(text, Text):
        shown.primary_renderable = Text(re.sub(r"(?<!\n)\n[ \t]*(?!\s)", " ", text.plain))
