"""The caption stage on a small tower: captions move to still images, everything else stays where it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from babelclip.errors import DatasetError
from babelclip.towers.config import TextTowerConfig
from babelclip.towers.start import start_transformer
from babelclip.towers.text import TextTower
from babelclip.train.caption_stage import CaptionSettings, CaptionStage
from babelclip.train.data.batches import tokenise
from babelclip.train.data.shards import PhotoRecord
from babelclip.train.data.texts import Corpus, ScoredPair
from babelclip.train.features import FeatureStore
from babelclip.train.photo_draw import recall_of_owners
from babelclip.train.spread import Ranks
from babelclip.train.still_images import StillImages, rows_of_views, still_images
from babelclip.train.text_bank import TextBank
from babelclip.train.text_vectors import text_vectors

NUM_PHOTOS, VIEWS, WIDTH = 40, 2, 32
WORDS = [f"w{number}" for number in range(40)]

MakeStage = Callable[..., CaptionStage]


def make_store() -> FeatureStore:
    """Photo i is captioned "wi wi" in one language and "wi" in another; every fourth has a label alone."""
    records = tuple(
        PhotoRecord(f"p{i}", "test", "caption", "", {"en": (f"w{i} w{i}",), "de": (f"w{i}",)}, None)
        if i % 4
        else PhotoRecord(f"p{i}", "test", "label", "", {"en": (f"w{i}",)}, f"test:{i}")
        for i in range(NUM_PHOTOS)
    )
    photos, views = np.repeat(np.arange(NUM_PHOTOS), VIEWS), np.tile(np.arange(VIEWS), NUM_PHOTOS)
    nothing = np.zeros((len(photos), 1, 1, 1), np.float16)
    return FeatureStore(records, photos, views, nothing, nothing, nothing[:, 0, 0], block=1)


@pytest.fixture
def make_stage(word_tokenizer: Tokenizer) -> MakeStage:
    def make(held_out: frozenset[str] = frozenset(), **settings: Any) -> CaptionStage:
        config = TextTowerConfig(
            vocab_size=44, width=WIDTH, num_layers=3, num_heads=2, hidden=48, embed_dim=WIDTH, rotary_base=10000.0,
            projection=True,
        )  # fmt: skip
        torch.manual_seed(0)
        tower, tokenizer, store = TextTower(config), word_tokenizer, make_store()
        start_transformer(tower, deviation=0.1)
        corpus = Corpus()
        for first in WORDS[:20]:
            corpus.add(f"{first} {WORDS[20]} {first}", "en", "a", [first])
        corpus.pairs = [ScoredPair(WORDS[i], WORDS[(i + i % 2) % 40], "en", float(1 - i % 2)) for i in range(40)]
        table = tokenise(tokenizer, [row.text for row in corpus.rows])
        rows = rows_of_views(store, VIEWS)
        things = F.normalize(torch.randn(NUM_PHOTOS, WIDTH, generator=torch.Generator().manual_seed(1)), dim=1)
        noise = torch.randn(len(rows), WIDTH, generator=torch.Generator().manual_seed(2)) * 0.02
        images = StillImages(rows, F.normalize(things[store.photos[rows]] + noise, dim=1), 1.0)
        bank = TextBank.gather(store.records, {}, {})
        chosen = CaptionSettings(
            batch_size=24, bank_size=16, upper_layers=2, held_groups={"a": 1.0}, held_tokens=64, half_precision=False,
            pairs_tokens=320, **settings,
        )  # fmt: skip
        return CaptionStage(tower, tokenizer, images, store, bank, corpus, table, held_out, (8, WIDTH), chosen)

    return make


def train(stage: CaptionStage, loss_of: Any, steps: int = 80) -> None:
    parameters = [p for p in stage.module.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam([*parameters, *stage.head.parameters()], lr=3e-3)
    for step in range(steps):
        loss, _ = loss_of(stage, step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def test_captions_find_their_images_and_other_texts_stay(make_stage: MakeStage, loss_of) -> None:
    others = [f"{first} w20 {first}" for first in WORDS[:20]]
    drift = {}
    for weight in (0.0, 20.0):
        stage = make_stage(held_weight=weight)
        rows = np.flatnonzero(stage._store.photos % 4 > 0)
        own = [f"w{photo} w{photo}" for photo in stage._store.photos[rows]]
        tokenizer, images, owners = stage._tokenizer, stage.images.of(rows), np.arange(len(rows))
        before = text_vectors(stage.module, tokenizer, others, half_precision=False)
        first = recall_of_owners(text_vectors(stage.module, tokenizer, own, half_precision=False), images, owners)
        train(stage, loss_of)
        last = recall_of_owners(text_vectors(stage.module, tokenizer, own, half_precision=False), images, owners)
        after = text_vectors(stage.module, tokenizer, others, half_precision=False)
        assert last > first + 0.5
        drift[weight] = (1 - F.cosine_similarity(before, after, dim=1)).mean().item()
    assert drift[20.0] < 0.3 * drift[0.0]


def test_lower_layers_stay_as_they_were(make_stage: MakeStage, loss_of) -> None:
    stage = make_stage()
    before = {name: tensor.clone() for name, tensor in stage.module.state_dict().items()}
    train(stage, loss_of, steps=3)
    changed = {
        name.split(".")[0:2][-1] for name, t in stage.module.state_dict().items() if not torch.equal(t, before[name])
    }
    assert changed == {"1", "2", "weight"}  # two blocks and the projection


def test_only_captions_of_photos_that_are_not_held_out_are_drawn(make_stage: MakeStage) -> None:
    held = frozenset(f"p{i}" for i in range(20))
    stage = make_stage(held)
    meanings = np.concatenate([stage.draw(step, Ranks()).labels.meanings for step in range(40)])
    bank = stage._bank
    photos = {i for i, texts in enumerate(bank.photo_texts) if bank.meanings[texts[0][0]] in meanings}
    assert photos == {i for i in range(20, NUM_PHOTOS) if i % 4}
    assert set(stage.evaluate()) == {"recall_en", "recall_others"}
    assert make_stage().evaluate() == {}


def test_a_caption_is_never_told_apart_from_other_views_of_its_photo(make_stage: MakeStage) -> None:
    labels = make_stage().draw(0, Ranks()).labels
    number = len(labels.meanings)
    assert np.array_equal(labels.image_meanings[:number], labels.meanings)
    assert len(set(labels.meanings)) == number
    assert np.isin(labels.image_meanings[number:], labels.meanings).any()


def test_ranks_share_the_batch_and_agree_about_its_labels(make_stage: MakeStage, loss_of) -> None:
    stage = make_stage()
    whole, halves = stage.draw(3, Ranks()), [stage.draw(3, Ranks(rank, 2)) for rank in range(2)]
    for place, part in enumerate(whole.parts):
        assert torch.equal(torch.cat([half.parts[place].rows[0] for half in halves]), part.rows[0])
    for half in halves:
        assert torch.equal(half.labels.held, whole.labels.held)
        assert torch.equal(half.labels.images, whole.labels.images)
    assert loss_of(stage, 3)[0].item() == pytest.approx(loss_of(make_stage(), 3)[0].item())


def test_captioned_photos_have_several_views_others_one() -> None:
    store = make_store()
    rows = rows_of_views(store, VIEWS)
    assert np.bincount(store.photos[rows]).tolist() == [VIEWS if i % 4 else 1 for i in range(NUM_PHOTOS)]


def test_kept_vectors_of_other_views_are_refused(tmp_path: Path) -> None:
    store, file = make_store(), tmp_path / "still.npy"
    np.save(file, np.ones((5, WIDTH), np.float16))
    tower: Any = None  # nothing is encoded where a file is
    assert len(still_images(tower, store, np.arange(5), file).vectors) == 5
    with pytest.raises(DatasetError, match=r"5 views, the recipe takes 6; remove it"):
        still_images(tower, store, np.arange(6), file)
