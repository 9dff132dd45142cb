"""Write docs/reference/cli.md from what `babelclip VERB --help` says, and docs/reference/environment.md.

.venv/bin/python tools/render_reference.py            # or: make docs
.venv/bin/python tools/render_reference.py --check    # exit 1 when a file is not current
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from cyclopts import App
from rich.console import Console

from babelclip.cli.configuration import CHOSEN_EACH_TIME, FOR_ALL
from babelclip.cli.environment import VARIABLES, Variable
from babelclip.cli.help import whole_help
from babelclip.cli.main import VERBS, app

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
WIDTH = 100
CLI_HEAD = """\
# Command line

Written by `tools/render_reference.py` from the commands' own `--help`; `make docs` renews it.

Results go to stdout, progress and problems to stderr. Whatever is wrong is told in one line that begins with
`babelclip:`, says what was found and expected, and what to do; a traceback is a fault of the program.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | wrong usage: an option, a value, a configuration |
| 3 | partly failed: the good items are written, the failures listed on stderr |
| 130 | stopped with Ctrl-C |

An option that is not given takes its value from [the environment or the configuration file](environment.md).
`babelclip completion bash` (or zsh, fish, powershell) prints what makes the shell complete verbs and options; with
`--install` it is put where the shell finds it.
"""
ENVIRONMENT_HEAD = """\
# Environment and configuration file

Written by `tools/render_reference.py` from `src/babelclip/cli/environment.py` and
`src/babelclip/cli/configuration.py`; `make docs` renews it.

What the command line says comes first, then the environment, then the file. `babelclip doctor` shows which file is in
force and what each value comes from.

## The configuration file

It is the file that `BABELCLIP_CONFIG` names, else `babelclip/config.toml` in the system's folder for configuration:
`~/.config` on Linux (or `$XDG_CONFIG_HOME`), `~/Library/Application Support` on macOS, `%LOCALAPPDATA%` on Windows.
None is looked for in the current folder, because a folder of photos may come from anywhere and could name a server to
send them to.

```toml
[all]                       # for every verb that has such an option
index = "~/photos.db"
threads = 4

[search]                    # for babelclip search alone, where it comes before [all]
top = 20
in = ["~/Photos/2024", "~/Photos/2025"]

[keys.create]
balance = "unlimited"
```

A key is an option without its hyphens; a flag is `true` or `false`. A key that is not known is an error that names
the known ones. In `[all]` may stand:
"""
VARIABLES_HEAD = """
## Variables

A variable that is empty is one that is not set.

| variable | meaning | read by |
|---|---|---|
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
    """What --help prints, without colors."""
    screen = io.StringIO()
    with whole_help(app, command):
        app.help_print(command, console=Console(file=screen, width=WIDTH, color_system=None, force_terminal=False))
    return "\n".join(line.rstrip() for line in screen.getvalue().strip().splitlines())


def command_line_page() -> str:
    """docs/reference/cli.md."""
    parts = [CLI_HEAD]
    for command in commands():
        parts.append(f"## `{' '.join(['babelclip', *command])}`\n\n```text\n{help_of(command)}\n```\n")
    return "\n".join(parts)


def environment_page() -> str:
    """docs/reference/environment.md."""
    for_all = ", ".join(f"`{name}`{_but(name)}" for name in FOR_ALL)
    rows = [f"| `{variable.name}` | {variable.meaning} | {_readers(variable)} |\n" for variable in VARIABLES]
    return f"{ENVIRONMENT_HEAD}{for_all}.\n{VARIABLES_HEAD}{''.join(rows)}"


def _but(name: str) -> str:
    verbs = CHOSEN_EACH_TIME.get(name)
    return f" (not for {' and '.join(verbs)})" if verbs else ""


def _readers(variable: Variable) -> str:
    if not variable.flags:
        return "every verb"
    return ", ".join(" ".join(words) for words in commands() if not set(variable.flags).isdisjoint(_flags(words)))


def _flags(words: list[str]) -> set[str]:
    command = app
    for word in words:
        command = command[word]
    if command.default_command is None:
        return set()
    return {name for option in command.assemble_argument_collection() for name in option.names}


PAGES = {"cli.md": command_line_page, "environment.md": environment_page}


def main() -> int:
    """Write the pages, or compare them with what they should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = [REFERENCE / name for name, page in PAGES.items() if _text(REFERENCE / name) != page()]
    for file in stale:
        if check:
            print(f"{file} is not what the command line says; run: make docs")
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(PAGES[file.name](), encoding="utf-8")
            print(file)
    return 1 if stale and check else 0


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
