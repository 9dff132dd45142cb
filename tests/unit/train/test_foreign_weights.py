"""Name tables of the large model's starting points, on files of the same names and other sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from babelclip.errors import WeightsError
from babelclip.towers.config import Eva02VisionConfig, LinearPatchesConfig, TextTowerConfig
from babelclip.towers.eva02_vision import Eva02VisionTower
from babelclip.towers.text import TextTower
from babelclip.train.foreign_weights import eva02_tensors, xlm_roberta_tensors

TEXT = TextTowerConfig(vocab_size=9, width=8, num_layers=2, num_heads=2, hidden=12, embed_dim=8, rotary_base=1e4)
VISION = Eva02VisionConfig(
    image_size=12, width=8, num_layers=2, head_width=4, hidden=6, patches=LinearPatchesConfig(size=4), pretrained_grid=3
)


def xlm_roberta() -> dict[str, torch.Tensor]:
    """Names as transformers writes them for XLMRobertaForMaskedLM."""
    shapes: dict[str, tuple[int, ...]] = {
        "roberta.embeddings.word_embeddings.weight": (9, 8),
        "roberta.embeddings.position_embeddings.weight": (70, 8),
        "roberta.embeddings.token_type_embeddings.weight": (1, 8),
        "lm_head.bias": (9,),
    }
    layers = {"roberta.embeddings.LayerNorm": (8,)}
    for block in range(2):
        base = f"roberta.encoder.layer.{block}"
        layers |= {f"{base}.attention.self.{name}": (8, 8) for name in ("query", "key", "value")}
        layers |= {f"{base}.attention.output.dense": (8, 8), f"{base}.attention.output.LayerNorm": (8,)}
        layers |= {f"{base}.intermediate.dense": (12, 8), f"{base}.output.dense": (8, 12)}
        layers |= {f"{base}.output.LayerNorm": (8,)}
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def eva02() -> dict[str, torch.Tensor]:
    """Names as EVA-CLIP writes them."""
    shapes: dict[str, tuple[int, ...]] = {
        "logit_scale": (),
        "text.token_embedding.weight": (5, 4),
        "visual.cls_token": (1, 1, 8),
        "visual.pos_embed": (1, 5, 8),
        "visual.patch_embed.proj.weight": (8, 3, 4, 4),
        "visual.patch_embed.proj.bias": (8,),
        "visual.norm.weight": (8,),
        "visual.norm.bias": (8,),
        "visual.head.weight": (4, 8),
        "visual.rope.freqs_cos": (4, 4),
    }
    for block in range(2):
        base = f"visual.blocks.{block}"
        shapes |= {f"{base}.attn.{name}_proj.weight": (8, 8) for name in "qkv"}
        shapes |= {f"{base}.attn.{name}_bias": (8,) for name in "qv"}
        layers = {"norm1": (8,), "norm2": (8,), "attn.inner_attn_ln": (8,), "attn.proj": (8, 8)}
        layers |= {"mlp.w1": (6, 8), "mlp.w2": (6, 8), "mlp.ffn_ln": (6,), "mlp.w3": (8, 6)}
        for name, shape in layers.items():
            shapes |= {f"{base}.{name}.weight": shape, f"{base}.{name}.bias": shape[:1]}
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def test_texts(tmp_path: Path) -> None:
    source = xlm_roberta()
    save_file(source, tmp_path / "x.safetensors")
    tower = TextTower(TEXT)
    tower.load_state_dict(xlm_roberta_tensors(tmp_path / "x.safetensors", TEXT), strict=True)
    qkv = tower.blocks[1].attention.qkv.weight
    assert torch.equal(qkv[8:16], source["roberta.encoder.layer.1.attention.self.key.weight"])
    assert torch.equal(tower.blocks[0].norm2.bias, source["roberta.encoder.layer.0.output.LayerNorm.bias"])
    positions = source["roberta.embeddings.position_embeddings.weight"][2:66].mean(dim=0)
    expected = source["roberta.embeddings.token_type_embeddings.weight"][0] + positions
    torch.testing.assert_close(tower.embeddings.token_type.weight[0], expected)


def test_images_with_positions_resized(tmp_path: Path) -> None:
    source = eva02()
    torch.save({"module": source}, tmp_path / "e.pt")
    tower = Eva02VisionTower(VISION)
    tower.load_state_dict(eva02_tensors(tmp_path / "e.pt", VISION), strict=True)
    assert torch.equal(tower.blocks[1].feed_forward.up.weight, source["visual.blocks.1.mlp.w2.weight"])
    assert torch.equal(tower.blocks[0].attention.query_bias, source["visual.blocks.0.attn.q_bias"])
    assert tower.position_embedding.shape == (1, 10, 8)  # from a grid of 2 to one of 3
    assert torch.equal(tower.position_embedding[:, 0], source["visual.pos_embed"][:, 0])
    same = eva02_tensors(tmp_path / "e.pt", replace(VISION, image_size=8))
    assert torch.equal(same["position_embedding"], source["visual.pos_embed"])


def test_other_names_are_listed(tmp_path: Path) -> None:
    source = xlm_roberta()
    source["roberta.encoder.layer.2.output.dense.weight"] = torch.zeros(8, 12)
    del source["roberta.encoder.layer.0.intermediate.dense.bias"]
    save_file(source, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=r"layer\.0\.intermediate.*left over.*layer\.2"):
        xlm_roberta_tensors(tmp_path / "x.safetensors", TEXT)
    with pytest.raises(WeightsError, match="no file"):
        eva02_tensors(tmp_path / "none.pt", VISION)
