"""Write docs/reference/cli.md from what `babelclip VERB --help` says.

.venv/bin/python tools/render_reference.py            # or: make docs
.venv/bin/python tools/render_reference.py --check    # exit 1 when the file is not current
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from cyclopts import App
from rich.console import Console

from babelclip.cli.main import VERBS, app

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"
WIDTH = 100
HEAD = """\
# Command line

Written by `tools/render_reference.py` from the commands' own `--help`; `make docs` renews it.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 partly failed (the good items are written, the failures listed on
stderr), 130 stopped with Ctrl-C.
"""


def commands() -> Iterator[list[str]]:
    """Every verb and every verb of a verb, as the user types them."""
    yield []
    for verb in VERBS:
        yield [verb]
        below = app[verb]
        assert isinstance(below, App)
        yield from ([verb, name] for name in below if not name.startswith("-"))


def help_of(command: list[str]) -> str:
    """What --help prints, without colours."""
    screen = io.StringIO()
    app.help_print(command, console=Console(file=screen, width=WIDTH, color_system=None, force_terminal=False))
    return "\n".join(line.rstrip() for line in screen.getvalue().strip().splitlines())


def render() -> str:
    """The whole page."""
    parts = [HEAD]
    for command in commands():
        parts.append(f"## `{' '.join(['babelclip', *command])}`\n\n```text\n{help_of(command)}\n```\n")
    return "\n".join(parts)


def main() -> int:
    """Write the page, or compare it with what it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    page = render()
    if parser.parse_args().check:
        current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page
        print("current" if current else f"{PAGE} is not what --help says; run: make docs")
        return 0 if current else 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page, encoding="utf-8")
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
