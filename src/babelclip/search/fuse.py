"""Hits of several kinds in one order: by how far each cosine lies above what its kind gives by chance.

What chance gives is told by ``score_normalization.py``.

A text is closer to any text than to the best photo, so plain cosines let texts crowd out photos. Taking away the means
alone does not mend it, because a query's cosines with texts also vary more (lab/LOG.md). Within a kind the order stays
that of the cosine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from babelclip.arrays import Vectors
from babelclip.decode import decode_as, parse_json
from babelclip.errors import StoreError
from babelclip.score_normalization import ScoreNormalization
from babelclip.search.filters import Eq
from babelclip.search.store import Scored, VectorStore

_SAMPLE = 5000
"""Rows of a kind that a cohort is taken over."""
_GROWTH = 4
"""A cohort is taken anew when its kind has so many times more rows."""
LEAST = 100
"""Fewer rows make no cohort; more make one that comes before the model's, which knows nothing of what is indexed."""


@dataclass(frozen=True, slots=True)
class OwnCohorts:
    """Those of an index's kinds, and of how many rows there were when each was taken."""

    cohorts: Mapping[str, ScoreNormalization] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> str:
        """For a note."""
        return json.dumps(
            {"cohorts": {kind: cohort.as_json() for kind, cohort in self.cohorts.items()}, "counts": dict(self.counts)}
        )

    @classmethod
    def from_json(cls, text: str | None) -> OwnCohorts:
        """Of a note; None gives none."""
        if text is None:
            return cls()
        try:
            stored = decode_as(dict[str, dict[str, Any]], parse_json(text), "its note of cohorts")
            counts = decode_as(dict[str, int], stored["counts"], "counts")
            return cls(
                {kind: ScoreNormalization.from_json(cohort) for kind, cohort in stored["cohorts"].items()}, counts
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise StoreError(f"the index is damaged: its note of cohorts cannot be read ({error!s:.200})") from error

    def with_those(self, of_model: Mapping[str, ScoreNormalization], width: int) -> dict[str, ScoreNormalization]:
        """One cohort a kind: the index's own, else the model's, cut to the ``width`` of the index's vectors."""
        cut = {kind: cohort.at(width) for kind, cohort in of_model.items()}
        if "image" in cut:
            cut["page"] = cut["image"]  # pages are images too; nothing closer is known of them
        return {**cut, **self.cohorts}


def taken_cohorts(store: VectorStore, before: OwnCohorts, kinds: Sequence[str]) -> OwnCohorts:
    """The cohorts of a store's kinds; those that have not grown much stay."""
    cohorts, counts = dict(before.cohorts), dict(before.counts)
    for kind in kinds:
        count = store.count(Eq("kind", kind))
        if count >= max(LEAST, _GROWTH * counts.get(kind, 0)):
            sample = np.stack([row.vector for row in islice(store.rows(Eq("kind", kind)), _SAMPLE)])
            cohorts[kind], counts[kind] = ScoreNormalization.of(sample), count
    return OwnCohorts(cohorts, counts)


def in_one_order(
    found: Sequence[Sequence[Scored]], query: Vectors, cohorts: Mapping[str, ScoreNormalization]
) -> list[Scored]:
    """Hits of several kinds, best first by their standard scores; by plain cosine where a kind has no cohort."""
    every = [hit for hits in found for hit in hits]
    if any(hit.kind not in cohorts for hit in every):
        return sorted(every, key=lambda hit: -hit.score)
    ranked = [
        (float(score), hit)
        for hits in found
        for score, hit in zip(_standard_scores(hits, query, cohorts), hits, strict=True)
    ]
    return [hit for _, hit in sorted(ranked, key=lambda pair: -pair[0])]


def _standard_scores(hits: Sequence[Scored], query: Vectors, cohorts: Mapping[str, ScoreNormalization]) -> Vectors:
    cosines = np.array([hit.score for hit in hits], np.float32)
    return cohorts[hits[0].kind].standard_scores(query, cosines) if hits else cosines
