"""``babelclip demo``: see it work, offline, in a minute."""

from __future__ import annotations

import os
import shutil
import sys
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from babelclip.atomic_write import write_text
from babelclip.cli.options import ModelOptions, OpenPageOption, QuietOption, SheetOption

if TYPE_CHECKING:
    from babelclip.demo.results import QueryResult, RankedPhoto

_SHOWN = 3  # photos per query in the terminal


def demo(
    *,
    html: SheetOption = None,
    open_page: OpenPageOption = True,
    model: ModelOptions = ModelOptions(),
    quiet: QuietOption = False,
) -> int:
    """Find photos with queries in many languages. With the bundled model nothing is downloaded."""
    from babelclip.demo.album import read_album
    from babelclip.demo.page import render_demo
    from babelclip.demo.results import answer_queries

    album = read_album()
    start = time.perf_counter()
    encoder = model.open()
    results = answer_queries(encoder, album, progress=not quiet)
    seconds = time.perf_counter() - start

    what_next = f"{command_here()} index ~/Photos && {command_here()} search my dog on the beach"
    console = Console()
    asked = len(results.ordinary)
    languages = results.num_languages
    console.print(table(f"{asked} queries in {languages} languages over {len(album.photos)} photos", results.ordinary))
    remote = encoder.facts().get("remote")
    console.print(
        f"The right photo (marked *) came first for {results.num_first} of {asked} queries; {seconds:.1f} s with "
        f"{encoder.name}, {'on this machine alone' if remote is None else f'by {remote}'}.",
        highlight=False,
    )
    console.print()
    console.print(table("Where it is weak", results.hard))
    for result in results.hard:
        console.print(f"  {result.query.text}: {result.query.why}", style="dim", highlight=False)
    if html is not None:
        write_text(html, render_demo(album, results, encoder.facts(), seconds, what_next))
        console.print(f"\nContact sheet: {html.resolve()}", highlight=False, soft_wrap=True)
        if open_page and sys.stdout.isatty() and has_display():
            webbrowser.open(html.resolve().as_uri())
    console.print(f"\nNow your own photos: {what_next}", highlight=False, soft_wrap=True)
    return 0


def command_here() -> str:
    """How this command is called here: by its name where the shell finds it, else by its path."""
    if shutil.which("babelclip"):
        return "babelclip"
    script = Path(sys.argv[0])
    return os.path.relpath(script) if script.name == "babelclip" else f"{sys.executable} -m babelclip"


def has_display() -> bool:
    """Whether a browser could open a window here; a text browser in this terminal is not wanted."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def table(title: str, results: tuple[QueryResult, ...]) -> Table:
    """Two lines per query: what was asked; what it means and the best photos with their scores.

    The query has its line to itself, because terminals disagree about the width of some scripts.
    """
    grid = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 2, 1, 0))
    grid.add_column("query", ratio=5)
    for rank in ("first", "second", "third")[:_SHOWN]:
        grid.add_column(rank, ratio=3)
    for result in results:
        query = result.query
        asked = Text(query.text, style="bold")
        asked.append("\n" + query.language + (f": {query.english}" if query.english else ""), style="not bold dim")
        grid.add_row(asked, *(cell(ranked) for ranked in result.photos[:_SHOWN]))
    return grid


def cell(ranked: RankedPhoto) -> Text:
    """A photo and its score, on the line below the query's."""
    mark = "* " if ranked.is_right else ""
    return Text(f"\n{mark}{ranked.photo.title} {ranked.score:.2f}", style="bold green" if ranked.is_right else "")
