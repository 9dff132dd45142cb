"""Long texts are read in slices: the same ids as of the whole, in memory that does not grow with the text."""

from __future__ import annotations

import random
import subprocess
import sys
import unicodedata

import pytest

import babelclip
from babelclip.prepare.long_texts import _SWELLING, LONGEST_WORD, SLICE, slices
from babelclip.prepare.text import TextPreparer

SCRIPTS = {
    "latin": "the quick brown fox, naïve café; ﬁne Æsop",
    "german": "Straße Donaudampfschifffahrtsgesellschaft über",
    "greek": "Ωμέγα και ἄνθρωπος",
    "cyrillic": "Съешь ещё этих мягких французских булок",
    "arabic": "نص عربي ﷺ مع تشكيل مُحَمَّد",
    "hebrew": "שָׁלוֹם עולם",
    "devanagari": "नमस्ते दुनिया क्षत्रिय",
    "thai": "ภาษาไทยไม่มีช่องว่างระหว่างคำ",
    "chinese": "中文没有空格，但有标点。",
    "japanese": "日本語のテキスト　カタカナ ｶﾞｷﾞ",
    "korean": "한국어 텍스트 각각",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 ❤️",
    "controls": "a\u200bb\u00adc \ufeff d\u2060e \x0b \x85 \u2028",
    "specials": "x <mask> y </s> z <s>  <mask>",
    "marks": "e\u0301 a\u0308\u0323 \u0300 \u0600 1",
}


@pytest.fixture(scope="module")
def preparer() -> TextPreparer:
    return babelclip.load().text_preparer


def whole(preparer: TextPreparer, text: str) -> list[int]:
    """What the tokenizer gives for all of it at once."""
    return preparer._tokenizer.encode(text).ids


@pytest.mark.parametrize("script", SCRIPTS)
def test_ids_are_those_of_the_whole(preparer: TextPreparer, script: str) -> None:
    rng = random.Random(script)
    words = SCRIPTS[script].split(" ")
    blanks = (" ", " ", " ", "  ", "\n", "\n\n", "\t", "\u3000")
    text = ""
    while len(text) < 5 * SLICE:
        text += "".join(rng.choice(words) + rng.choice(blanks) for _ in range(500))
    expected, found = whole(preparer, text), preparer.tokenize([text, "short"])
    limit = preparer.config.max_tokens
    assert found.token_ids[0] == [*expected[: limit - 1], expected[-1]]
    assert (found.longest, found.num_cut, found.num_dropped) == (len(expected), 1, len(expected) - limit)
    assert found.token_ids[1] == whole(preparer, "short")
    measured = preparer.measure(text, count_up_to=limit)
    assert not measured.is_whole
    assert measured.tokens > limit
    assert preparer.tokenize([measured.text]).token_ids == found.token_ids[:1]
    assert preparer.measure(text, count_up_to=10**9).tokens == len(expected)


@pytest.mark.parametrize("script", ["thai", "chinese", "japanese", "emoji", "arabic"])
def test_a_text_without_blanks_gives_the_ids_of_its_start(preparer: TextPreparer, script: str) -> None:
    rng = random.Random(script)
    letters = SCRIPTS[script].replace(" ", "").replace("\u3000", "")
    text = "".join(rng.choices([*letters, letters], k=LONGEST_WORD + 5000))
    expected, found = whole(preparer, text), preparer.tokenize([text]).token_ids[0]
    limit = preparer.config.max_tokens
    assert found == [*expected[: limit - 1], expected[-1]]


def test_slices_are_the_text() -> None:
    rng = random.Random(0)
    for length in (0, 1, SLICE, SLICE + 1, 3 * LONGEST_WORD):
        for alphabet in ("ab", "ab ", "a\n", " "):
            text = "".join(rng.choices(alphabet, k=length))
            assert "".join(slices(text)) == text
            assert max(map(len, slices(text)), default=0) <= LONGEST_WORD


def test_letters_that_swell_are_known() -> None:
    swelling = [chr(code) for code in range(sys.maxunicode + 1) if len(unicodedata.normalize("NFKC", chr(code))) >= 5]
    assert len(swelling) > 10
    assert [letter for letter in swelling if not _SWELLING.match(letter)] == []


HOSTILE = {"letters": "a", "vanishing": "\u200b", "swelling": "\ufdfa", "unknown": "\U000e0fff", "blanks": " "}
GROWTH = """
import babelclip, sys
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024
encoder = babelclip.load()
preparer = encoder.text_preparer
character = sys.argv[1]
preparer.tokenize([character * 100_000])
before = peak()
text = character * 400_000
preparer.tokenize([text])
print((peak() - before) * 2**20 / len(text.encode()))
"""


@pytest.mark.parametrize("kind", HOSTILE)
def test_memory_does_not_grow_with_the_text(kind: str) -> None:
    """Bytes of memory for a further byte of a long text: those of the text itself, and nothing else."""
    ran = subprocess.run([sys.executable, "-c", GROWTH, HOSTILE[kind]], capture_output=True, text=True, check=True)
    assert float(ran.stdout) < 24, "the whole text was tokenized at once"
