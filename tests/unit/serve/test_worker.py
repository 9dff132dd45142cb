"""A real worker process with the bundled model: the library's vectors, failures, death and return."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import babelclip
from babelclip.bundled import bundled_folder
from babelclip.errors import ImageError
from babelclip.serve.inference.batcher import BackendLost
from babelclip.serve.inference.worker import Patience, Worker, _end_with

pytestmark = pytest.mark.slow
MODEL = str(bundled_folder())


def picture(color: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(content, "PNG")
    return content.getvalue()


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 120))


def test_vectors_are_the_librarys_and_a_bad_item_fails_alone() -> None:
    async def scene() -> None:
        worker = Worker(MODEL)
        await worker.start()
        encoder = babelclip.load()
        assert worker.facts["fingerprint"] == encoder.facts()["fingerprint"]
        texts = ["a dog", "ein Hund, der rennt", ""]
        images = [picture("red"), b"no image", picture("blue")]
        found = await asyncio.gather(worker.run("text", texts), worker.run("image", images))
        assert np.allclose(np.stack(found[0]), encoder.encode_text(texts, normalize=False), atol=1e-5)  # type: ignore[arg-type]
        assert isinstance(found[1][1], ImageError)
        good = np.stack([found[1][0], found[1][2]])  # type: ignore[list-item]
        assert np.allclose(good, encoder.encode_image([images[0], images[2]], normalize=False), atol=1e-5)
        assert await worker.is_alive(5)
        await worker.stop()
        assert not await worker.is_alive(1)

    run(scene())


def test_a_killed_worker_is_told_to_those_who_wait_and_comes_back() -> None:
    async def scene() -> None:
        worker = Worker(MODEL)
        await worker.start()
        assert worker._process is not None
        first = worker._process.pid
        under_way = asyncio.create_task(worker.run("text", [f"text number {n} " * 20 for n in range(400)]))
        await asyncio.sleep(0.2)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(BackendLost):
            await under_way
        with pytest.raises(BackendLost, match="being started"):
            await worker.run("text", ["a"])
        assert not await worker.is_alive(1)
        while not worker.is_ready:
            await asyncio.sleep(0.05)
        assert worker._process.pid != first
        assert worker.starts == 2
        (vector,) = await worker.run("text", ["a dog"])
        assert np.allclose(vector, babelclip.load().encode_text("a dog", normalize=False), atol=1e-5)  # type: ignore[arg-type]
        await worker.stop()

    run(scene())


def test_a_model_that_cannot_be_opened_is_told_at_the_start(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def scene() -> None:
        worker = Worker(str(tmp_path))
        with pytest.raises(BackendLost, match=r"before its model was ready: FolderError: .*config\.json"):
            await worker.start()
        await worker.stop()

    run(scene())
    assert capfd.readouterr().err == ""  # who asked for it says it, once


def test_it_ends_when_the_front_is_gone_whatever_it_is_doing() -> None:
    async def scene() -> None:
        worker = Worker(MODEL)
        await worker.start()
        texts = [f"text number {n} " * 20 for n in range(60)]
        begun = time.monotonic()
        await worker.run("text", texts)
        takes = time.monotonic() - begun
        under_way = asyncio.create_task(worker.run("text", texts * 2))
        await asyncio.sleep(0.1)
        assert worker._writer is not None
        assert worker._process is not None
        for task in worker._keepers:
            task.remove_done_callback(_end_with)
            task.cancel()
        worker._writer.transport.abort()  # as the kernel does when a process is killed
        gone = time.monotonic()
        assert await asyncio.wait_for(worker._process.wait(), 60) == 0
        assert time.monotonic() - gone < takes  # it has not finished first what nobody hears
        under_way.cancel()

    run(scene())


SOON = Patience(ping_pause=0.1, ping_seconds=0.3, pings=2, call_seconds=0.4, start_seconds=60.0)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.02)


def test_a_worker_that_stands_still_is_replaced() -> None:
    async def scene() -> None:
        worker = Worker(MODEL, patience=SOON)
        await worker.start()
        assert worker._process is not None
        os.kill(worker._process.pid, signal.SIGSTOP)
        under_way = asyncio.create_task(worker.run("text", ["a dog"]))
        await until(lambda: not worker.is_ready)
        assert not await worker.is_alive(0.1)
        with pytest.raises(BackendLost):
            await under_way
        await until(lambda: worker.is_ready)
        assert worker.starts == 2
        (vector,) = await worker.run("text", ["a dog"])
        assert isinstance(vector, np.ndarray)
        await worker.stop()

    run(scene())


def test_a_worker_that_dies_at_its_start_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its folder is away for a while, as on a drive that is mounted late."""
    folder, away = tmp_path / "model", tmp_path / "away"
    shutil.copytree(MODEL, folder)

    async def scene() -> None:
        worker = Worker(str(folder), patience=SOON)
        await worker.start()
        assert worker._process is not None
        folder.rename(away)
        worker.kill()
        await until(lambda: worker.starts == 3)
        assert not worker.is_ready
        away.rename(folder)
        await until(lambda: worker.is_ready)
        assert worker.starts >= 3
        await worker.stop()

    run(scene())
    found = [(each.message, each.fields["exit_status"]) for each in caplog.records]  # type: ignore[attr-defined]
    assert found[:2] == [("worker_lost", -signal.SIGKILL), ("worker_not_started", 1)]
    assert caplog.records[1].fields["why"].startswith("FolderError: ")  # type: ignore[attr-defined]


class IdleWorker(Worker):
    """Its process is a program that is ready, answers pings, and does nothing that it is asked: a model that hangs."""

    SOURCE = """
import socket, sys
from babelclip.serve.inference.ipc import Ping, Ready, pack_message, receive_message
connection = socket.socket(fileno=int(sys.argv[1]))
connection.sendall(pack_message(Ready({"fingerprint": "x"})))
while True:
    message = receive_message(connection)
    if isinstance(message, Ping):
        connection.sendall(pack_message(message))
"""

    def _command(self, descriptor: int) -> list[str]:
        return [sys.executable, "-c", self.SOURCE, str(descriptor)]


class TalkingWorker(IdleWorker):
    """It prints before it is ready and after."""

    SOURCE = f"print('before', flush=True)\n{IdleWorker.SOURCE}".replace(
        "while True:", "print('a line\\n\\n' * 2, flush=True); sys.stderr.write('x' * 9000)\nwhile True:"
    )


def test_what_a_worker_prints_is_in_the_log_once_it_is_ready(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        worker = TalkingWorker(MODEL)
        await worker.start()
        assert await worker.is_alive(60)
        await worker.stop()

    run(scene())
    said = [each.fields["kind"] for each in caplog.records if each.message == "worker_says"]  # type: ignore[attr-defined]
    assert said[:3] == ["a line", "a line", "x" * 500]


def test_a_model_that_hangs_is_unwell_then_replaced() -> None:
    async def scene() -> None:
        worker = IdleWorker(MODEL, patience=SOON)
        await worker.start()
        assert await worker.is_alive(5)
        under_way = asyncio.create_task(worker.run("text", ["a dog"]))
        await asyncio.sleep(1.5 * SOON.call_seconds)
        assert not under_way.done()
        assert not await worker.is_alive(5)
        with pytest.raises(BackendLost):
            await under_way
        await until(lambda: worker.is_ready)
        assert worker.starts == 2
        assert await worker.is_alive(5)
        await worker.stop()

    run(scene())


def test_a_process_that_sends_what_is_no_message_is_replaced() -> None:
    """Whatever listening fails with: here bytes that are no pickle."""

    class Garbled(IdleWorker):
        SOURCE = IdleWorker.SOURCE.replace(
            "sendall(pack_message(message))", "sendall(bytes([9]) + bytes(7) + b'not one..')"
        )

    async def scene() -> None:
        worker = Garbled(MODEL, patience=SOON)
        await worker.start()
        await until(lambda: worker.starts >= 2)
        await worker.stop()

    run(scene())
