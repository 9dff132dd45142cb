"""The small recipe's own modules are plain files beside it, as its command and its recipe import them."""

from __future__ import annotations

import sys
from pathlib import Path

RECIPE = Path(__file__).parents[2] / "recipes" / "small"

sys.path[:0] = [str(RECIPE), str(Path(__file__).parent)]
