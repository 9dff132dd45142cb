"""The data of a run: every source that the recipe names, opened once, and what of it is held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from babelclip.errors import ConfigError
from babelclip.train.data.captioned_images import CaptionedImage, CaptionedImages, open_captioned_images
from babelclip.train.data.class_names import ClassNames, read_class_names
from babelclip.train.data.stored_vectors import StoredVectors
from babelclip.train.data.text_rows import TextRows, read_text_rows
from babelclip.train.data.texts import Texts, read_texts

SourceKind = Literal["captioned_images", "images", "text_rows", "texts", "vectors", "class_names"]
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSource:
    """One source, under the name that the recipe gives it."""

    kind: SourceKind
    path: str  # relative to the folder that ``--data`` names where it is not absolute
    held_out: float | None = None  # share of captioned images that is measured with, 1: all; None: the recipe's

    def __post_init__(self) -> None:
        if self.held_out is not None and not 0 <= self.held_out <= 1:
            raise ConfigError(f"held_out must be from 0 to 1, found {self.held_out}")
        if self.held_out and self.kind != "captioned_images":
            raise ConfigError(f"held_out = {self.held_out}: only captioned images are held out, not {self.kind}")


class Sources:
    """Opens sources when they are first asked for.

    Args:
        sources: The recipe's, by name.
        data: The folder that their paths are relative to.
        held_out: Share of the captioned images of each source that is not trained on.
    """

    def __init__(self, sources: Mapping[str, DataSource], data: Path, held_out: float) -> None:
        self._sources, self._data, self._held_out = sources, data, held_out
        self._opened: dict[tuple[Any, ...], Any] = {}

    def kind(self, name: str) -> SourceKind:
        """What a source holds.

        Raises:
            ConfigError: The recipe has no such source.
        """
        return self._source(name).kind

    def images(self, name: str) -> CaptionedImages:
        """The images of a source that are trained on.

        Every n-th captioned image is held out, so that a run which is resumed, or another stage, holds out the same.

        Raises:
            ConfigError: No such source, or of another kind.
            DatasetError: It is absent or not as documented.
        """
        every = self._every(name)
        return tuple(image for row, image in enumerate(self._all_images(name)) if (row + 1) % every)

    def held_out_images(self, name: str) -> CaptionedImages:
        """Those that are not."""
        return tuple(self._all_images(name)[self._every(name) - 1 :: self._every(name)])

    def text_rows(self, name: str, *, negatives: int = 0, scored: bool = False) -> TextRows:
        """Pairs, triplets or scored pairs; fails as ``images`` does."""
        path = self._path(name, "text_rows")
        key = (name, negatives, scored)
        return self._once(key, lambda: read_text_rows(path, negatives=negatives, scored=scored))

    def texts(self, name: str) -> Texts:
        """Single texts with their targets; fails as ``images`` does."""
        path = self._path(name, "texts")
        return self._once((name,), lambda: read_texts(path))

    def vectors(self, name: str) -> StoredVectors:
        """Stored vectors or logits; fails as ``images`` does."""
        path = self._path(name, "vectors")
        return self._once((name,), lambda: StoredVectors.read(path))

    def class_names(self, name: str) -> ClassNames:
        """Names of a classifier's classes; fails as ``images`` does."""
        path = self._path(name, "class_names")
        return self._once((name,), lambda: read_class_names(path))

    def _all_images(self, name: str) -> Sequence[CaptionedImage]:
        path = self._path(name, "captioned_images", "images")
        captioned = self.kind(name) == "captioned_images"
        return self._once((name,), lambda: open_captioned_images(path, need_captions=captioned))

    def _every(self, name: str) -> int:
        """One image in so many is held out."""
        source = self._source(name)
        share = self._held_out if source.held_out is None else source.held_out
        return round(1 / share) if share and source.kind == "captioned_images" else len(self._all_images(name)) + 1

    def _source(self, name: str) -> DataSource:
        if name not in self._sources:
            raise ConfigError(f"the recipe has no data named {name!r}; it has {', '.join(self._sources)}")
        return self._sources[name]

    def _path(self, name: str, *kinds: SourceKind) -> Path:
        source = self._source(name)
        if source.kind not in kinds:
            raise ConfigError(f"data {name!r} is of kind {source.kind!r}, expected {' or '.join(map(repr, kinds))}")
        return self._data / source.path

    def _once(self, key: tuple[Any, ...], read: Callable[[], _T]) -> _T:
        if key not in self._opened:
            self._opened[key] = read()
        return cast(_T, self._opened[key])
