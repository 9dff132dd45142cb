"""The image tower from its tokens on: all of them, some of them, and the last block for CLS alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from babelclip.towers.config import ClipVisionConfig, ConvStage, ConvTrunkConfig, Eva02VisionConfig, LinearPatchesConfig
from babelclip.towers.dual import make_vision
from babelclip.towers.eva02_vision import Eva02VisionTower
from babelclip.towers.patches import ConvPatches, InvertedResidual
from babelclip.towers.vision import VisionTower

TRUNK = ConvTrunkConfig(
    stem_width=4,
    stages=(
        ConvStage(kernel=3, stride=2, expansion=2, width=8, repeats=2),
        ConvStage(kernel=3, stride=2, expansion=2, width=8, repeats=1),
    ),
    head_width=12,
    classes=3,
)


def tower_with(patches: LinearPatchesConfig | ConvTrunkConfig) -> Eva02VisionTower:
    torch.manual_seed(0)
    config = Eva02VisionConfig(
        image_size=24, width=32, num_layers=2, head_width=16, hidden=24, patches=patches, pretrained_grid=3
    )
    tower = Eva02VisionTower(config)
    for parameter in tower.parameters():
        nn.init.normal_(parameter, std=0.2)
    return tower


def clip_tower() -> VisionTower:
    torch.manual_seed(0)
    tower = make_vision(
        ClipVisionConfig(image_size=24, patch_size=8, width=32, num_layers=2, num_heads=2, hidden=24, embed_dim=16)
    )
    for parameter in tower.parameters():
        nn.init.normal_(parameter, std=0.2)
    return tower


@pytest.fixture(params=["linear", "trunk", "clip"])
def tower(request: pytest.FixtureRequest) -> VisionTower:
    if request.param == "clip":
        return clip_tower()
    return tower_with(LinearPatchesConfig(size=8) if request.param == "linear" else TRUNK)


@pytest.fixture
def pixels() -> Tensor:
    return torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_the_whole_is_the_tower_itself(tower: VisionTower, pixels: Tensor) -> None:
    assert torch.equal(tower.encode_tokens(tower.patches(pixels)), tower(pixels))
    assert torch.equal(tower.encode_tokens(tower.patches(pixels), torch.arange(9)), tower(pixels))


@torch.inference_mode()
@pytest.mark.parametrize("positions", [None, torch.tensor([1, 4, 8])])
def test_cls_alone_is_what_the_last_block_is_asked_for(
    tower: VisionTower, pixels: Tensor, positions: Tensor | None
) -> None:
    tokens = tower.patches(pixels) if positions is None else tower.patches(pixels)[:, positions]
    whole, alone = (tower.encode_tokens(tokens, positions, cls_only=cls_only) for cls_only in (False, True))
    torch.testing.assert_close(alone, whole, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_tokens_stand_where_their_positions_say(tower: VisionTower, pixels: Tensor) -> None:
    """Their order says nothing, their place on the grid does."""
    tokens = tower.patches(pixels)
    some = tower.encode_tokens(tokens[:, [1, 4, 8]], torch.tensor([1, 4, 8]))
    torch.testing.assert_close(tower.encode_tokens(tokens[:, [8, 1, 4]], torch.tensor([8, 1, 4])), some)
    assert not torch.allclose(tower.encode_tokens(tokens[:, [1, 4, 8]], torch.tensor([0, 4, 8])), some, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("start", [0, 1, 3])
def test_the_trunk_goes_on_from_its_maps(pixels: Tensor, start: int) -> None:
    patches = tower_with(TRUNK).patches
    assert isinstance(patches, ConvPatches)
    maps, whole = patches.trunk.feature_map(pixels, start), patches.trunk(pixels).flatten(2).transpose(1, 2)
    torch.testing.assert_close(patches.trunk.tokens_from(maps, start), whole)
    torch.testing.assert_close(patches.trunk.tokens_from(maps, start, torch.tensor([0, 7])), whole[:, [0, 7]])


def test_wide_filters_stay_float32_under_autocast() -> None:
    block = InvertedResidual(4, 4, kernel=3, stride=2, expansion=1)
    x = torch.randn(1, 4, 8, 8, dtype=torch.bfloat16)
    seen: list[torch.dtype] = []
    block.depthwise.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert block(x).dtype == torch.bfloat16
    assert seen == [torch.float32]
