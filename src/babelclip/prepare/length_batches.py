"""Batches of texts of like length.

A file of its own, because every room that runs texts uses it: the encoder and the trainer, which knows no encoder.
"""

from __future__ import annotations

from collections.abc import Sequence


def batches_by_length(
    lengths: Sequence[int], token_budget: int, max_rows: int | None = None, max_padding: int | None = None
) -> list[list[int]]:
    """Positions grouped so that texts of like length share a batch, longest first.

    A batch costs its longest text times its rows, because shorter ones are padded: that product stays within the
    budget, except that a text over the budget runs alone. Results go back into order by their positions:
    ``out[batch] = run(batch)``.

    Args:
        token_budget: most tokens of a batch, padding included.
        max_rows: most texts of a batch; None: as many as the budget holds.
        max_padding: most tokens of a batch that are padding, because more would cost more than another batch does;
            None: as many as the budget holds.
    """
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    most_rows = len(order) if max_rows is None else max_rows
    allowed = token_budget if max_padding is None else max_padding
    batches: list[list[int]] = []
    rows_left = padding = longest = 0
    for position in order:
        padding += longest - lengths[position]
        if rows_left == 0 or padding > allowed:
            batches.append([])
            longest, padding = lengths[position], 0
            rows_left = max(1, min(most_rows, token_budget // max(1, longest)))
        batches[-1].append(position)
        rows_left -= 1
    return batches
