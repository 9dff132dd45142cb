"""The guide's table of limits says what the settings say."""

from __future__ import annotations

import re
from pathlib import Path

from babelclip.serve.settings import ServerSettings

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "serve.md"
UNITS = {"": 1, "s": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def documented() -> dict[str, float]:
    """Field -> its default, as the guide has it."""
    text = GUIDE.read_text(encoding="utf-8")
    section = text.partition("### Limits")[2].partition("\n#")[0]
    rows = re.findall(r"^\|[^|]*\| `(\w+)` \| `([\d,.]+) ?(\w*)`", section, re.MULTILINE)
    return {name: float(number.replace(",", "")) * UNITS[unit] for name, number, unit in rows}


def test_the_guide_and_the_settings_have_the_same_defaults() -> None:
    settings, table = ServerSettings(), documented()
    assert table.pop("image_limits") == settings.image_limits.max_bytes
    assert table == {name: getattr(settings, name) for name in table}
    limits = {name for name in ServerSettings.__slots__ if re.match(r"max_|(body|answer|wait)_seconds", name)}
    assert limits - set(table) == set()
