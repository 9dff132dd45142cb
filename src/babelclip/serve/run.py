"""The server as a command: a front process that speaks HTTP, and one worker process a model."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Sequence
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
from babelclip.serve.listening import listening, listening_at_file, url_of
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
    socket: Path | None = None  # a Unix socket in place of host and port
    certificate: Path | None = None  # PEM, for TLS
    certificate_key: Path | None = None  # None: it is in the certificate's file

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"a port is from 0 to 65535, found {self.port}")
        if self.keys is not None and self.open_to_all:
            raise ConfigError("--keys and --no-keys contradict each other")
        if self.mode != "api" and (self.keys is not None or self.open_to_all):
            raise ConfigError(f"--mode {self.mode}: the platform checks who asks; leave out --keys and --no-keys")
        if self.certificate_key is not None and self.certificate is None:
            raise ConfigError("--certificate-key is of a certificate: give --certificate FILE with it")
        is_near = self.socket is not None or _is_loopback(self.host)
        if self.mode == "api" and self.keys is None and not self.open_to_all and not is_near:
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
    folders = [open_folder(model, revision=settings.compute.revision) for model in models]
    names = [folder.name for folder in folders]
    if len(set(names)) != len(names):
        raise ConfigError(f"several models have one name: {', '.join(names)}")
    if settings.served_names and len(folders) != 1:
        raise ConfigError("--served-name is for one model; several answer to their own names")
    _check_certificate(address)
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
    options = [*settings.compute.worker_options(), f"--pixels-at-once={settings.pixels_at_once}"]
    workers = [Worker(str(folder.path), options, patience) for folder in folders]
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
                ws="none",
                log_level="warning",
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                backlog=MAX_WAITING_CONNECTIONS,
                server_header=False,
                proxy_headers=False,
                ssl_certfile=address.certificate,
                ssl_keyfile=address.certificate_key,
            )
            server = StoppableServer(config, workers, settings.drain_seconds)
            await answer(server, listener, lambda: print(url_of(listener, has_tls=config.is_ssl), flush=True))
    finally:
        await asyncio.gather(*(worker.stop() for worker in workers))


def _listening(address: Address) -> contextlib.AbstractContextManager[socket.socket]:
    if address.socket is not None:
        return listening_at_file(address.socket)
    return listening(address.host, address.port)


def _check_certificate(address: Address) -> None:
    """Whether the certificate can be used; said at once, and in a sentence.

    Raises:
        ConfigError: it cannot.
    """
    if address.certificate is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            address.certificate, address.certificate_key, password=lambda: ""
        )
    except (OSError, ValueError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"--certificate {address.certificate}: {reason}; expected a PEM file and its key, without a password"
        ) from error


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
