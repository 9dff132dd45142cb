"""``babelclip dupes``: photos that look the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from babelclip.cli.options import IndexOption


def dupes(
    *,
    index: IndexOption = None,
    threshold: Annotated[float, Parameter(validator=Number(gt=0, lte=1))] = 0.97,
    inside: Annotated[tuple[Path, ...], Parameter(name="--in", show_default=False)] = (),
    json_lines: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Show groups of indexed photos that look the same: copies, other sizes, shots of a burst.

    The largest picture of a group comes first. Nothing is deleted.

    Parameters
    ----------
    threshold
        The cosine from which on two photos count as the same; lower finds more, and more that only look alike.
    inside
        Only what lies in this folder. Several times for several.
    json_lines
        One JSON object a group.
    """
    from babelclip.cli.filters import lies_in
    from babelclip.cli.search import as_row
    from babelclip.search.doubles import find_doubles
    from babelclip.search.index import Index
    from babelclip.search.places import index_url

    url = index_url(index)
    groups = photos = 0
    with Index.open(url, None) as opened:
        for group in find_doubles(opened, threshold, lies_in(inside)):
            groups, photos = groups + 1, photos + len(group.hits)
            if json_lines:
                print(json.dumps({"group": groups, "hits": [as_row(hit) for hit in group.hits]}, ensure_ascii=False))
                continue
            print(f"group {groups}")
            for hit in group.hits:
                size = f"{hit.metadata.get('width', '?')} x {hit.metadata.get('height', '?')}"
                print(f"  {hit.score:6.3f}  {size:>13}  {hit.path}")
    if not json_lines:
        print(
            f"{groups:,} groups of {photos:,} photos"
            if groups
            else f"no two photos have a cosine of {threshold} or more"
        )
    return 0
