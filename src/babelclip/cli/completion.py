"""``babelclip completion``: short, and a file of its own because every verb has one."""

from __future__ import annotations

from typing import Literal

Shell = Literal["bash", "zsh", "fish", "powershell"]


def completion(shell: Shell, /, *, install: bool = False) -> int:
    """Print what makes a shell complete the verbs and options of babelclip.

    eval "$(babelclip completion bash)"

    Args:
        shell: Which shell it is for.
        install: Write it where the shell looks for it, and have the shell's start-up file load it, instead of printing.
    """
    from babelclip.cli.main import app

    if install:
        print(app.install_completion(shell=shell))
    else:
        print(app.generate_completion(shell=shell))
    return 0
