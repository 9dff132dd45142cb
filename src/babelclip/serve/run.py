"""The server as a command: a front process that speaks HTTP, and one worker process a model."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn

from babelclip.checkpoint.fetch import open_folder
from babelclip.checkpoint.folder import ModelFolder, read_logit_scale
from babelclip.errors import ConfigError
from babelclip.prepare.text import TextPreparer
from babelclip.score_calibration import read_calibration
from babelclip.serve.access.keys import KeyFile
from babelclip.serve.access_log import LOGGER
from babelclip.serve.app import MountApp, application, authenticator_for
from babelclip.serve.bounded_connection import bounded
from babelclip.serve.inference.in_process_encoder import InProcessEncoder
from babelclip.serve.inference.served_model import ModelDescription, ServedModel
from babelclip.serve.inference.worker import Patience, Worker
from babelclip.serve.metrics import Metrics
from babelclip.serve.repeated_lines import limit_repeated_lines
from babelclip.serve.settings import Mode, ServerSettings
from babelclip.serve.shutdown import StoppableServer, answer

KEEP_ALIVE_SECONDS = 5
MAX_WAITING_CONNECTIONS = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where the server listens, and who may come in: with ``open_to_all`` and no ``keys``, everybody who reaches it."""

    host: str = "127.0.0.1"
    port: int = 8080  # 0: a free one
    keys: Path | None = None
    open_to_all: bool = False
    mode: Mode = "api"
    page: bool = False  # the search page is beside the API; it knows no keys
    page_without_keys: bool = False  # ... although the API asks for some

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"a port is from 0 to 65535, found {self.port}")
        if self.keys is not None and self.open_to_all:
            raise ConfigError("--keys and --no-keys contradict each other")
        if self.mode != "api" and (self.keys is not None or self.open_to_all):
            raise ConfigError(f"--mode {self.mode}: the platform checks who asks; leave out --keys and --no-keys")
        if self.mode == "api" and self.keys is None and not self.open_to_all and not _is_loopback(self.host):
            raise ConfigError(
                f"{self.host} can be reached from elsewhere, so say who may come in: --keys FILE "
                "(make one with: babelclip keys create), or --no-keys for everybody"
            )
        if self.page:
            self._check_page()

    def _check_page(self) -> None:
        if self.mode != "api":
            raise ConfigError(f"--mode {self.mode} has no page; leave out --ui")
        if self.keys is not None and not self.page_without_keys:
            raise ConfigError(
                "--keys guards the API alone: with --ui whoever reaches the server sees the indexed photos, and embeds "
                "on the page for nothing. Run the page apart, on this machine alone: babelclip ui --model "
                "http://HOST:PORT; or say --ui-without-keys"
            )

    @property
    def shows_photos_to_others(self) -> bool:
        """Whether the page is likely to be reached by others than this machine's user.

        A server with keys has clients elsewhere, be it through a proxy.
        """
        return self.page and (self.keys is not None or not _is_loopback(self.host))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def run_server(
    models: Sequence[str | Path],
    settings: ServerSettings,
    address: Address,
    mount: MountApp | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; prints the address when it can answer.

    Args:
        mount: makes what runs beside the API, around the first of the models.

    Raises:
        ConfigError: nothing was started.
        FolderError: nothing was started.
        KeyFileError: nothing was started.
        BackendLost: a model does not start.
    """
    folders = [open_folder(model) for model in models]
    names = [folder.name for folder in folders]
    if len(set(names)) != len(names):
        raise ConfigError(f"several models have one name: {', '.join(names)}")
    if settings.served_names and len(folders) != 1:
        raise ConfigError("--served-name is for one model; several answer to their own names")
    with contextlib.ExitStack() as stack:
        keys = None if address.keys is None else stack.enter_context(KeyFile(address.keys))
        asyncio.run(_serve(folders, settings, address, keys, mount))


async def _serve(
    folders: Sequence[ModelFolder],
    settings: ServerSettings,
    address: Address,
    keys: KeyFile | None,
    mount: MountApp | None,
) -> None:
    limit_repeated_lines()
    patience = Patience(call_seconds=settings.answer_seconds)
    workers = [Worker(str(folder.path), patience=patience) for folder in folders]
    try:
        with _listening(address) as listener:  # before the models are loaded: a port in use is told at once
            await asyncio.gather(*(worker.start() for worker in workers))
            models: dict[str, ServedModel] = {}
            metrics = Metrics()
            for folder, worker in zip(folders, workers, strict=True):
                metrics.watch_starts(folder.name, partial(getattr, worker, "starts"))
                model = _served_model(folder, worker, settings)
                models.update(dict.fromkeys((folder.name, *settings.served_names), model))
            mounted = None
            if mount is not None:
                first, loop = folders[0], asyncio.get_running_loop()
                calibration = read_calibration(first.path, first.fingerprint())
                mounted = mount(InProcessEncoder(models[first.name], loop, calibration))
            if address.shows_photos_to_others:
                said = "whoever reaches this server sees the indexed photos: the page asks for no key and no password"
                LOGGER.warning("page_open_to_all", extra={"fields": {"host": address.host, "means": said}})
            config = uvicorn.Config(
                application(models, settings, authenticator_for(keys, settings), metrics, mounted),
                http=bounded(settings.max_connections),
                log_level="warning",
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                backlog=MAX_WAITING_CONNECTIONS,
                server_header=False,
            )
            await answer(StoppableServer(config, workers, settings.drain_seconds), listener)
    finally:
        await asyncio.gather(*(worker.stop() for worker in workers))


@contextlib.contextmanager
def _listening(address: Address) -> Iterator[socket.socket]:
    """A socket bound to the address.

    Raises:
        ConfigError: it cannot be, and why.
    """
    try:
        family, kind, protocol, _, bind_to = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"--host {address.host}: {error.strerror or error}") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(bind_to)
        except OSError as error:
            raise ConfigError(f"cannot listen at {address.host}:{address.port}: {error.strerror}") from error
        yield listener


def _served_model(folder: ModelFolder, worker: Worker, settings: ServerSettings) -> ServedModel:
    """A model whose weights are in the worker; here is only what it takes to count tokens."""
    preparer = TextPreparer(folder.tokenizer_file, folder.text_prepare)
    description = ModelDescription(
        name=folder.name,
        dims=folder.config.dims,
        max_tokens=folder.text_prepare.max_tokens,
        image_prepare=folder.image_prepare,
        tasks=preparer.tasks,
        facts=worker.facts,
        logit_scale=read_logit_scale(folder),
    )
    return ServedModel(description, preparer, worker, image_limits=settings.image_limits)
