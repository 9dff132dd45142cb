"""The socket that the server listens at: an address and a port, or a file (a Unix socket), and how it is called."""

from __future__ import annotations

import contextlib
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from babelclip.errors import ConfigError

SOCKET_MODE = 0o660
"""Its owner and their group may open a Unix socket, as a proxy of that group."""


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to an address.

    Raises:
        ConfigError: it cannot be, and why.
    """
    try:
        family, kind, protocol, _, bind_to = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"--host {host}: {error.strerror or error}") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(bind_to)
        except OSError as error:
            raise ConfigError(f"cannot listen at {host}:{port}: {error.strerror}") from error
        yield listener


@contextlib.contextmanager
def listening_at_file(path: Path) -> Iterator[socket.socket]:
    """A Unix socket at a path, which is gone afterwards. One that a killed server has left is taken over.

    Raises:
        ConfigError: another server listens there, or something else has the name.
    """
    _make_room(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            listener.bind(str(path))
        except OSError as error:
            raise ConfigError(f"--socket {path}: {error.strerror or error}") from error
        try:
            path.chmod(SOCKET_MODE)
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _make_room(path: Path) -> None:
    try:
        found = path.lstat()
    except OSError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"--socket {path}: a file of that name is there, and it is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)  # of a server that was killed
        except OSError as error:
            raise ConfigError(f"--socket {path}: {error.strerror or error}") from error
        else:
            raise ConfigError(f"--socket {path}: another server listens there")


def url_of(listener: socket.socket, *, has_tls: bool) -> str:
    """The address that the server prints when it can answer."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    host, port = name[:2]
    return f"{'https' if has_tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
