"""The image stage on stored feature maps: same numbers as the tower, no training on held-out photos, it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from babelclip.towers.config import ConvStage, ConvTrunkConfig, VisionTowerConfig
from babelclip.towers.patches import ConvPatches
from babelclip.towers.start import start_vision
from babelclip.towers.vision import VisionTower
from babelclip.train.data.shards import PhotoRecord
from babelclip.train.features import FeatureStore
from babelclip.train.image_stage import (
    ImageSettings,
    ImageStage,
    NameTargets,
    classify_maps,
    encode_maps,
    start_from_pooled,
)
from babelclip.train.text_bank import TextBank

WIDTH, CHANNELS, NUM_PHOTOS = 32, 6, 60


def small_tower() -> VisionTower:
    stage = ConvStage(kernel=3, stride=2, expansion=1, width=CHANNELS, repeats=1)
    trunk = ConvTrunkConfig(stem_width=4, stages=(stage,), head_width=16)
    config = VisionTowerConfig(
        image_size=12, width=WIDTH, num_layers=2, head_width=8, hidden=20, patches=trunk, pretrained_grid=3
    )
    torch.manual_seed(0)
    tower = VisionTower(config)
    start_vision(tower, deviation=0.2)
    return tower.eval()


def test_stored_maps_give_the_numbers_of_the_whole_tower() -> None:
    tower, pixels = small_tower(), torch.randn(3, 3, 12, 12)
    assert isinstance(tower.patches, ConvPatches)
    with torch.inference_mode():
        maps = tower.patches.trunk.feature_map(pixels)
        torch.testing.assert_close(encode_maps(tower, maps, None), tower(pixels), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(encode_maps(tower, maps, torch.arange(9)), tower(pixels), atol=1e-5, rtol=1e-5)


def test_dropped_patches_are_not_seen() -> None:
    tower, maps, keep = small_tower(), torch.randn(2, CHANNELS, 3, 3), torch.tensor([0, 4, 7])
    changed = maps.clone()
    changed.flatten(2)[:, :, [1, 2, 3, 5, 6, 8]] = 9.0
    with torch.inference_mode():
        torch.testing.assert_close(encode_maps(tower, maps, keep), encode_maps(tower, changed, keep))
        assert not torch.allclose(encode_maps(tower, maps, None), encode_maps(tower, changed, None))


def make_stage(held_out: frozenset[str] = frozenset()) -> ImageStage:
    """Photos whose map says which caption they have: channel c is bright for caption c."""
    generator = np.random.default_rng(0)
    classes = generator.integers(0, CHANNELS, NUM_PHOTOS)
    records = tuple(
        PhotoRecord(f"p{i}", "test", "caption", "", {"en": (f"thing {c}",), "de": (f"Ding {c}",)}, None)
        for i, c in enumerate(classes)
    )
    maps = generator.normal(0, 0.1, (NUM_PHOTOS, CHANNELS, 3, 3)).astype(np.float16)
    maps[np.arange(NUM_PHOTOS), classes] += 1
    store = FeatureStore(records, np.arange(NUM_PHOTOS), np.zeros(NUM_PHOTOS, dtype=np.int64), maps)
    bank = TextBank.gather(records, {}, {})
    things = F.normalize(torch.randn(CHANNELS, WIDTH, generator=torch.Generator().manual_seed(1)), dim=1)
    vectors = torch.stack([things[int(text.text.split()[1])] for text in bank.texts])
    names = NameTargets(
        torch.from_numpy(classes)[:, None], torch.ones(NUM_PHOTOS, 1), ((torch.arange(CHANNELS), things),)
    )
    settings = ImageSettings(batch_size=32, bank_size=16, half_precision=False)
    return ImageStage(small_tower(), store, bank, vectors, names, held_out, (8, WIDTH), settings)


def test_losses_are_a_function_of_the_step() -> None:
    first, second = make_stage(), make_stage()
    assert first.loss(3)[0].item() == second.loss(3)[0].item()
    assert first.loss(3)[0].item() != first.loss(4)[0].item()


def test_held_out_photos_are_measured_and_never_drawn() -> None:
    held = frozenset(f"p{i}" for i in range(20))
    stage = make_stage(held)
    rows = np.concatenate([stage._draw_rows(np.random.default_rng(i)) for i in range(50)])
    assert rows.min() >= 20
    assert set(stage.evaluate()) == {"recall_en", "recall_others"}


def test_the_warm_start_already_finds_captions_and_training_lowers_the_loss() -> None:
    stage = make_stage()
    start_from_pooled(stage.module.tower, *stage.warm_start_sample(200))
    optimiser = torch.optim.Adam(stage.module.parameters(), lr=3e-3)
    losses = []
    for step in range(40):
        loss, _ = stage.loss(step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_the_trunk_stays_frozen_and_its_head_does_not() -> None:
    stage = make_stage()
    trunk = stage.module.tower.patches.trunk
    assert not any(parameter.requires_grad for parameter in trunk.blocks.parameters())
    assert trunk.head.weight.requires_grad


def test_classifier_shares_sum_to_one_and_name_the_best_class() -> None:
    maps = np.zeros((2, 3, 2, 2), dtype=np.float16)
    maps[0, 0], maps[1, 2] = 3, 3
    classes, shares = classify_maps(
        torch.eye(3)[:, :, None, None], torch.zeros(3), (torch.eye(3) * 4, torch.zeros(3)), maps, top=2
    )
    assert classes[:, 0].tolist() == [0, 2]
    assert shares.sum(dim=1).tolist() == pytest.approx([1, 1])
