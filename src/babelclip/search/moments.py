"""When a photo was taken, as cameras and programs write it, with the small deviations that they have.

A file of its own, because a date that does not exist must never be stored, whoever wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

_MOMENT = re.compile(
    r"""\s*(\d{4})\s*[:\-/.]\s*(\d{1,2})\s*[:\-/.]\s*(\d{1,2})
        (?:[T\s]\s*(\d{1,2})\s*[:.]\s*(\d{1,2})(?:\s*[:.]\s*(\d{1,2})(?:[.,]\d+)?)?)?
        \s*(?:Z|[+\-]\d\d:?\d\d)?\s*\Z""",
    re.VERBOSE,
)
_EARLIEST = 1826
"""The year of the oldest photo."""


def first_moment(candidates: Iterable[object]) -> str | None:
    """The first of some written dates that exists, as local time YYYY-MM-DDTHH:MM:SS; None: none does.

    Taken are the forms of EXIF and of ISO 8601, with slashes or dots, without seconds or without a time (midnight),
    with fractions, a zone (left out), white space and NUL around them; 24:00:00 is the next day's midnight. And the
    form of letters, ``Mon, 03 Jun 2024 10:00:00 GMT``, which PNG recommends.
    """
    return next((moment for moment in map(_moment, candidates) if moment is not None), None)


def _moment(written: object) -> str | None:
    if isinstance(written, bytes):
        written = written.decode("ascii", "replace")
    if not isinstance(written, str):
        return None
    found = _MOMENT.match(written.partition("\x00")[0])
    if found is None:
        return _of_a_letter(written)
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
    midnight = (hour, minute, second) == (24, 0, 0)
    try:
        moment = datetime(year, month, day, 0 if midnight else hour, minute, 59 if second == 60 else second)
        moment += timedelta(days=int(midnight))
    except (ValueError, OverflowError):
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%S") if year >= _EARLIEST else None


def _of_a_letter(written: str) -> str | None:
    try:
        moment = parsedate_to_datetime(written[:60])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%S") if moment.year >= _EARLIEST else None
