"""The image stage on stored feature maps: same numbers as the tower, no training on held-out photos, it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from babelclip.errors import ConfigError
from babelclip.towers.config import ConvStage, ConvTrunkConfig, TextTowerConfig, VisionTowerConfig
from babelclip.towers.patches import ConvPatches
from babelclip.towers.start import start_vision
from babelclip.towers.text import TextTower
from babelclip.towers.vision import VisionTower
from babelclip.train.class_moves import ClassMoves
from babelclip.train.data.shards import PhotoRecord
from babelclip.train.features import FeatureStore
from babelclip.train.from_stored import encode_maps, region_places, start_from_pooled
from babelclip.train.image_stage import ImageSettings, ImageStage, turn_projection
from babelclip.train.names import NameTargets, photo_logits
from babelclip.train.spread import Ranks
from babelclip.train.text_bank import TextBank

WIDTH, CHANNELS, NUM_PHOTOS = 32, 6, 60


def small_tower() -> VisionTower:
    stage = ConvStage(kernel=3, stride=2, expansion=1, width=CHANNELS, repeats=2)
    trunk = ConvTrunkConfig(stem_width=4, stages=(stage,), head_width=16)
    config = VisionTowerConfig(
        image_size=12, width=WIDTH, num_layers=2, head_width=8, hidden=20, patches=trunk, pretrained_grid=3
    )
    torch.manual_seed(0)
    tower = VisionTower(config)
    start_vision(tower, deviation=0.2)
    return tower.eval()


@pytest.mark.parametrize("block", [0, 1, 2])
def test_stored_maps_give_the_numbers_of_the_whole_tower(block: int) -> None:
    tower, pixels = small_tower(), torch.randn(3, 3, 12, 12)
    assert isinstance(tower.patches, ConvPatches)
    with torch.inference_mode():
        maps = tower.patches.trunk.feature_map(pixels, block)
        for keep in (None, torch.arange(9)):
            torch.testing.assert_close(encode_maps(tower, maps, block, keep), tower(pixels), atol=1e-5, rtol=1e-5)


def test_dropped_patches_are_not_seen() -> None:
    tower, maps, keep = small_tower(), torch.randn(2, CHANNELS, 3, 3), torch.tensor([0, 4, 7])
    changed = maps.clone()
    changed.flatten(2)[:, :, [1, 2, 3, 5, 6, 8]] = 9.0
    with torch.inference_mode():
        torch.testing.assert_close(encode_maps(tower, maps, 2, keep), encode_maps(tower, changed, 2, keep))
        assert not torch.allclose(encode_maps(tower, maps, 2, None), encode_maps(tower, changed, 2, None))


def test_regions_stand_about_the_middle_of_their_quarters() -> None:
    assert region_places(7).tolist() == [8, 12, 36, 40]
    assert region_places(2).tolist() == [0, 1, 2, 3]
    assert region_places(1).tolist() == [0, 0, 0, 0]


def make_stage(
    held_out: frozenset[str] = frozenset(), *, moves: ClassMoves | None = None, **settings: Any
) -> ImageStage:
    """Photos whose stored parts say which caption they have: channel c is bright for caption c."""
    generator = np.random.default_rng(0)
    classes = generator.integers(0, CHANNELS, NUM_PHOTOS)
    records = tuple(
        PhotoRecord(f"p{i}", "test", "caption", "", {"en": (f"thing {c}",), "de": (f"Ding {c}",)}, None)
        for i, c in enumerate(classes)
    )
    maps = generator.normal(0, 0.1, (NUM_PHOTOS, CHANNELS, 3, 3)).astype(np.float16)
    maps[np.arange(NUM_PHOTOS), classes] += 1
    regions = generator.normal(0, 0.1, (NUM_PHOTOS, 4, 16)).astype(np.float16)
    regions[np.arange(NUM_PHOTOS), :, classes] += 1
    logits = np.eye(CHANNELS, dtype=np.float16)[classes] * 9
    rows, views = np.arange(NUM_PHOTOS), np.zeros(NUM_PHOTOS, dtype=np.int64)
    store = FeatureStore(records, rows, views, maps, regions, logits, block=1)
    bank = TextBank.gather(records, {}, {})
    things = F.normalize(torch.randn(CHANNELS, WIDTH, generator=torch.Generator().manual_seed(1)), dim=1)
    vectors = torch.stack([things[int(text.text.split()[1])] for text in bank.texts])
    names = NameTargets(torch.from_numpy(logits).float(), ((torch.arange(CHANNELS), things),))
    chosen = ImageSettings(batch_size=32, bank_size=16, half_precision=False, **settings)
    return ImageStage(small_tower(), store, bank, vectors, names, held_out, (8, WIDTH), chosen, moves=moves)


def test_losses_are_a_function_of_the_step(loss_of) -> None:
    first, second = make_stage(), make_stage()
    assert loss_of(first, 3)[0].item() == loss_of(second, 3)[0].item()
    assert loss_of(first, 3)[0].item() != loss_of(first, 4)[0].item()


def test_ranks_share_the_batch_and_agree_about_its_labels() -> None:
    stage = make_stage(dropout=0.2, keep_patches=0.5)
    whole, halves = stage.draw(5, Ranks()), [stage.draw(5, Ranks(rank, 2)) for rank in range(2)]
    for place, array in enumerate(whole.parts[0].rows):
        torch.testing.assert_close(torch.cat([half.parts[0].rows[place] for half in halves]), array, atol=0, rtol=0)
    for half in halves:
        assert half.parts[0].number == len(whole.parts[0].rows[0])
        assert half.parts[0].keep is not None
        assert torch.equal(half.parts[0].keep, whole.parts[0].keep)
        assert np.array_equal(half.labels.rows, whole.labels.rows)
        assert np.array_equal(half.labels.texts, whole.labels.texts)
        assert np.array_equal(half.labels.languages, whole.labels.languages)


def test_held_out_photos_are_measured_and_never_drawn() -> None:
    held = frozenset(f"p{i}" for i in range(20))
    stage = make_stage(held)
    rows = np.concatenate([stage.draw(step, Ranks()).labels.rows for step in range(50)])
    assert rows.min() >= 20
    assert set(stage.evaluate()) == {"recall_en", "recall_others"}


@pytest.mark.parametrize("settings", [{"regions": True}, {"regions": False, "trunk_rate": 1.0}])
def test_the_warm_start_already_finds_captions_and_training_lowers_the_loss(settings: dict[str, Any], loss_of) -> None:
    stage = make_stage(**settings)
    start_from_pooled(stage.module, *stage.warm_start_sample(200))
    optimiser = torch.optim.Adam(stage.module.parameters(), lr=3e-3)
    losses = []
    for step in range(40):
        loss, _ = loss_of(stage, step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_only_the_trunk_above_the_stored_maps_is_trained_and_only_on_maps() -> None:
    def trained(**settings: Any) -> set[str]:
        trunk = make_stage(**settings).module.patches.trunk
        return {name.rsplit(".", 2)[0] for name, parameter in trunk.named_parameters() if parameter.requires_grad}

    assert trained() == {"blocks.1", "head"}
    assert trained(regions=True) == set()
    assert trained(trunk_rate=0.0) == set()


def test_texts_stay_where_they_are_unless_they_may_be_turned(loss_of) -> None:
    fixed, turned = make_stage(), make_stage(turn_rate=1.0)
    for stage in (fixed, turned):
        loss_of(stage, 0)[0].backward()
    assert fixed.head.turn.grad is None
    assert turned.head.turn.grad is not None
    assert turned.head.turn.grad.abs().max() > 0


def test_a_turned_text_tower_gives_turned_vectors() -> None:
    torch.manual_seed(0)
    config = TextTowerConfig(
        vocab_size=30, width=16, num_layers=1, num_heads=2, hidden=20, embed_dim=12, rotary_base=1e4, projection=True
    )
    tower, ids, turn = TextTower(config).eval(), torch.randint(3, 30, (4, 6)), torch.randn(12, 12)
    with torch.inference_mode():
        before = tower(ids)
        turn_projection(tower, turn)
        torch.testing.assert_close(tower(ids), before + before @ turn, atol=1e-5, rtol=1e-5)


def test_channel_dropout_keeps_the_mean_and_drops_whole_channels_of_an_image() -> None:
    mask = make_stage(dropout=0.25)._channel_mask(np.random.default_rng(0), 500)
    assert mask is not None
    assert mask.shape == (500, 1, 16)
    assert mask.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float(mask.mean()) == pytest.approx(1, abs=0.05)


def test_the_classifier_is_asked_about_the_whole_photo() -> None:
    logits = np.array([[4, 0, 1], [9, 9, 9], [0, 1, 4]], dtype=np.float16)
    nothing = np.zeros((3, 1, 1, 1), dtype=np.float16)
    store = FeatureStore((), np.array([0, 0, 1]), np.array([0, 1, 0]), nothing, nothing, logits, block=1)
    assert photo_logits(store).tolist() == [[4, 0, 1], [0, 1, 4]]


def test_names_are_learned_of_moved_photos_too(loss_of) -> None:
    moves = ClassMoves(torch.eye(CHANNELS, 16) * 5, torch.zeros(CHANNELS))
    stage = make_stage(moved=20, dropout=0.2, regions=False, moves=moves)
    batch = stage.draw(0, Ranks())
    assert [part.number for part in batch.parts] == [len(batch.labels.rows), 20]
    assert batch.parts[1].rows[0].shape == (20, 4, 16)
    assert batch.labels.moved.argmax(dim=1).unique().tolist() == list(range(CHANNELS))
    loss, figures = loss_of(stage, 0)
    assert np.isfinite(loss.item())
    assert figures["names_moved"] > 0
    with pytest.raises(ConfigError, match="nothing to move them by"):
        make_stage(moved=20)


def test_ranks_move_the_same_photos() -> None:
    moves = ClassMoves(torch.eye(CHANNELS, 16) * 5, torch.zeros(CHANNELS))
    stage = make_stage(moved=21, moves=moves)
    whole, halves = stage.draw(2, Ranks()), [stage.draw(2, Ranks(rank, 2)) for rank in range(2)]
    assert torch.equal(torch.cat([half.parts[1].rows[0] for half in halves]), whole.parts[1].rows[0])
