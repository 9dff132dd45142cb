"""The token stage on a small teacher: what the teacher says is what it is asked, and the student learns it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from babelclip.towers.config import TextTowerConfig
from babelclip.towers.text import TextTower
from babelclip.train.batch import Batch
from babelclip.train.data.batches import tokenise
from babelclip.train.data.texts import Corpus
from babelclip.train.pretrained import SentenceTeacher, initial_text_tensors
from babelclip.train.segments import Segments
from babelclip.train.spread import Ranks
from babelclip.train.target_space import TargetSpace
from babelclip.train.teacher import teacher_forward, teacher_states
from babelclip.train.token_stage import TeacherTokens, TokenLabels, TokenSettings, TokenStage

WIDTH, HIDDEN, LAYERS, VOCABULARY = 32, 48, 3, 44
KEPT = range(VOCABULARY)
_SPACE = torch.randn(WIDTH + 1, WIDTH, generator=torch.Generator().manual_seed(7)) * 0.2
SPACE = TargetSpace(_SPACE[0], _SPACE[1:])


@pytest.fixture
def teacher() -> SentenceTeacher:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int, deviation: float = 0.2) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * deviation

    tensors = {"emb.word": random(VOCABULARY, WIDTH), "emb.pos": random(80, WIDTH), "emb.type": random(2, WIDTH)}
    tensors |= {"emb.ln.w": torch.ones(WIDTH), "emb.ln.b": random(WIDTH)}
    for layer in range(LAYERS):
        for name, shape in {"q": (WIDTH, WIDTH), "k": (WIDTH, WIDTH), "v": (WIDTH, WIDTH), "ao": (WIDTH, WIDTH),
                            "fi": (HIDDEN, WIDTH), "fo": (WIDTH, HIDDEN)}.items():  # fmt: skip
            tensors |= {f"l{layer}.{name}.w": random(*shape), f"l{layer}.{name}.b": random(shape[0])}
        for name in ("aln", "oln"):
            tensors |= {f"l{layer}.{name}.w": torch.ones(WIDTH), f"l{layer}.{name}.b": random(WIDTH)}
    return SentenceTeacher(WIDTH, LAYERS, 2, HIDDEN, 80, 1e-5, tensors)


def make_tower(teacher: SentenceTeacher, layers: list[int]) -> TextTower:
    config = TextTowerConfig(
        vocab_size=len(KEPT), width=WIDTH, num_layers=len(layers), num_heads=2, hidden=HIDDEN, embed_dim=WIDTH,
        rotary_base=10000.0, projection=True,
    )  # fmt: skip
    tower = TextTower(config)
    tower.load_state_dict({**tower.state_dict(), **initial_text_tensors(teacher, KEPT, layers)}, strict=True)
    return tower


@pytest.fixture
def stage(teacher: SentenceTeacher, word_tokenizer: Tokenizer) -> TokenStage:
    corpus, generator = Corpus(), np.random.default_rng(0)
    for _ in range(400):
        text = " ".join(f"w{word}" for word in generator.choice(40, int(generator.integers(2, 8))))
        corpus.add(text, "en", "a", [text])
    table = tokenise(word_tokenizer, [row.text for row in corpus.rows])
    settings = TokenSettings(group_weights={"a": 1.0}, token_budget=512, half_precision=False)
    layers = [0, 2]
    asked = TeacherTokens(teacher, word_tokenizer, layers)
    return TokenStage(make_tower(teacher, layers), word_tokenizer, asked, SPACE, corpus.rows, table, settings)


def test_the_teacher_is_asked_with_its_prefix_and_answers_without(teacher: SentenceTeacher, word_tokenizer) -> None:
    asked = TeacherTokens(teacher, word_tokenizer, [0, 2])
    prefix = asked._prefix
    assert prefix == [3]  # "query:" is unknown to this tokenizer
    rows = asked.ids(["w3 w5", "w4"])
    assert rows == [[0, 7, 9, 2], [0, 8, 2]]
    whole = torch.tensor([[0, *prefix, 7, 9, 2], [0, *prefix, 8, 2, 1]])
    expected = torch.stack([list(teacher_states(teacher, whole, whole != 1))[layer] for layer in (0, 2)], dim=2)
    states, is_token = asked(rows)
    torch.testing.assert_close(states[0], expected[0, [0, 2, 3, 4]])
    torch.testing.assert_close(states[1, :3], expected[1, [0, 2, 3]])
    assert is_token.tolist() == [[True] * 4, [True] * 3 + [False]]


def test_the_last_states_are_what_the_teacher_pools(teacher: SentenceTeacher) -> None:
    ids, mask = torch.tensor([[0, 13, 15, 2]]), torch.ones(1, 4, dtype=torch.bool)
    *_, last = teacher_states(teacher, ids, mask)
    torch.testing.assert_close(teacher_forward(teacher, ids, mask), last.mean(dim=1))


def test_where_positions_do_not_matter_the_student_starts_as_the_teacher(teacher: SentenceTeacher) -> None:
    same = teacher.tensors["emb.pos"][:1].expand(80, -1)
    teacher = SentenceTeacher(WIDTH, LAYERS, 2, HIDDEN, 80, 1e-5, {**teacher.tensors, "emb.pos": same})
    ids = torch.tensor([[0], [9]])  # one token: the rotary turn of position 0 is none
    expected = torch.stack(list(teacher_states(teacher, ids, torch.ones(2, 1, dtype=torch.bool))), dim=2)
    found = torch.stack(list(make_tower(teacher, [0, 1, 2]).block_outputs(ids)), dim=2)
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)  # the teacher computes in bfloat16


def test_the_student_learns_the_tokens_and_keeps_its_words(stage: TokenStage, loss_of) -> None:
    words = stage.module.embeddings.word.weight.detach().clone()
    optimiser = torch.optim.Adam([p for p in stage.module.parameters() if p.requires_grad], lr=3e-3)
    before, first = stage.evaluate()["held_out_cosine"], 0.0
    for step in range(60):
        loss, figures = loss_of(stage, step)
        first = first or loss.item()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        assert figures.keys() == {"first", "last", "distance"}
    assert loss.item() < 0.6 * first
    assert stage.evaluate()["held_out_cosine"] > before + 0.5 * (1 - before)
    assert torch.equal(stage.module.embeddings.word.weight, words)


def test_the_projection_is_trained_afterwards_and_the_words_are_not(stage: TokenStage, loss_of) -> None:
    loss_of(stage, 0)[0].backward()
    trained = {name for name, parameter in stage.module.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in stage.module.named_parameters() if parameter.grad is not None}
    stage.finish()
    frozen = {name for name, parameter in stage.module.named_parameters() if not parameter.requires_grad}
    assert frozen == {"embeddings.word.weight"}


def test_the_tower_ends_in_the_space(stage: TokenStage) -> None:
    cosine = stage.evaluate()["held_out_cosine"]
    stage.finish()
    found = []
    for row in stage._held:
        text = stage._rows[row].text
        states, is_token = stage._teacher(stage._teacher.ids([text]))
        ids = torch.from_numpy(stage._table.padded(np.array([row])))
        found.append(F.cosine_similarity(stage.module(ids), stage._whole(states, is_token)))
    assert torch.cat(found).mean().item() == pytest.approx(cosine, abs=0.02)


def test_padding_counts_for_nothing(stage: TokenStage) -> None:
    batch = stage.draw(3, Ranks())
    labels = batch.labels
    assert isinstance(labels, TokenLabels)
    states = stage.encode(batch.parts[0])
    segments = Segments(F.pad(labels.segments.ours, (0, 2), value=-1), labels.segments.theirs, labels.segments.number)
    wide = TokenLabels(segments, labels.means, labels.wholes, F.pad(labels.mask, (0, 2), value=False))
    padded = stage.loss([F.pad(states, (0, 0, 0, 0, 0, 2), value=9.0)], Batch(batch.parts, wide))
    torch.testing.assert_close(padded[0], stage.loss([states], batch)[0])
