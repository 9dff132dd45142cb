"""``babelclip dupes``: photos that look alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from babelclip.cli.options import IndexOption, InsideOption, JsonOption, QuietOption, SheetOption
from babelclip.cli.plain_output import on_one_line

if TYPE_CHECKING:
    from babelclip.search.near_duplicates import Group


def dupes(
    *,
    index: IndexOption = None,
    threshold: Annotated[float, Parameter(validator=Number(gt=0, lte=1))] = 0.97,
    inside: InsideOption = (),
    html: SheetOption = None,
    json_lines: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Show groups of indexed photos that look alike to the model: copies, shots of a burst, papers of one kind.

    The largest picture of a group comes first. Nothing is deleted: alike is not the same.

    Args:
        threshold: The cosine from which on two photos count as alike; lower finds more, and less alike ones.
        json_lines: Results as JSON lines on stdout, in place of text to read: one object per group.
    """
    from babelclip.cli.filters import check_on_index, lies_in
    from babelclip.cli.search import as_row, write_sheet
    from babelclip.progress import show_progress
    from babelclip.search.filters import of_kind
    from babelclip.search.index import Index
    from babelclip.search.near_duplicates import find_near_duplicates
    from babelclip.search.open_store import index_url

    where = lies_in(inside)
    with Index.open(index_url(index), None) as opened:
        check_on_index(opened, where, inside, ("image",))
        photos = opened.count(of_kind("image", where))
        with show_progress("comparing", photos, show=not quiet) as meter:
            groups = find_near_duplicates(opened, threshold, where, meter.advance)
        if html is not None:
            title = f"Photos that look alike: cosine of {threshold} or more"
            write_sheet(opened, title, [group.hits for group in groups], html)
    for number, group in enumerate(groups, start=1):
        if json_lines:
            print(json.dumps({"group": number, "hits": [as_row(hit) for hit in group.hits]}, ensure_ascii=False))
        else:
            show_group(number, group)
    if not json_lines:
        many, photos_in = "s" if len(groups) > 1 else "", sum(len(group.hits) for group in groups)
        found = f"{len(groups):,} group{many} of {photos_in:,} photos"
        print(found if groups else f"no two photos have a cosine of {threshold} or more")
    return 0


def show_group(number: int, group: Group) -> None:
    """A line a photo."""
    print(f"group {number}")
    for hit in group.hits:
        size = f"{hit.metadata.get('width', '?')} x {hit.metadata.get('height', '?')}"
        print(f"  {hit.score:6.3f}  {size:>13}  {on_one_line(hit.path)}")
