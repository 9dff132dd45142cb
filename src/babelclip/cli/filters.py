"""Options that say what of an index counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from babelclip.cli.options import InsideOption
from babelclip.cli.plain_output import say

if TYPE_CHECKING:
    from babelclip.search.filters import Filter
    from babelclip.search.index import Index


@Parameter(name="*", group="Filters")
@dataclass(frozen=True, kw_only=True)
class FilterOptions:
    """What a row must fulfil to count."""

    inside: InsideOption = ()
    after: str | None = None
    """Only what was taken on or after this day (2024, 2024-06 or 2024-06-30)."""
    before: str | None = None
    """Only what was taken before this day."""
    where: Annotated[tuple[str, ...], Parameter(show_default=False)] = ()
    """A condition: camera=Pixel 8, camera=A|B, camera!=A, width>=1000, path^=/photos. Several must all hold."""
    kind: Annotated[tuple[Literal["image", "page", "text"], ...], Parameter(show_default=False)] = ()
    """Only photos (image), pages of documents (page) or texts (text). Several times for several."""

    def condition(self) -> Filter | None:
        """All of them, the kinds apart.

        Raises:
            ConfigError: a day or a condition that is none.
        """
        from babelclip.errors import ConfigError
        from babelclip.search.fields import FIELDS
        from babelclip.search.filters import And, Range
        from babelclip.search.parse_filters import parse_where

        parts = [lies_in(self.inside)]
        for name, day in (("--after", self.after), ("--before", self.before)):
            problem = None if day is None else FIELDS["taken"].wrong_bound(day)
            if problem:
                raise ConfigError(f"{name}: {problem}")
        if self.after is not None or self.before is not None:
            parts.append(Range("taken", self.after, self.before))
        parts.append(parse_where(self.where))
        found = tuple(part for part in parts if part is not None)
        return And(found) if found else None


def lies_in(folders: tuple[Path, ...]) -> Filter | None:
    """Rows of files in any of these folders; all where none is named."""
    from babelclip.search.filters import Or
    from babelclip.search.index import below

    return Or(tuple(below(folder.expanduser().absolute()) for folder in folders)) if folders else None


def check_on_index(
    index: Index, where: Filter | None, inside: tuple[Path, ...] = (), kinds: Sequence[str] | None = None
) -> None:
    """Refuse what can find nothing in this index, and tell on stderr how many rows lack a field that is asked for.

    Raises:
        ConfigError: a folder that is not indexed, or a field that nothing has.
    """
    from babelclip.search.fields import KINDS
    from babelclip.search.filters_on_index import refuse_unknown_fields, refuse_unknown_folders

    refuse_unknown_folders(index.folders(), [folder.expanduser().absolute() for folder in inside])
    store = index.store()
    if store is None:
        return
    refuse_unknown_fields(store, where)
    for each in index.lacking(where, kinds or KINDS):
        say(each)
