"""An index: files, what a model made of them, and the answer to a query."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from babelclip.arrays import Vectors
from babelclip.encodes import Encodes
from babelclip.errors import ConfigError, ModelDiffers, StoreError
from babelclip.score_normalization import ScoreNormalization
from babelclip.search.fields import KINDS
from babelclip.search.filters import Eq, Filter, Metadata, Prefix, of_kind
from babelclip.search.filters_on_index import LackingField, lacking_fields, refuse_unknown_fields
from babelclip.search.fuse import OwnCohorts, in_one_order, taken_cohorts
from babelclip.search.index_notes import (
    ANSWERING,
    FILLING,
    ModelNote,
    cohorts_note,
    folders_note,
    model_note,
    read_folders,
    read_model,
)
from babelclip.search.indexing import Progress, Report, bring_up_to_date, without_progress
from babelclip.search.known_files import row_id
from babelclip.search.open_store import index_option, open_database
from babelclip.search.query import Query, query_vector
from babelclip.search.store import Database, Known, Row, Scored, VectorStore
from babelclip.search.walk import Wanted, path_text
from babelclip.vectors import finish


@dataclass(frozen=True, slots=True)
class Hit:
    """A thing that was found."""

    rank: int  # from 1
    path: str  # absolute
    kind: str  # one of KINDS
    score: float  # cosine with the query
    id: str
    metadata: Metadata
    chance: float | None = None  # 0 to 1, of a photo to be what a lone text says (``Reading.chance``)

    @classmethod
    def of(cls, rank: int, row: Known | Row | Scored, score: float, chance: float | None = None) -> Hit:
        """A stored row that was found."""
        return cls(rank, str(row.metadata.get("path", row.id)), row.kind, score, row.id, row.metadata, chance)


class Index:
    """Files and their vectors in a database. Threads may share one; other processes may write beside it."""

    def __init__(self, database: Database, encoder: Encodes | None, *, dim: int | None = None) -> None:
        """``open`` checks the model too; without that check an index of another one can be embedded anew."""
        self.database = database
        self._encoder = None if encoder is None else encoder.upright()
        self._reading = None if encoder is None else encoder.calibration
        self._dim = dim
        self._lock = threading.Lock()
        self._opened: tuple[str, VectorStore] | None = None

    @classmethod
    def open(cls, url: str, encoder: Encodes | None, *, dim: int | None = None, create: bool = False) -> Index:
        """The index of a URL.

        Args:
            url: ``sqlite:FILE``, or one of the other databases of docs/guides/search.md.
            encoder: None for what needs no model: filters, counts, verify, similar files.
            dim: a Matryoshka width for a new index; the model's own when left out.
            create: make it where there is none.

        Raises:
            ModelDiffers: the index was made with another model.
            StoreError: there is none, or it cannot be used.
        """
        index = cls(open_database(url, create=create), encoder, dim=dim)
        try:
            index.check_model()
        except BaseException:
            index.close()
            raise
        return index

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def model(self) -> ModelNote | None:
        """The model of the vectors that answer; None where nothing has been indexed yet."""
        notes = self.database.notes()
        name = notes.get(ANSWERING)
        return None if name is None else read_model(notes, name)

    def check_model(self) -> None:
        """Whether the encoder's vectors may be compared with those that are stored.

        Raises:
            ModelDiffers: when they may not, or when an earlier babelclip did not note enough of the model to tell.
        """
        found = self.model()
        if found is None or self._encoder is None:
            return
        differences = found.differs(self._asked(self._dim or found.dim))
        if differences:
            url, narrower = self.database.url, found.dim < self._encoder.dim
            raise ModelDiffers(
                f"the index {url} was made with {found.model}: {'; '.join(differences)}. Embed it anew with: "
                f"babelclip index --reembed{f' --dim {found.dim}' if narrower else ''}{index_option(url)}"
            )

    def folders(self) -> dict[str, Wanted]:
        """What has been indexed: folders and files, and what of them is wanted."""
        return read_folders(self.database.notes())

    def count(self, where: Filter | None = None) -> int:
        """Rows that pass."""
        store = self.store()
        return 0 if store is None else store.count(where)

    def lacking(self, where: Filter | None, kinds: Sequence[str] = KINDS) -> list[LackingField]:
        """How many rows a condition leaves out because they lack a field, for each field that some lack."""
        store = self.store()
        return [] if store is None else lacking_fields(store, where, kinds)

    def verify(self) -> list[str]:
        """What is wrong with the index, in words; nothing where all is well."""
        store = self.store()
        return [] if store is None else store.verify()

    def compact(self) -> None:
        """Give back space, and bring what is derived from the rows up to date."""
        store = self.store()
        if store is not None:
            store.compact()

    def add(
        self,
        paths: Sequence[str | Path] = (),
        wanted: Wanted | None = None,
        *,
        progress: Progress = without_progress,
        reembed: bool = False,
        leave: Iterable[Path] = (),
    ) -> Report:
        """Index folders and files: what is new or changed is embedded, what is gone from them is taken out.

        Can be stopped at any moment; the next run goes on.

        Args:
            paths: all that have been indexed before, when left out.
            wanted: as last time when left out.
            reembed: all of them into a new set of vectors, which answers when it is complete; until then the old
                one does.
            leave: files that are not looked at, and stay as they are known.

        Raises:
            ConfigError: a path that is not there.
            ModelDiffers: another model's vectors answer.
            StoreError: nothing can be kept.
        """
        encoder = self._need_encoder()
        roots = [Path(path).expanduser().absolute() for path in paths]
        for root in roots:
            if not root.exists():
                raise ConfigError(f"{path_text(root)}: there is no such file or folder")
        known = self.folders()
        plan = known | {str(root): wanted or known.get(str(root), Wanted()) for root in roots}
        if not plan:
            raise ConfigError("nothing to index: name a folder of photos")
        self.database.note(folders_note(plan))
        name, store = self._to_fill(reembed)
        chosen = {root: plan[str(root)] for root in (roots if roots and not reembed else map(Path, plan))}
        report = bring_up_to_date(self.database, store, encoder, chosen, map(Path, plan), progress, leave)
        if 4 * (report.embedded + report.removed) > report.indexed:
            store.compact()  # what is derived from so many new rows is made anew
        notes = self.database.notes()
        own = taken_cohorts(store, OwnCohorts.from_json(notes.get(cohorts_note(name))), KINDS)
        self.database.note({cohorts_note(name): own.as_json()})
        if notes.get(FILLING) == name:
            self._answer_with(name, notes.get(ANSWERING))
        return report

    def remove(self, paths: Sequence[str | Path]) -> int:
        """Take files, or all that lies below folders, out of the index (not off the disk): how many rows."""
        roots = [Path(path).expanduser().absolute() for path in paths]
        kept = {path: wanted for path, wanted in self.folders().items() if Path(path) not in roots}
        self.database.note(folders_note(kept))
        store = self.store()
        if store is None:
            return 0
        ids = [row.id for root in roots for row in store.known(below(root))]
        store.delete(ids)
        return len(ids)

    def search(
        self,
        query: str | Query | Vectors,
        k: int = 10,
        where: Filter | None = None,
        *,
        kinds: Sequence[str] = KINDS,
        correct_gap: bool = True,
    ) -> list[Hit]:
        """The ``k`` best, best first.

        Args:
            query: a text, a ``Query`` of texts and images, or a vector (E,) of the model.
            kinds: only these.
            correct_gap: where kinds are mixed, each hit is ranked by how far it lies above what its kind gives by
                chance, so that neither crowds out the other; within a kind the order is that of the cosine either
                way.

        Raises:
            InputError: a query that cannot be embedded.
            ConfigError: a condition on a field that nothing here has.
        """
        store = self.store()
        if store is None:
            return []
        try:
            return self._found_in(store, query, k, where, kinds, correct_gap)
        except StoreError:
            later = self.store()
            if later is store or later is None:
                raise
            return self._found_in(later, query, k, where, kinds, correct_gap)  # it was replaced in the meantime

    def _found_in(
        self,
        store: VectorStore,
        query: str | Query | Vectors,
        k: int,
        where: Filter | None,
        kinds: Sequence[str],
        correct_gap: bool,
    ) -> list[Hit]:
        refuse_unknown_fields(store, where)
        vector = self.vector(query, store.dim)
        found = [store.query(vector, k, of_kind(kind, where)) for kind in kinds]
        found = [hits for hits in found if hits]
        if len(found) > 1 and correct_gap:
            ordered = in_one_order(found, vector, self._cohorts(store.dim))
        else:
            ordered = sorted((hit for hits in found for hit in hits), key=lambda hit: -hit.score)
        chances = self._chances(query, vector, ordered[:k])
        return [
            Hit.of(rank, scored, scored.score, chance)
            for rank, (scored, chance) in enumerate(zip(ordered, chances, strict=False), start=1)
        ]

    def _cohorts(self, width: int) -> dict[str, ScoreNormalization]:
        notes = self.database.notes()
        own = OwnCohorts.from_json(notes.get(cohorts_note(notes[ANSWERING])))
        return own.with_those({} if self._reading is None else self._reading.cohorts, width)

    def _chances(self, query: str | Query | Vectors, vector: Vectors, hits: Sequence[Scored]) -> Sequence[float | None]:
        """What the scores of photos mean where a lone text was asked, which is what readings are fitted on."""
        lone = isinstance(query, str) or (isinstance(query, Query) and query.is_one_text)
        cosines = np.array([hit.score for hit in hits], np.float32)
        found = self._reading.chance(vector, cosines) if self._reading is not None and lone else None
        if found is None:
            return [None] * len(hits)
        return [float(chance) if hit.kind == "image" else None for hit, chance in zip(hits, found, strict=True)]

    def vector(self, query: str | Query | Vectors, dim: int) -> Vectors:
        """What is asked as a vector (dim,)."""
        if isinstance(query, np.ndarray):
            return query
        whole = query_vector(self._need_encoder(), Query.of(query) if isinstance(query, str) else query)
        return finish(whole[None], dim)[0]

    def vector_of(self, path: str | Path) -> Vectors | None:
        """The stored vector of a file (of its first part); None where it is not in the index."""
        store = self.store()
        row = None if store is None else store.get([row_id(Path(path).absolute(), 0)])[0]
        return None if row is None else row.vector

    def _to_fill(self, reembed: bool) -> tuple[str, VectorStore]:
        """The store that new vectors go into: the one that answers, or the one that is to take its place."""
        notes = self.database.notes()
        answering = notes.get(ANSWERING)
        if not reembed and answering is not None:
            self.check_model()  # another process may have embedded all anew since this one looked
            return answering, self.database.open(answering)
        asked = self._asked(self._dim or self._need_encoder().dim)
        filling = notes.get(FILLING)
        if filling is not None and filling in self.database.stores():
            if not read_model(notes, filling).differs(asked):
                return filling, self.database.open(filling)
            self.database.drop(filling)
        new = str(max((int(name) for name in self.database.stores()), default=0) + 1)
        store = self.database.create(new, asked.dim)
        begun = ANSWERING if answering is None else FILLING
        self.database.note({model_note(new): asked.as_json(), begun: new})
        return new, store

    def _answer_with(self, name: str, before: str | None) -> None:
        """Let a store that is complete take the place of the one that answered."""
        self.database.note({ANSWERING: name, FILLING: None})
        if before is not None:
            self.database.drop(before)
            self.database.note({model_note(before): None, cohorts_note(before): None})

    def store(self) -> VectorStore | None:
        """The store that answers now: another process may have put a new one in its place."""
        name = self.database.notes().get(ANSWERING)
        if name is None:
            return None
        with self._lock:
            if self._opened is None or self._opened[0] != name:
                self.check_model()
                self._opened = (name, self.database.open(name))
            return self._opened[1]

    def _need_encoder(self) -> Encodes:
        if self._encoder is None:
            raise ConfigError("the index was opened without a model: give Index.open an encoder to embed anything")
        return self._encoder

    def _asked(self, dim: int) -> ModelNote:
        encoder = self._need_encoder()
        facts = encoder.facts()
        fingerprint = facts.get("fingerprint") or f"untold by {facts.get('remote')}"
        return ModelNote(model=encoder.name, fingerprint=str(fingerprint), dim=dim)


def below(root: Path) -> Filter:
    """Rows of a file, or of all files below a folder."""
    text = path_text(root)
    return Prefix("path", text.rstrip("/") + "/") | Eq("path", text)
