"""The text stage on a small tower: warm start, a falling loss, held-out rows, scored pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from babelclip.towers.config import TextTowerConfig
from babelclip.towers.start import start_transformer
from babelclip.towers.text import TextTower
from babelclip.train.data.batches import tokenise
from babelclip.train.data.texts import Corpus, ScoredPair
from babelclip.train.target_space import fit_target_space
from babelclip.train.text_stage import TextSettings, TextStage, held_out_rows
from babelclip.train.text_vectors import text_vectors

WORDS = [f"w{i}" for i in range(40)]
WIDTH = 32


def make_corpus() -> tuple[Corpus, torch.Tensor]:
    """Texts of three words; the target is the sum of their (random) vectors. "de" says the words backwards."""
    generator = np.random.default_rng(0)
    vectors = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(0))
    corpus, targets = Corpus(), []
    for _ in range(600):
        words = generator.choice(40, 3, replace=False)
        english = " ".join(WORDS[w] for w in words)
        corpus.add(english, "en", "a", [english])
        corpus.add(" ".join(WORDS[w] for w in words[::-1]), "de", "a", [english])
        if len(targets) < len(corpus.english):
            targets.append(F.normalize(vectors[words].sum(dim=0), dim=0))
    corpus.pairs = [ScoredPair(WORDS[i], WORDS[(i + i % 2) % 40], "en", float(1 - i % 2)) for i in range(40)]
    return corpus, torch.stack(targets)


@pytest.fixture
def stage(word_tokenizer: Tokenizer) -> TextStage:
    config = TextTowerConfig(
        vocab_size=44, width=WIDTH, num_layers=1, num_heads=2, hidden=48, embed_dim=WIDTH, rotary_base=10000.0,
        projection=True,
    )  # fmt: skip
    torch.manual_seed(0)
    tower = TextTower(config)
    start_transformer(tower, deviation=0.1)
    corpus, targets = make_corpus()
    settings = TextSettings(group_weights={"a": 1.0}, token_budget=256, half_precision=False, words_rate=1.0)
    table = tokenise(word_tokenizer, [row.text for row in corpus.rows])
    return TextStage(tower, word_tokenizer, corpus, table, targets, (8, WIDTH), settings)


def test_training_brings_both_languages_to_the_target(stage: TextStage, loss_of) -> None:
    optimiser = torch.optim.Adam(stage.module.parameters(), lr=5e-3)
    before = stage.evaluate()["held_out_cosine"]
    for step in range(80):
        loss, figures = loss_of(stage, step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        assert ("pairs" in figures) == (step % 4 == 0)
    assert stage.evaluate()["held_out_cosine"] > before + 0.3


def test_held_out_rows_are_never_drawn_and_do_not_depend_on_the_weights(stage: TextStage) -> None:
    drawn = np.concatenate([stage._sampler.draw(step) for step in range(200)])
    assert len(stage._held) == 60
    assert not set(drawn.tolist()) & set(stage._held.tolist())
    assert np.array_equal(held_out_rows(1200, 0), stage._held)


def test_words_are_trained_where_the_settings_say_so(stage: TextStage, word_tokenizer: Tokenizer) -> None:
    words = stage.module.embeddings.word.weight
    assert words.requires_grad
    assert stage.rates == {"embeddings.word.": 1.0}
    corpus, targets = make_corpus()
    table = tokenise(word_tokenizer, [row.text for row in corpus.rows])
    TextStage(stage.module, word_tokenizer, corpus, table, targets, (WIDTH,), TextSettings(group_weights={"a": 1.0}))
    assert not words.requires_grad


def test_several_targets_are_averaged(stage: TextStage, word_tokenizer: Tokenizer) -> None:
    corpus, targets = make_corpus()
    corpus.add("w0", "fr", "a", [corpus.english[0], corpus.english[1]])
    table = tokenise(word_tokenizer, [row.text for row in corpus.rows])
    settings = TextSettings(group_weights={"a": 1.0}, half_precision=False)
    stage = TextStage(stage.module, word_tokenizer, corpus, table, targets, (WIDTH,), settings)
    torch.testing.assert_close(stage.row_targets(np.array([len(corpus.rows) - 1]))[0], targets[:2].mean(dim=0))


def test_vectors_do_not_depend_on_the_company_a_text_keeps(stage: TextStage, word_tokenizer: Tokenizer) -> None:
    texts = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10", "w1"]
    tower, tokenizer = stage.module, word_tokenizer
    together = text_vectors(tower, tokenizer, texts, half_precision=False)
    alone = torch.cat([text_vectors(tower, tokenizer, [text], half_precision=False) for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_the_space_is_centred_turned_and_shrinks_what_varies_within_a_photo() -> None:
    torch.manual_seed(0)
    scale = torch.linspace(3, 0.1, 16)
    centres = torch.randn(300, 16) * scale
    noise = torch.zeros(300, 4, 16)
    noise[:, :, 3] = 4 * torch.randn(300, 4)
    captions = (centres[:, None] + noise).flatten(0, 1) + 5
    owners = torch.arange(300).repeat_interleave(4)
    plain = fit_target_space([captions], owners, captions, strength=0.0)
    shrunk = fit_target_space([captions], owners, captions, strength=1.0)
    assert plain(captions).mean(dim=0).abs().max() < 0.05
    spread = ((captions - plain.mean) @ plain.matrix).var(dim=0)
    assert (spread[:-1] >= spread[1:] - 1e-3).all()
    assert shrunk.matrix[3].norm() / shrunk.matrix[0].norm() < 0.5 * plain.matrix[3].norm() / plain.matrix[0].norm()
    with pytest.raises(Exception, match=r"must be 0\.\.1"):
        fit_target_space([captions], owners, captions, strength=2.0)
