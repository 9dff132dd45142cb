"""Write constraints.txt: the exact version of everything that the project and its extras bring, as installed here.

    .venv/bin/pip install -e '.[test,train]' && .venv/bin/python tools/freeze_constraints.py

Names and versions alone: no addresses, no hashes. A local version such as ``2.13.0+cpu`` is written without its local
part, so that PIP_TORCH_ARGS may choose the build.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
HEAD = """\
# The versions that the project is tested with. pip reads them with -c; they install nothing by themselves.
# Written by tools/freeze_constraints.py.
"""


def declared() -> list[Requirement]:
    """Every requirement of pyproject.toml: the core, all extras, the build backend."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    lines = [*project["project"]["dependencies"], *(line for extra in extras for line in extra)]
    return [Requirement(line) for line in [*lines, *project["build-system"]["requires"]]]


def installed_versions(roots: list[Requirement]) -> dict[str, str]:
    """Canonical name -> version of the roots and all that they need; what is not installed here is named."""
    versions: dict[str, str] = {}
    waiting = list(roots)
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        applies = wanted.marker is None or any(
            wanted.marker.evaluate({"extra": extra}) for extra in ["", *wanted.extras]
        )
        if name in versions or name == "babelclip" or not applies:
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            print(f"not installed here, so not pinned: {wanted}")
            continue
        versions[name] = found.version.split("+")[0]
        waiting += [Requirement(line) for line in found.requires or []]
    return versions


def main() -> None:
    """Write the file beside pyproject.toml."""
    lines = [f"{name}=={version}" for name, version in sorted(installed_versions(declared()).items())]
    (ROOT / "constraints.txt").write_text(HEAD + "\n".join(lines) + "\n")
    print(f"constraints.txt: {len(lines)} packages")


if __name__ == "__main__":
    main()
