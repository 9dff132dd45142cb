"""Make a trained model the one that ships.

It is copied into packages/babelclip-small, its graphs are exported, its tables put into the card:

    python tools/ship_model.py runs/small/model

Then measure it and renew the documents:

    babelclip evaluate --data DATA --out benchmarks/results/small.json && make docs

and raise the version in packages/babelclip-small/pyproject.toml.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from babelclip.checkpoint.checksums import write_checksums
from babelclip.checkpoint.folder import CARD, read_folder
from babelclip.runtime.export import export_model

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "packages" / "babelclip-small" / "src" / "babelclip_small" / "model"
RESULTS = "benchmarks/results/small.json"
FAILURES = "../../../../../docs/failures.md"  # from the card, in the repository
BEFORE = "## Limits\n"
TABLES = {
    "What it is to reach, and what it aims for": "targets",
    "Retrieval, Flickr8k test (1,000 photos), by language": "languages:flickr8k_test",
    "Retrieval, xFlickr (243 photos), by language": "languages:xflickr243",
    "Retrieval, Tux Paint stamps, by language": "languages:tuxpaint",
    "998 photos by the names of ImageNet's thousand classes, by language": "languages:nips2017",
    "Similarity of sentences (STS-B), by language": "languages:stsb",
}


def results_section() -> str:
    """The card's results: marks that ``render_tables`` fills, every figure with its 95% bootstrap interval."""
    blocks = [f"### {title}\n\n<!-- table: {kind} | {RESULTS} -->\n<!-- /table -->\n" for title, kind in TABLES.items()]
    head = "## Results\n\nMeasured by `babelclip evaluate`; in brackets the 95% bootstrap interval.\n\n"
    return head + "\n".join(blocks) + f"\n### Failures\n\n[Pictures of queries that go wrong]({FAILURES}).\n"


def with_results(card: str) -> str:
    """The card with its results before its limits.

    Raises:
        ValueError: the card has results already, or no limits.
    """
    if card.count(BEFORE) != 1 or "## Results" in card:
        raise ValueError("expected a card with limits and without results, as `babelclip train` writes it")
    return card.replace(BEFORE, f"{results_section()}\n{BEFORE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a folder that `babelclip train` has written")
    options = parser.parse_args()
    card = with_results((read_folder(options.model).path / CARD).read_text(encoding="utf-8"))
    shutil.rmtree(HOME)
    shutil.copytree(options.model, HOME)
    (HOME / CARD).write_text(card, encoding="utf-8")
    export_model(read_folder(HOME))
    write_checksums(HOME)


if __name__ == "__main__":
    main()
