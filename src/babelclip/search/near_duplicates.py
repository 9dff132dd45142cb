"""Photos that look alike: near neighbors put together in groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from babelclip.search.filters import Filter, of_kind
from babelclip.search.filters_on_index import refuse_unknown_fields
from babelclip.search.index import Hit, Index

NEIGHBORS = 20
"""How many of a photo's nearest are looked at; larger groups join through their members."""


@dataclass(frozen=True, slots=True)
class Group:
    """Photos of one group; the first is the one with the most pixels, then the largest file."""

    hits: tuple[Hit, ...]  # score: the cosine with the first


def find_near_duplicates(
    index: Index, threshold: float, where: Filter | None = None, each: Callable[[], object] = lambda: None
) -> list[Group]:
    """Groups of photos, each of which has a cosine of at least ``threshold`` with another one of its group; by path.

    Args:
        each: called after each photo.
    """
    store = index.store()
    if store is None:
        return []
    refuse_unknown_fields(store, where)
    condition = of_kind("image", where)
    leader: dict[str, str] = {}

    def lead(id: str) -> str:
        while leader.setdefault(id, id) != id:
            leader[id] = leader[leader[id]]
            id = leader[id]
        return id

    for row in store.rows(condition):
        for hit in store.query(row.vector, NEIGHBORS, condition):
            if hit.id != row.id and hit.score >= threshold:
                leader[lead(hit.id)] = lead(row.id)
        each()
    groups: dict[str, list[str]] = {}
    for id in leader:
        groups.setdefault(lead(id), []).append(id)
    found = [_group(index, ids) for ids in groups.values() if len(ids) > 1]
    return sorted(found, key=lambda group: group.hits[0].path)


def _group(index: Index, ids: list[str]) -> Group:
    store = index.store()
    assert store is not None
    rows = [row for row in store.get(ids) if row is not None]

    def pixels(number: int) -> tuple[int, int, str]:
        facts = rows[number].metadata
        area = int(facts.get("width", 0)) * int(facts.get("height", 0))
        return -area, -int(facts.get("size", 0)), str(facts["path"])

    order = sorted(range(len(rows)), key=pixels)
    scores = np.stack([rows[number].vector for number in order]) @ rows[order[0]].vector
    ranked = enumerate(zip(order, scores, strict=True), start=1)
    return Group(tuple(Hit.of(rank, rows[number], float(score)) for rank, (number, score) in ranked))
