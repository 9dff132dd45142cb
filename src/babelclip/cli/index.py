"""``babelclip index``: make folders of photos findable, and keep them so."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from babelclip.atomic_write import write_text
from babelclip.cli.options import ErrorsToOption, IndexOption, JsonOption, ModelOptions, QuietOption
from babelclip.cli.plain_output import say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from babelclip.search.index import Index
    from babelclip.search.indexing import Failure, Report
    from babelclip.search.walk import Wanted

_SHOWN = 20  # failures that are named one by one
_KINDS_SHOWN = 12  # of what is passed over


def index(
    photos: list[Path] | None = None,
    /,
    *,
    index: IndexOption = None,
    documents: bool = False,
    hidden: bool = False,
    exclude: tuple[str, ...] = (),
    dim: int | None = None,
    reembed: bool = False,
    watch: bool = False,
    errors_to: ErrorsToOption = None,
    model: ModelOptions = ModelOptions(),
    json_lines: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Index folders of photos, so that babelclip search finds them.

    babelclip index ~/Photos

    What is unchanged is left alone, what has moved is recognized, what is gone is taken out; a run that is stopped goes
    on at the next one. Exit code 3 says that some files could not be indexed.

    Args:
        photos: Folders, or single files; all that have been indexed before when left out.
        documents: Text files and PDF documents of these folders too (PDF needs the extra pdf).
        hidden: Also what lies in files and folders whose names begin with a dot.
        exclude: Leave out what this pattern names, as a line of a .gitignore does (*.png, Trash/, 2019/**/raw). Several
            times for several; a file .babelclipignore in a folder says the same for good.
        dim: Width of the vectors: of a new index, where narrower is smaller and quicker; the model's own when left out.
        reembed: Embed everything anew, as after a change of the model; the old vectors answer until all are there.
        watch: Stay, and index what changes some seconds after it has. Ctrl-C ends it.
        json_lines: Results as JSON lines on stdout, in place of text to read: one object per run; with --watch, per run
            that changed anything.
    """
    from babelclip.search.index import Index
    from babelclip.search.open_store import index_url, open_database
    from babelclip.search.walk import Wanted

    url = index_url(index)
    wanted = Wanted(documents, hidden, exclude) if documents or hidden or exclude else None
    encoder = model.open()
    with Index(open_database(url, create=True), encoder, dim=dim) as opened:
        if not reembed:
            opened.check_model()
        telling = Telling(errors_to, json_lines, quiet)
        code = run_once(opened, photos or [], wanted, reembed, telling)
        if watch:
            keep_fresh(opened, telling)
    return code


@dataclass
class Telling:
    """How runs are told, and what has been told before."""

    errors_to: Path | None
    json_lines: bool
    quiet: bool
    failures: set[Failure] = field(default_factory=set)


def run_once(index: Index, photos: list[Path], wanted: Wanted | None, reembed: bool, telling: Telling) -> int:
    """One run, and what it has to say."""
    from babelclip.cli.main import DONE, PARTLY
    from babelclip.progress import show_progress

    with show_progress("indexing", show=not telling.quiet) as meter:
        report = index.add(photos, wanted, progress=meter.update, reembed=reembed)
    tell(index, report, telling)
    if telling.errors_to is not None:
        _write_failures(report.failures, telling.errors_to)
    return PARTLY if report.failures else DONE


def tell(index: Index, report: Report, telling: Telling) -> None:
    """What a run did: to stdout; what failed, once: to stderr."""
    from babelclip.optional_dependency import install_line

    failures = [failure for failure in report.failures if failure not in telling.failures]
    telling.failures.update(failures)
    for failure in failures[:_SHOWN]:
        say(f"not indexed: {failure.path}: {failure.reason}")
    if len(failures) > _SHOWN:
        say(f"and {len(failures) - _SHOWN} more (--errors-to FILE lists them all)")
    for damaged in report.damaged[:_SHOWN]:
        say(f"damaged: {damaged.path}: {damaged.reason}")
    if len(report.damaged) > _SHOWN:
        say(f"and {len(report.damaged) - _SHOWN} more damaged")
    for extra, count in report.missing_extras.items():
        say(f"{count} {extra} files need: {install_line(extra)}")
    if telling.json_lines:
        print(json.dumps(_as_row(index, report), ensure_ascii=False), flush=True)
        return
    parts = [
        f"{count:,} {what}"
        for count, what in (
            (report.embedded, "embedded"),
            (report.known_by_content, "moved or copied"),
            (report.removed, "removed"),
            (len(report.damaged), "damaged"),
            (len(report.failures), "failed"),
        )
        if count
    ]
    rate = f" ({report.embedded / report.seconds:.0f} a second)" if report.embedded >= 10 else ""
    done = ", ".join(parts) or "nothing has changed"
    print(f"{report.indexed:,} files indexed: {done} in {report.seconds:.1f} s{rate}", flush=True)
    if report.passed_over:
        kinds = ", ".join(f"{count:,} {what}" for what, count in report.passed_over.most_common(_KINDS_SHOWN))
        rest = len(report.passed_over) - _KINDS_SHOWN
        print(f"passed over: {kinds}{f' and {rest} more kinds' if rest > 0 else ''}", flush=True)


def _as_row(index: Index, report: Report) -> dict[str, Any]:
    """A run as data."""
    return {
        "index": index.database.url,
        "indexed": report.indexed,
        "unchanged": report.unchanged,
        "embedded": report.embedded,
        "known_by_content": report.known_by_content,
        "removed": report.removed,
        "damaged": [each.path for each in report.damaged],
        "failed": len(report.failures),
        "missing_extras": dict(report.missing_extras),
        "passed_over": dict(report.passed_over),
        "seconds": round(report.seconds, 3),
    }


def _write_failures(failures: list[Failure], path: Path) -> None:
    """One JSON object a failed file."""
    lines = [json.dumps({key: value for key, value in asdict(each).items() if value != -1}) for each in failures]
    write_text(path, "".join(f"{line}\n" for line in lines))


def keep_fresh(index: Index, telling: Telling) -> None:
    """Run again whenever something changes, until Ctrl-C."""
    from babelclip.search.watching import Watch, pause_after

    watch = Watch()
    away: frozenset[Path] = frozenset()
    if not telling.quiet:
        say(f"watching {len(index.folders()):,} folders; Ctrl-C ends it")
    while True:
        # What other processes have added or forgotten counts; the first look finds what changed during the first run.
        index.check_model()
        changes = watch.look({Path(path): wanted for path, wanted in index.folders().items()})
        for folder in sorted(changes.away - away):
            say(f"{folder} is not there; what is known of it stays")
        for folder in sorted(away - changes.away):
            say(f"{folder} is back")
        away = changes.away
        folders = [folder for folder in changes.folders if str(folder) in index.folders()]  # not forgotten meanwhile
        if folders and not refresh(index, folders, changes.unsettled, telling):
            watch.forget(folders)
        time.sleep(pause_after(changes))


def refresh(index: Index, folders: list[Path], unsettled: Iterable[Path], telling: Telling) -> bool:
    """A run over what has changed, told where it did anything. False where it could not be done this time."""
    from babelclip.errors import ConfigError, ModelDiffers, StoreError
    from babelclip.progress import show_progress
    from babelclip.search.indexing import read_failures

    try:
        with show_progress("indexing", show=not telling.quiet) as meter:
            report = index.add(folders, progress=meter.update, leave=unsettled)
    except ModelDiffers:
        raise
    except (ConfigError, StoreError, OSError) as error:  # a folder has gone meanwhile, another process writes too long
        say(f"tried again later: {error}")
        return False
    done = report.embedded or report.known_by_content or report.removed
    if done or not telling.failures.issuperset(report.failures):
        tell(index, report, telling)
    if telling.errors_to is not None:
        _write_failures(list(read_failures(index.database).values()), telling.errors_to)
    return True
