"""Images decoded at once take what is written down, in every format and mode, however many threads bring them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from babelclip.prepare.pixel_budget import BYTES_PER_PIXEL, PixelBudget

MEASURE = Path(__file__).with_name("measure_at_once.py")
CONSTANT = 48 * 2**20  # 16-bit pictures are brought down by parts


@pytest.mark.stress
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_of_images_that_are_decoded_at_once() -> None:
    """Four at once take no more than one."""
    done = subprocess.run([sys.executable, str(MEASURE)], stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 26
    for each in found:
        assert each["bytes"] < CONSTANT + BYTES_PER_PIXEL * each["pixels"], each


def test_one_that_is_larger_than_all_has_its_turn_alone() -> None:
    budget, entered = PixelBudget(10), threading.Event()

    def small() -> None:
        with budget.room(1):
            entered.set()

    with ThreadPoolExecutor(1) as threads:
        with budget.room(25):
            threads.submit(small)
            assert not entered.wait(0.05)
        assert entered.wait(10)


def test_what_failed_gives_its_room_back() -> None:
    budget = PixelBudget(10)
    for _ in range(3):
        with pytest.raises(KeyError), budget.room(10):
            raise KeyError
    with budget.room(10):
        pass
