"""``babelclip keys``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from babelclip.cli.keys import create
from babelclip.serve.access.keys import STARTING_BALANCE, STARTING_RATES, KeyFile
from babelclip.serve.errors import InvalidKey
from babelclip.serve.pricing import Usage

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


def test_the_life_of_a_key(call: Call, path: Path) -> None:
    code, out, err = call("keys", "create", "Anna's phone", "--keys", path, "--dim", "64", "--balance", "100")
    assert code == 0
    secret = out.strip()  # nothing else is on stdout: KEY=$(babelclip keys create ...)
    with KeyFile(path) as file:
        key = file.find(secret)
        assert (key.label, key.default_dim, key.balance) == ("Anna's phone", 64, 100)
        assert key.id in err
        assert secret not in err

        assert call("keys", "topup", key.id, "900", "--keys", path)[0] == 0
        file.charge([(key.id, Usage(text_tokens=20, image_tokens=300))])
        code, out, _ = call("keys", "usage", key.id, "--keys", path)
        assert code == 0
        assert "1 requests, 320 tokens (text 20, images 300); balance 680; last used 20" in out
        row = json.loads(call("keys", "usage", "--keys", path, "--json")[1])
        assert (row["requests"], row["total_tokens"], row["balance"]) == (1, 320, 680)

        assert call("keys", "change", key.id, "--keys", path, "--dim", "model", "--concurrency", "unlimited")[0] == 0
        changed = file.get(key.id)
        assert (changed.default_dim, changed.rates.concurrency, changed.balance) == (None, None, 680)
        assert changed.rates.requests_per_minute == key.rates.requests_per_minute  # what is not named stays
        assert call("keys", "change", key.id, "--keys", path, "--requests-per-minute", "7", "--dim", "32")[0] == 0
        changed = file.get(key.id)
        assert (changed.default_dim, changed.rates.requests_per_minute, changed.rates.concurrency) == (32, 7, None)
        assert call("keys", "change", key.id, "--keys", path, "--requests-per-minute", "0")[0] != 0

        assert call("keys", "revoke", key.id, "--keys", path)[0] == 0
        with pytest.raises(InvalidKey):
            file.find(secret)
        assert call("keys", "change", key.id, "--keys", path, "--concurrency", "1")[0] != 0
    code, out, _ = call("keys", "list", "--keys", path)
    assert code == 0
    assert f"{key.id}  Anna's phone  (revoked 20" in out
    assert secret not in out


def test_create_as_json_and_without_limits(call: Call, path: Path) -> None:
    limits = ["--balance", "--requests-per-minute", "--tokens-per-minute", "--concurrency"]
    code, out, err = call(
        "keys", "create", "黎明", "--keys", path, "--json", *(w for x in limits for w in (x, "unlimited"))
    )
    made = json.loads(out)
    assert (code, err) == (0, "")
    with KeyFile(path) as file:
        assert file.find(made.pop("secret")).id == made["id"]
    listed = json.loads(call("keys", "list", "--keys", path, "--json")[1])
    assert listed == made
    assert listed["label"] == "黎明"
    assert {listed[name.removeprefix("--").replace("-", "_")] for name in limits} == {None}
    assert "balance unlimited tokens" in call("keys", "list", "--keys", path)[1]
    assert "last used never" in call("keys", "usage", "--keys", path)[1]


def test_a_new_key_gets_what_the_library_gives() -> None:
    defaults = create.__kwdefaults__
    assert defaults["balance"] == STARTING_BALANCE
    assert defaults["requests_per_minute"] == STARTING_RATES.requests_per_minute
    assert defaults["tokens_per_minute"] == STARTING_RATES.tokens_per_minute
    assert defaults["concurrency"] == STARTING_RATES.concurrency


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["create", "Anna", "--concurrency", "0"], 2, "concurrency is from 1"),
        (["create", "Anna", "--balance", "some"], 2, ""),
        (["create", "Anna", "--balance", "-1"], 2, ""),
        (["create", ""], 2, "a label is"),
        (["topup", "0123456789", "0"], 2, ""),
        (["topup", "0123456789", "5"], 1, "has no key '0123456789'"),
        (["revoke", "0123456789"], 1, "has no key"),
        (["usage", "0123456789"], 1, "has no key"),
    ],
)
def test_what_is_refused(call: Call, path: Path, words: list[str], code: int, said: str) -> None:
    KeyFile(path, create=True).close()
    found, out, err = call("keys", *words, "--keys", path)
    assert (found, out) == (code, "")
    assert said in err
    assert call("keys", "list", "--keys", path) == (0, "", "")


def test_only_create_makes_a_file(call: Call, path: Path) -> None:
    for words in (["list"], ["usage"], ["revoke", "0"], ["topup", "0", "1"]):
        code, _, err = call("keys", *words, "--keys", path)
        assert code == 1
        assert "babelclip keys create" in err
        assert not path.exists()
