"""The image stage on stored feature maps: same numbers as the tower, no training on held-out photos, it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from babelclip.errors import ConfigError
from babelclip.towers.config import ConvStage, ConvTrunkConfig, TextTowerConfig, VisionTowerConfig
from babelclip.towers.patches import ConvPatches
from babelclip.towers.start import start_vision
from babelclip.towers.text import TextTower
from babelclip.towers.vision import VisionTower
from babelclip.train.batch import Part
from babelclip.train.class_moves import ClassMoves
from babelclip.train.data.shards import PhotoRecord
from babelclip.train.features import FeatureStore
from babelclip.train.from_stored import (
    encode_tokens,
    region_places,
    start_classes,
    start_from_pooled,
    trunk_tokens,
)
from babelclip.train.image_stage import ImageSettings, ImageStage, turn_projection
from babelclip.train.names import NameTargets, photo_logits
from babelclip.train.spread import Ranks
from babelclip.train.text_bank import TextBank

WIDTH, CHANNELS, NUM_PHOTOS = 32, 6, 60


def small_tower(classes: int = 0) -> VisionTower:
    stage = ConvStage(kernel=3, stride=2, expansion=1, width=CHANNELS, repeats=2)
    trunk = ConvTrunkConfig(stem_width=4, stages=(stage,), head_width=16, classes=classes)
    config = VisionTowerConfig(
        image_size=12, width=WIDTH, num_layers=2, head_width=8, hidden=20, patches=trunk, pretrained_grid=3
    )
    torch.manual_seed(0)
    tower = VisionTower(config)
    start_vision(tower, deviation=0.2)
    return tower.eval()


def encode_maps(tower: VisionTower, maps: Tensor, block: int, keep: Tensor | None) -> Tensor:
    return encode_tokens(tower, trunk_tokens(tower, maps, block, keep), keep)


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize("block", [0, 1, 2])
def test_stored_maps_give_the_numbers_of_the_whole_tower(block: int, classes: int) -> None:
    tower, pixels = small_tower(classes), torch.randn(3, 3, 12, 12)
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


def test_every_token_carries_what_the_classifier_says() -> None:
    patches, tokens = small_tower(classes=5).patches, torch.rand(3, 9, 16)
    assert isinstance(patches, ConvPatches)
    with torch.inference_mode():
        carried = patches.from_tokens(tokens) - patches.projection(tokens)
        shares = patches.classifier(tokens.mean(dim=1)).softmax(dim=1)
        expected = shares @ patches.class_embedding.weight.T
    torch.testing.assert_close(carried, expected[:, None].expand(3, 9, WIDTH), atol=1e-5, rtol=1e-5)


def test_a_tower_that_starts_from_its_classifier_recognises_by_name() -> None:
    torch.manual_seed(1)
    tower, generator = small_tower(classes=WIDTH), torch.Generator().manual_seed(3)
    weight, names = torch.randn(WIDTH, 16, generator=generator) * 9, torch.eye(WIDTH)
    regions = torch.rand(200, 4, 16, generator=generator)
    wanted = (regions.mean(dim=1) @ weight.T).argmax(dim=1)
    start_vision(tower)
    start_from_pooled(tower, regions, torch.randn(200, WIDTH, generator=generator))
    found = []
    for strength in (0.0, 30.0):
        start_classes(tower, weight, torch.zeros(WIDTH), names, strength)
        with torch.inference_mode():
            vectors = encode_tokens(tower, regions, region_places(3))
        found.append(float((vectors.argmax(dim=1) == wanted).float().mean()))
    assert found[0] < 0.3
    assert found[1] > 0.6


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
    regions = np.abs(generator.normal(0, 0.1, (NUM_PHOTOS, 4, 16))).astype(np.float16)  # the trunk ends in ReLU6
    regions[np.arange(NUM_PHOTOS), :, classes] += 1
    logits = np.eye(CHANNELS, dtype=np.float16)[classes] * 9
    rows, views = np.arange(NUM_PHOTOS), np.zeros(NUM_PHOTOS, dtype=np.int64)
    store = FeatureStore(records, rows, views, maps, regions, logits, block=1)
    bank = TextBank.gather(records, {}, {})
    things = F.normalize(torch.randn(CHANNELS, WIDTH, generator=torch.Generator().manual_seed(1)), dim=1)
    vectors = torch.stack([things[int(text.text.split()[1])] for text in bank.texts])
    names = NameTargets(torch.from_numpy(logits).float(), ((torch.arange(CHANNELS), things),))
    chosen = ImageSettings(batch_size=32, bank_size=16, half_precision=False, **settings)
    return ImageStage(small_tower(classes=4), store, bank, vectors, names, held_out, (8, WIDTH), chosen, moves=moves)


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
        patches = make_stage(**settings).module.patches
        return {name.rsplit(".", 1)[0] for name, parameter in patches.named_parameters() if parameter.requires_grad}

    always = {"projection", "class_embedding"}
    assert trained() == always | {"trunk.blocks.1.project", "trunk.head", "classifier"}
    assert trained(regions=True) == always
    assert trained(trunk_rate=0.0) == always


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
    assert mask.shape == (500, 1, 16)
    assert mask.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float(mask.mean()) == pytest.approx(1, abs=0.05)


def test_the_classifier_is_asked_about_the_whole_photo() -> None:
    logits = np.array([[4, 0, 1], [9, 9, 9], [0, 1, 4]], dtype=np.float16)
    nothing = np.zeros((3, 1, 1, 1), dtype=np.float16)
    store = FeatureStore((), np.array([0, 0, 1]), np.array([0, 1, 0]), nothing, nothing, logits, block=1)
    assert photo_logits(store).tolist() == [[4, 0, 1], [0, 1, 4]]


def moving_stage(**settings: Any) -> ImageStage:
    """Classes are bright channels of the head, as in the stored regions."""
    moves = ClassMoves(torch.eye(CHANNELS, 16) * 5, torch.zeros(CHANNELS))
    return make_stage(moved=True, moves=moves, moved_strength=(0.5, 1.0), **settings)


@pytest.mark.parametrize("regions", [True, False])
def test_names_are_learned_of_moved_photos_too(regions: bool, loss_of) -> None:
    stage = moving_stage(dropout=0.2, regions=regions)
    batch = stage.draw(0, Ranks())
    assert batch.labels.moved.argmax(dim=1).unique().tolist() == list(range(CHANNELS))
    loss, figures = loss_of(stage, 0)
    loss.backward()
    assert figures["names_moved"] > 0
    with pytest.raises(ConfigError, match="nothing to move them by"):
        make_stage(moved=True)


@pytest.mark.parametrize("regions", [True, False])
def test_a_photo_and_the_moved_one_stand_side_by_side(regions: bool) -> None:
    stage = moving_stage(regions=regions, whole_share=1.0)
    (part,) = stage.draw(0, Ranks()).parts
    stored, channels, before, after = part.rows
    with torch.inference_mode():
        both = stage.encode(part)
        alone = stage.encode(Part("image", (stored,), len(stored), part.keep))
        unmoved = stage.encode(Part("image", (stored, channels, before, before), len(stored), part.keep))
    torch.testing.assert_close(both[:, :WIDTH], alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(unmoved[:, WIDTH:], alone, atol=1e-5, rtol=1e-5)
    assert (both[:, WIDTH:] - alone).abs().amax(dim=1).min() > 1e-3
    assert not torch.equal(before, after)


def test_ranks_move_the_same_photos() -> None:
    stage = moving_stage()
    whole, halves = stage.draw(2, Ranks()), [stage.draw(2, Ranks(rank, 2)) for rank in range(2)]
    for place, array in enumerate(whole.parts[0].rows):
        assert torch.equal(torch.cat([half.parts[0].rows[place] for half in halves]), array)
