"""``babelclip train``: run a training recipe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def train(
    recipe: Path,
    *,
    data: Annotated[Path, Parameter(env_var="BABELCLIP_DATA")] = Path("../shared/data"),
    out: Path = Path("runs/small"),
    resume: bool = False,
    start: Path | None = None,
) -> int:
    """Train a model from a recipe.

    Prints the path of the finished model folder; progress goes to stderr. A run that was cut off, even killed, goes on
    from its last checkpoint when the same command is given with --resume.

    Parameters
    ----------
    recipe
        TOML file; the project's own are in recipes/.
    data
        Folder with train/, text/ and labels.json.gz.
    out
        Folder for everything the run makes: log, curve, checkpoints, the model.
    resume
        Go on with the run that is in --out.
    start
        Model folder whose text tower is trained on, in place of the teacher's layers.
    """
    from babelclip.checkpoint.folder import read_folder
    from babelclip.errors import RuntimeUnavailable

    try:
        from babelclip.train.pipeline import train as run
        from babelclip.train.recipe import read_recipe
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "pyarrow", "matplotlib"):
            raise
        hint = f"training needs {error.name}; install it with: pip install 'babelclip[train]'"
        raise RuntimeUnavailable(hint) from error
    begun = None if start is None else read_folder(start)
    folder = run(read_recipe(recipe), data, out, resume=resume, say=_say, start=begun)
    print(folder)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
