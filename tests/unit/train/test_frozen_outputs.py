"""Outputs of frozen parts: computed once, found again, never another's, never lost in the middle of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from babelclip.atomic_write import UNFINISHED
from babelclip.errors import ConfigError
from babelclip.train.frozen_outputs import CacheSettings, FrozenOutputs, fingerprint_of

ROW = 4 * 256  # bytes of an output
IN_MEMORY = CacheSettings(memory_gb=3.5 * ROW / 2**30)  # three rows
ON_DISK = CacheSettings(memory_gb=0.0, disk_gb=3.5 * ROW / 2**30)


class Part:
    """A frozen part that counts what it computes: item n gives n, 256 times."""

    def __init__(self, outputs: FrozenOutputs, dtype: torch.dtype = torch.float32) -> None:
        self.outputs, self.dtype = outputs, dtype
        self.computed: list[str] = []

    def __call__(self, keys: Sequence[str], at_once: int = 2) -> list[float]:
        def compute(some: Sequence[int]) -> Tensor:
            assert len(some) <= at_once
            self.computed += [keys[place] for place in some]
            return torch.tensor([[float(keys[place])] * 256 for place in some])

        found = self.outputs.of(keys, compute, self.dtype, at_once)
        assert found.dtype == self.dtype
        assert (found == found[:, :1]).all()
        return found[:, 0].tolist()


def test_what_is_kept_is_not_computed_again(tmp_path: Path) -> None:
    part = Part(FrozenOutputs(IN_MEMORY, tmp_path, "part"))
    assert part(["1", "2"]) == part(["1", "2"]) == [1.0, 2.0]
    assert part.computed == ["1", "2"]
    assert "1" in part.outputs
    assert "3" not in part.outputs


def test_equal_keys_of_a_batch_are_one_item(tmp_path: Path) -> None:
    part = Part(FrozenOutputs(IN_MEMORY, tmp_path, "part"))
    assert part(["1", "2", "1", "1"]) == [1.0, 2.0, 1.0, 1.0]
    assert sorted(part.computed) == ["1", "2"]


def test_the_latest_used_stay_in_memory(tmp_path: Path) -> None:
    part = Part(FrozenOutputs(IN_MEMORY, tmp_path, "part"))
    part(["1", "2", "3"])
    part(["1"])  # used again, so the second is the oldest now
    part(["4"])
    assert ["1" in part.outputs, "2" in part.outputs, "3" in part.outputs, "4" in part.outputs] == [1, 0, 1, 1]


def test_a_batch_larger_than_the_memory_loses_no_row(tmp_path: Path) -> None:
    part = Part(FrozenOutputs(IN_MEMORY, tmp_path, "part"))
    part(["1", "2", "3"])
    assert part(["1", "4", "5", "6", "7", "2", "3"]) == [1.0, 4.0, 5.0, 6.0, 7.0, 2.0, 3.0]
    assert sum(str(number) in part.outputs for number in range(1, 8)) == 3
    nothing = Part(FrozenOutputs(CacheSettings(memory_gb=0.0), tmp_path, "part"))
    assert nothing(["1", "2", "1"]) == [1.0, 2.0, 1.0]
    assert "1" not in nothing.outputs


def test_kept_or_not_outputs_are_rounded_alike(tmp_path: Path) -> None:
    part = Part(FrozenOutputs(IN_MEMORY, tmp_path, "part"), torch.float16)
    rounded = torch.tensor(0.1).half().item()
    assert part(["0.1"]) == part(["0.1"]) == [rounded]


def test_a_resumed_run_finds_on_disk_what_every_process_wrote(tmp_path: Path) -> None:
    for rank, key in enumerate(["1", "2"]):
        part = Part(FrozenOutputs(ON_DISK, tmp_path, "part", rank))
        part([key])
        assert part([key]) == [float(key)]  # also while it waits to be written
        part.outputs.flush()
        part.outputs.flush()  # nothing waits any more
    again = Part(FrozenOutputs(ON_DISK, tmp_path, "part"))
    assert again(["2", "1"]) == [2.0, 1.0]
    assert again.computed == []
    again(["3"])
    again.outputs.flush()
    assert sorted(path.name for path in (tmp_path / "part").glob("*.npy")) == [
        "0-000000.npy",
        "0-000001.npy",
        "1-000000.npy",
    ]


def test_a_full_disk_computes_again(tmp_path: Path) -> None:
    part = Part(FrozenOutputs(ON_DISK, tmp_path, "part"))
    for _ in range(2):
        assert part(["1", "2", "3", "4"]) == [1.0, 2.0, 3.0, 4.0]
    assert part.computed == ["1", "2", "3", "4", "4"]


def test_what_a_kill_left_unfinished_is_passed_over(tmp_path: Path) -> None:
    first = Part(FrozenOutputs(ON_DISK, tmp_path, "part"))
    first(["1"])
    first.outputs.flush()
    for name in (f"{UNFINISHED}0123-0-000001.npy", f"{UNFINISHED}0123-0-000001.json", "0-000001.npy"):
        (tmp_path / "part" / name).write_bytes(b"")
    part = Part(FrozenOutputs(ON_DISK, tmp_path, "part"))
    assert part(["1", "2"]) == [1.0, 2.0]
    part.outputs.flush()
    assert part.computed == ["2"]
    again = Part(FrozenOutputs(ON_DISK, tmp_path, "part"))
    assert again(["1", "2"]) == [1.0, 2.0]
    assert again.computed == []


def test_other_weights_or_facts_have_another_name() -> None:
    one = nn.Linear(3, 2)
    name = fingerprint_of([one], False, "trunk")
    assert fingerprint_of([one], False, "trunk") == name
    assert fingerprint_of([one], True, "trunk") != name
    with torch.no_grad():
        one.bias[1] += 1e-6
    assert fingerprint_of([one], False, "trunk") != name


def test_a_cache_is_not_smaller_than_nothing() -> None:
    with pytest.raises(ConfigError, match="smaller than nothing"):
        CacheSettings(memory_gb=-1.0)
