"""Conditions that no row can fulfill, for every field, sign and way to a filter: refused, never an empty answer."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from babelclip.cli.filters import FilterOptions
from babelclip.errors import ConfigError
from babelclip.search.fields import FIELDS
from babelclip.search.filters import And, Eq, Filter, In, Not, Or, Prefix, Range, matches
from babelclip.search.filters_on_index import refuse_unknown_folders
from babelclip.search.parse_filters import parse_where
from babelclip.web.search_request import SearchRequest
from babelclip.web.settings import PageSettings

MOMENTS = ["2024", "2024-06", "2024-06-30", "2024-02-29", "2024-06-30T18", "2024-06-30T18:05", "2024-06-30T18:05:09"]
_NO_MOMENTS = """2024-6 2024-06-3 2024-6-30 24 202 20245 2024-13 2024-00 2024-06-31 2024-02-30 2023-02-29 2024-06-00
    2024/06/30 30.06.2024 2024-06-30T 2024-06-30T24 2024-06-30T18:60 2024-06-30T18:05:09Z 2024-06-30T18:05:09+02:00
    2024:06:30 June yesterday 2024- ２０２４ -2024 2024-W26 20240630 0000 2024-06-30t18"""
NO_MOMENTS = [*_NO_MOMENTS.split(), "2024-06-30 18:05", "", " "]
"""What people write for a day in the hope that it is understood, and what a slip makes of one."""
STARTS = {
    "taken": (["", "2", "2024", "2024-", "2024-0", "2024-1", "2024-06-3", "2024-06-30T1", "2024-06-30T18:05:09"],
              ["x", "2024-6", "2024-2", "2024/", "2024-06-4", "2024-06-30 ", "2024-06-30T18:05:09Z", "2024-06-30T3"]),
    "modified": (["2024-06-30T18:05:09Z", "2024"], ["2024-6", "2024-06-30T18:05:09+"]),
    "kind": (["", "im", "page", "te"], ["photo", "Image", "images"]),
    "path": (["", "/", "/photos/", "C:\\photos"], ["photos/", "./photos", "~/photos"]),
    "camera": (["", "Pixel"], []),
    "width": ([], ["1", ""]),
    "latitude": ([], ["4"]),
}  # fmt: skip
"""Field -> beginnings that values have, and that none has."""
VALUES: dict[str, tuple[list[object], list[object]]] = {
    "taken": (["2024-06-30T18:05:09"], ["2024-06-30", "2024", 2024, 20240630, 1.5, *NO_MOMENTS]),
    "modified": (["2024-06-30T18:05:09Z"], ["2024-06-30T18:05:09", "2024-6", 2024]),
    "kind": (["image", "page", "text"], ["photo", "photos", "Image", "", 1]),
    "path": (["/photos/a.jpg", "\\\\nas\\a.jpg"], ["a.jpg", "./a.jpg", "", 5]),
    "name": (["a.jpg", "2024"], ["", 2024]),
    "camera": (["Pixel 8", "350"], ["", 350, 3.5]),
    "text": (["a dog"], ["", 1]),
    "digest": (["00ff"], ["", 12]),
    "path_bytes": (["ff"], ["", 1]),
    "width": ([1, 800, 800.0], [0, -1, 10.5, "800", "wide", ""]),
    "height": ([600], [0, -3, "600"]),
    "size": ([0, 5], [-1, 0.5, "5"]),
    "mtime_ns": ([-5, 1_700_000_000_000_000_000], ["5", 0.5]),
    "parts": ([1], [0, "1"]),
    "page": ([1, 12], [0, -1, 1.5, "1"]),
    "turned": ([2, 8], [1, 9, "6"]),
    "damaged": ([1], [0, 2, "1", "yes"]),
    "latitude": ([-90, 0, 47.5, 90], [90.5, -91, 470, "47.5", "47,5"]),
    "longitude": ([-180, 8.25, 180.0], [180.5, -200, "8"]),
}
"""Field -> values that rows have, and that none can have."""
BOUNDS: dict[str, tuple[list[object], list[object]]] = {
    "taken": ([*MOMENTS, "0001", "9999-12-31"], [2024, 1.5, *NO_MOMENTS]),
    "modified": ([*MOMENTS, "2024-06-30T18:05:09Z"], ["2024-6", "2024Z", 2024]),
    "kind": ([], ["image", "a", 1]),
    "camera": (["P", "350"], [350]),
    "path": (["/a", "b"], [1]),
    "width": ([0, 800, 10.5], ["800", "wide", ""]),
    "latitude": ([47.5, 0], ["47"]),
}
"""Field -> bounds of ranges that values can be compared with, and that none can."""
REVERSED = [
    ("taken", "2024", "2024"),
    ("taken", "2025", "2024"),
    ("taken", "2024-06", "2024-06-01"),
    ("taken", "2024-01-01T00:00:00", "2024"),
    ("width", 1000, 800),
    ("width", 800, 800.0),
    ("latitude", 91, None),
    ("latitude", None, -90),
    ("page", None, 1),
    ("size", None, 0),
    ("turned", 9, None),
    ("camera", "b", "a"),
    ("mine", 5, 5),
    ("mine", "b", "a"),
]
"""Ranges in which nothing lies."""


def made(make: Callable[[], object]) -> bool:
    """Whether a condition was taken; what is refused is refused as a wrong option."""
    try:
        make()
    except ConfigError:
        return False
    return True


def written(value: object) -> str:
    """As people type a value; in quotes where it is a text that looks like a number."""
    return f'"{value}"' if isinstance(value, str) and re.fullmatch(r"[-+.\d]+", value) else str(value)


def differing(
    table: dict[str, tuple[list[object], list[object]]], make: dict[str, Callable[..., object]]
) -> list[object]:
    """Where a way to a filter takes what none can have, or refuses what rows have."""
    return [
        (way, field, value, good)
        for field, values in table.items()
        for good, listed in zip((True, False), values, strict=True)
        for value in listed
        for way, build in make.items()
        if made(lambda build=build, field=field, value=value: build(field, value)) != good
    ]


def test_every_field_stands_in_the_table() -> None:
    assert set(VALUES) == set(FIELDS)


def test_values_that_no_row_has_are_refused_however_they_are_asked() -> None:
    ways: dict[str, Callable[..., object]] = {
        "library": Eq,
        "library, one of several": lambda field, value: In(field, (VALUES[field][0][0], value)),
        "library, negated": lambda field, value: ~Eq(field, value),
        "library, deep inside": lambda field, value: Or((Not(And((Eq(field, value),))),)),
    }
    assert differing(VALUES, ways) == []


def test_typed_conditions_are_read_by_the_type_of_their_field() -> None:
    typed = {
        field: (
            [each for each in good if "\\" not in str(each)],
            [each for each in bad if isinstance(each, str) == known],
        )
        for field, (good, bad) in VALUES.items()
        for known in [FIELDS[field].is_text]
    }
    ways: dict[str, Callable[..., object]] = {
        "--where": lambda field, value: FilterOptions(where=(f"{field}={written(value)}",)).condition(),
        "--where, negated": lambda field, value: parse_where([f"{field}!={written(value)}"]),
        "--where, one of several": lambda field, value: parse_where(
            [f"{field}={VALUES[field][0][0]}|{written(value)}"]
        ),
    }
    assert differing(typed, ways) == []
    assert parse_where(["camera=350"]) == Eq("camera", "350")
    assert parse_where(["taken>=2024"]) == Range("taken", "2024")
    assert parse_where(["mtime_ns=1700000000000000001"]) == Eq("mtime_ns", 1700000000000000001)
    for wrong in ("width=wide", "width<", "width>=1,000", "width<=5", "width==5", "mine<=5", "taken=>2024"):
        assert not made(lambda wrong=wrong: parse_where([wrong])), wrong


def test_beginnings_that_no_value_has_are_refused() -> None:
    ways = {"library": Prefix, "--where": lambda field, start: parse_where([f"{field}^={start}"])}
    bare = {field: (good, [each for each in bad if each.strip() == each]) for field, (good, bad) in STARTS.items()}
    assert differing(bare, ways) == []  # type: ignore[arg-type]
    assert not made(lambda: Prefix("taken", "2024-06-30 "))


def test_bounds_that_values_cannot_be_compared_with_are_refused() -> None:
    ways: dict[str, Callable[..., object]] = {
        "from": lambda field, bound: Range(field, low=bound),
        "to": lambda field, bound: Range(
            field, high=bound if bound not in (0, "0001") else 2 if bound == 0 else "0002"
        ),
    }
    assert differing(BOUNDS, ways) == []


def test_days_are_refused_alike_on_the_command_line_and_the_page() -> None:
    ways: dict[str, Callable[..., object]] = {
        "--after": lambda _, day: FilterOptions(after=day).condition(),
        "--before": lambda _, day: FilterOptions(before=day).condition(),
        "--where": lambda _, day: FilterOptions(where=(f"taken>={day}",)).condition(),
        "page, after": lambda _, day: SearchRequest.from_address({"after": day}, PageSettings()),
        "page, before": lambda _, day: SearchRequest.from_address({"before": day}, PageSettings()),
    }
    no_days = [day for day in NO_MOMENTS if day]  # an empty field of the page's form asks for nothing
    assert differing({"taken": ([*MOMENTS], [*no_days])}, ways) == []


def test_ranges_in_which_nothing_lies_are_refused() -> None:
    taken = [each for each in REVERSED if made(lambda each=each: Range(*each))]
    taken += [
        (field, low, high)
        for field, low, high in REVERSED
        if None not in (low, high)
        and made(lambda field=field, low=low, high=high: Range(field, low) & Range(field, None, high))
    ]
    assert taken == []
    assert not made(lambda: FilterOptions(after="2024-06", before="2024-06-01").condition())
    assert not made(lambda: FilterOptions(after="2024", where=("taken<2023",)).condition())
    assert not made(lambda: SearchRequest.from_address({"after": "2025", "before": "2024"}, PageSettings()))
    assert not made(lambda: Range("mine", 1) & Range("mine", "a"))
    assert FilterOptions(after="2024", before="2024-02", where=("taken<2025",)).condition() is not None


def test_whatever_is_taken_finds_some_value() -> None:
    """Every pair of bounds, against values that lie close: what is not refused is fulfilled by one of them."""
    days = [
        f"{year}-{month:02}-{day:02}"
        for year in (1, 2023, 2024, 9998)
        for month in range(1, 13)
        for day in (1, 15, 28, 30)
    ]
    moments = [f"{day:0>10}T{hour:02}:{minute:02}:00" for day in days for hour in (0, 18) for minute in (0, 5)]
    samples: dict[str, list[object]] = {
        "taken": [*moments, "2024-06-30T18:05:09", "2024-06-30T18:05:08", "2024-02-29T00:00:00"],
        "width": [*range(1, 900)],
        "latitude": [*np.arange(-90, 90.25, 0.25).tolist()],
    }
    bounds: dict[str, list[object]] = {
        "taken": [
            None,
            "2023",
            "2024",
            "2024-06",
            "2024-06-01",
            "2024-06-30",
            "2024-06-30T18:05",
            "2024-06-30T18:05:09",
        ],
        "width": [None, -5, 0, 1, 1.5, 2, 800],
        "latitude": [None, -91, -90, -89, 0, 90, 91],
    }
    for field, values in bounds.items():
        for low, high in itertools.product(values, values):
            if low is None and high is None:
                continue
            finds = any(matches(_anyway(field, low, high), {field: value}) for value in samples[field])  # type: ignore[dict-item]
            if made(lambda field=field, low=low, high=high: Range(field, low, high)) and not finds:
                assert (field, low, high) == ("width", 1, 1.5), (field, low, high)


def _anyway(field: str, low: object, high: object) -> Filter:
    """A range that is not looked at."""
    unchecked = object.__new__(Range)
    for name, value in (("field", field), ("low", low), ("high", high)):
        object.__setattr__(unchecked, name, value)
    return unchecked


@pytest.mark.parametrize("parts", ["kind", ("kind",), [Eq("kind", "image")], (None,)])
def test_what_is_no_filter_is_no_part_of_one(parts: object) -> None:
    for whole in (And, Or):
        assert not made(lambda whole=whole: whole(parts))
    assert not made(lambda: Not(parts))  # type: ignore[arg-type]


def test_the_page_refuses_what_is_not_in_the_index() -> None:
    for wrong in ({"kind": "photo"}, {"in": "photos"}, {"start": "²"}, {"start": "-1"}, {"start": "99999"}):
        assert not made(lambda wrong=wrong: SearchRequest.from_address(wrong, PageSettings())), wrong
    refuse_unknown_folders(["/photos/2024"], [Path("/photos"), Path("/photos/2024/x")])
    with pytest.raises(ConfigError, match="/photo is not indexed; folders that are: /photos/2024"):
        refuse_unknown_folders(["/photos/2024"], [Path("/photo")])
