"""Which status an error is told with.

A file of its own, because the page and the playground tell errors alike.
"""

from __future__ import annotations

from babelclip.errors import BabelclipError, ConfigError, InputError, RuntimeUnavailable


def status_of(error: BabelclipError) -> int:
    """400 for what was asked wrongly, 503 where the model is away for a while, else 500."""
    if isinstance(error, InputError | ConfigError):
        return 400
    return 503 if isinstance(error, RuntimeUnavailable) else 500
