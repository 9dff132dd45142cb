"""The command line: names the verbs, runs one, turns what happened into an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 partly failed (the good items are written, the failures listed),
130 stopped with Ctrl-C. A reader that closes the pipe early (``| head``) is no failure.

Every verb is an import path, not an import: ``babelclip --help`` loads no numpy, no runtime, no image library.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TextIO

from cyclopts import App, CycloptsError, Parameter

from babelclip.cli.configuration import apply_configuration
from babelclip.cli.help import EPILOGUE, ParagraphFormatter, whole_help
from babelclip.cli.plain_output import make_output_plain, say
from babelclip.errors import BabelclipError, ConfigError, DamagedImageWarning, TruncationWarning, UnknownTask
from babelclip.user_folders import former_variable
from babelclip.version import __version__

DONE, FAILED, USAGE, PARTLY, STOPPED = 0, 1, 2, 3, 130

app = App(
    name="babelclip",
    help="Texts in many languages and images in one vector space.",
    version=__version__,
    version_flags=("--version", "-V"),
    help_format="plaintext",
    help_formatter=ParagraphFormatter(),
    config=apply_configuration,  # after the command line and the environment
    default_parameter=Parameter(negative=()),  # no --no-... twin for every flag
    suppress_keyboard_interrupt=False,  # run() below answers it
    help_epilogue=EPILOGUE,
)

VERBS = {
    "embed": ("embed:embed", "Turn texts and images into vectors."),
    "similarity": ("similarity:similarity", "Compare texts and images with each other."),
    "classify": ("classify:classify", "Name what is in an image, among labels that you give."),
    "index": ("index:index", "Index folders of photos, so that they can be found."),
    "search": ("search:search", "Find photos by a text in any language, by an image, or by both."),
    "ui": ("ui:ui", "Search in the browser."),
    "dupes": ("dupes:dupes", "Show indexed photos that look the same."),
    "export": ("export:export", "Write what is indexed, vectors included, for other tools."),
    "forget": ("forget:forget", "Take folders out of the index, or the index away."),
    "explain": ("explain:explain", "Paint where in an image a text is seen."),
    "demo": ("demo:demo", "Find photos with queries in many languages, offline."),
    "model": ("model:app", "List, pull, export, calibrate and verify model folders."),
    "evaluate": ("evaluate:evaluate", "Measure a model on the evaluation sets."),
    "train": ("train:train", "Train a model from a recipe."),
    "curves": ("curves:curves", "Look at a training run, or compare several."),
    "mine": ("mine:mine", "Find hard negatives for training on triplets."),
    "serve": ("serve:serve", "Answer the embeddings API over HTTP."),
    "keys": ("keys:app", "Create, top up, list and revoke API keys of a server, and show what they used."),
    "doctor": ("doctor:doctor", "Say what is installed here, what works, and what the configuration says."),
    "completion": ("completion:completion", "Make a shell complete verbs and options."),
    "help": ("help:help_", "Explain a verb, or what the environment may say."),
}
for position, (verb, (target, summary)) in enumerate(VERBS.items()):
    app.command(f"babelclip.cli.{target}", name=verb, help=summary, sort_key=position)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Our own warnings in one plain line on stderr; all others as Python shows them."""
    if issubclass(category, TruncationWarning | DamagedImageWarning):
        say(f"warning: {message}")
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def run(arguments: Sequence[str] | None) -> int:
    """Parse, run one verb, return its exit code."""
    former = former_variable()
    if former is not None:
        say(f"warning: {former}")
    words = sys.argv[1:] if arguments is None else arguments
    asks_for_help = not {"--help", "-h"}.isdisjoint(words)
    try:
        with whole_help(app, words) if asks_for_help else nullcontext():
            code = app(words, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        from babelclip.cli.usage_errors import usage_message

        say(usage_message(error))
        return USAGE
    except (ConfigError, UnknownTask) as error:
        say(error)
        return USAGE
    except BabelclipError as error:
        say(error)
        return FAILED
    except KeyboardInterrupt:
        say("stopped")
        return STOPPED
    except BrokenPipeError:
        # The reader has gone. Python would complain when it flushes stdout at exit, so stdout leads nowhere now.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        known = error.filename is not None and error.strerror is not None
        say(f"{error.filename}: {error.strerror}" if known else error)
        return FAILED
    return code if isinstance(code, int) else DONE


def main() -> None:
    """The entry point of the ``babelclip`` command and of ``python -m babelclip``."""
    make_output_plain()
    warnings.showwarning = show_warning
    for name, value in list(os.environ.items()):
        if name.startswith("BABELCLIP_") and not value:
            del os.environ[name]  # an empty variable is one that is not set
    sys.exit(run(None))
