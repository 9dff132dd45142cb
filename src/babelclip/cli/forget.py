"""``babelclip forget``: take an index away, and all that was kept for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from babelclip.cli.options import IndexOption


def forget(
    photos: list[Path] | None = None,
    /,
    *,
    index: IndexOption = None,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"])] = False,
) -> int:
    """Take folders out of the index, or the whole index with its thumbnails away. Photos are not touched.

    Args:
        photos: Folders and files to take out; the whole index when left out.
        yes: Do not ask.
    """
    import shutil

    from babelclip.errors import ConfigError
    from babelclip.search.index import Index
    from babelclip.search.open_store import index_url, open_database
    from babelclip.search.thumbnail import thumbnail_folder

    url = index_url(index)
    with Index.open(url, None) as opened:
        if photos:
            print(f"{opened.remove(photos):,} rows taken out of {opened.database.url}")
            return 0
        count, small_pictures = opened.count(), thumbnail_folder(opened.database.url)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"this takes away the index {url} with its {count:,} rows: say --yes")
        print(f"Take away the index {url} with its {count:,} rows? The photos stay. [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return 0
    open_database(url).erase()
    shutil.rmtree(small_pictures, ignore_errors=True)
    print(f"{url} is gone, and the thumbnails with it")
    return 0
