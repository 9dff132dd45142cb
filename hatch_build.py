"""Puts the bundled model's weights into the wheel, or leaves them to a distribution of their own.

They stand once, in ``packages/babelclip-small``. A wheel holds them as ``babelclip/bundled/model``; an editable
installation reads them where they stand (``dev-mode-dirs`` of pyproject.toml). With ``BABELCLIP_WEIGHTS=apart`` in the
environment of the build the wheel leaves them out and depends on the distribution ``babelclip-small`` instead.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WEIGHTS = Path("packages", "babelclip-small", "src", "babelclip_small", "model")
INSIDE = "babelclip/bundled/model"
SWITCH = "BABELCLIP_WEIGHTS"


class WeightsHook(BuildHookInterface[Any]):
    """Runs before a wheel is written."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Says where the weights of this wheel come from.

        Args:
            version: "standard" or "editable".
            build_data: what the wheel gets beside the project's own files; changed here.

        Raises:
            ValueError: the switch has a value that is neither "inside" nor "apart".
            FileNotFoundError: the weights are to go inside and are not there.
        """
        chosen = os.environ.get(SWITCH) or "inside"
        if chosen not in ("inside", "apart"):
            raise ValueError(f"{SWITCH}: expected 'inside' or 'apart', found {chosen!r}")
        weights = Path(self.root, WEIGHTS)
        if chosen == "apart":
            build_data["dependencies"].append("babelclip-small")
        elif not (weights / "config.json").is_file():
            raise FileNotFoundError(
                f"expected the bundled model's weights in {WEIGHTS}, found none: get the whole source tree, or build "
                f"with {SWITCH}=apart, after which the wheel depends on the distribution babelclip-small"
            )
        elif version != "editable":
            build_data["force_include"][str(weights)] = INSIDE
