"""Defaults from a file: they hold where neither the command line nor the environment says otherwise.

    [all]                       # for every verb that has such an option
    index = "~/photos.db"
    threads = 4

    [search]                    # for babelclip search alone
    top = 20

    [keys.create]
    balance = "unlimited"

It is ``$BABELCLIP_CONFIG``, else ``config.toml`` in the user's folder for configuration. None is looked for in the
current folder: a folder of photos may come from anywhere, and a file in it could name a server to send them to.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from babelclip.errors import ConfigError
from babelclip.user_folders import user_config

if TYPE_CHECKING:
    from cyclopts import App, ArgumentCollection

FILE_VARIABLE = "BABELCLIP_CONFIG"
ALL = "all"
VARIABLES_BEGIN = {"serve": "BABELCLIP_SERVE_", "ui": "BABELCLIP_UI_"}
"""Verbs of which every option has a variable, for they are often started where there is no command line to change:
``BABELCLIP_SERVE_MAX_ITEMS``."""
FOR_ALL = ("device", "dtype", "index", "max-pixels", "model", "quiet", "revision", "runtime", "threads")
"""Options that a file may set for all verbs that have them."""
CHOSEN_EACH_TIME = {"model": ("train", "serve"), "device": ("train",)}
"""Verbs that such an option of all verbs does not reach: what a run starts from, what a server answers with."""


class _Setting(NamedTuple):
    """A value that is in force where the command line does not say otherwise, and who says it."""

    where: str  # "all.index", "search.top", "BABELCLIP_INDEX"
    value: Any
    source: str


def user_file() -> Path:
    """Where the file is looked for when no variable names one."""
    return user_config() / "config.toml"


def file_in_force() -> Path | None:
    """The file that counts, or None where there is none.

    Raises:
        ConfigError: the variable names a file that is not there.
    """
    named = os.environ.get(FILE_VARIABLE)
    path = Path(named).expanduser() if named else user_file()
    if path.exists():
        return path
    if named:
        raise ConfigError(f"{FILE_VARIABLE} names {path}, which is not there: make it, or leave the variable out")
    return None


def read_configuration(path: Path) -> dict[str, Any]:
    """What the file says.

    Raises:
        ConfigError: it is not TOML, or has a table that is no verb, or an option for all verbs that it may not set.
    """
    from babelclip.cli.main import VERBS
    from babelclip.decode import read_toml

    content = read_toml(path)
    for key, value in content.items():
        if key not in (ALL, *VERBS):
            raise _unknown(path, f"[{key}]", (ALL, *VERBS))
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: expected a table [{key}] with options in it, found {key} = {value!r}")
    for key in content.get(ALL, {}):
        if _spelled(key) not in FOR_ALL:
            raise _unknown(path, f"{key} in [{ALL}]", FOR_ALL)
    return content


def apply_configuration(app: App, commands: tuple[str, ...], options: ArgumentCollection) -> None:
    """Give options that have no value yet the file's; cyclopts calls it for the verb that runs.

    Args:
        app: the verb.
        commands: its words.
        options: its options; those given on the command line or by the environment have their values.

    Raises:
        ConfigError: the file cannot be read, or names an option that the verb does not have.
    """
    apply_variables(app, commands, options)
    path = file_in_force()
    if path is None:
        return
    from cyclopts.config import Dict

    values = _values_for(path, read_configuration(path), app, commands, options)
    for word in reversed(commands):
        values = {word: values}
    Dict(values, source=str(path))(app, commands, options)


def apply_variables(app: App, commands: tuple[str, ...], options: ArgumentCollection) -> None:
    """Give options of ``VARIABLES_BEGIN`` what their variables say, where the command line does not.

    Raises:
        ConfigError: a variable names no option.
    """
    from cyclopts.config import Env

    begin = VARIABLES_BEGIN.get(" ".join(commands))
    if begin is None:
        return
    known = {begin + option.name[2:].replace("-", "_").upper() for option in options if option.name[:2] == "--"}
    unknown = sorted(name for name in os.environ if name.startswith(begin) and name not in known)
    if unknown:
        raise ConfigError(f"unknown variable {unknown[0]}; expected one of {', '.join(sorted(known))}")
    Env("BABELCLIP_")(app, commands, options)


def settings_in_force() -> list[_Setting]:
    """What the environment and the file say, checked for every verb.

    Raises:
        ConfigError: as ``apply_configuration`` does, for any verb.
    """
    from babelclip.cli.environment import VARIABLES
    from babelclip.cli.main import VERBS, app

    names = [variable.name for variable in VARIABLES if variable.name in os.environ]
    names += sorted(name for name in os.environ if name.startswith(tuple(VARIABLES_BEGIN.values())))
    settings = [_Setting(name, _shown(name), "environment") for name in names if name.startswith("BABELCLIP_")]
    path = file_in_force()
    if path is None:
        return settings
    content = read_configuration(path)
    covered: dict[str, str] = {}
    for verb in VERBS:
        for commands, command in _commands(app[verb], (verb,)):
            options = command.assemble_argument_collection()
            _values_for(path, content, command, commands, options)
            for option in options:
                for name in set(option.parameter.env_var or ()) & os.environ.keys():
                    flag = option.name.removeprefix("--")
                    covered |= {f"{ALL}.{flag}": name, ".".join((*commands, flag)): name}
    for where, value in _flat(content):
        source = f"{path}, but {covered[where]} comes first" if where in covered else str(path)
        settings.append(_Setting(where, value, source))
    return settings


def _shown(name: str) -> str:
    return "set" if name.endswith("_KEY") else os.environ[name]


def _flat(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{_spelled(key)}", value


def _commands(command: App, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], App]]:
    """A verb, or the verbs below it, by their words."""
    if command.default_command is not None:
        yield words, command
    for name in command:
        if not name.startswith("-"):
            yield from _commands(command[name], (*words, name))


def _values_for(
    path: Path, content: Mapping[str, Any], app: App, commands: tuple[str, ...], options: ArgumentCollection
) -> dict[str, Any]:
    known = {option.name.removeprefix("--") for option in options if option.name.startswith("-")}
    for_all = {key: value for key, value in content.get(ALL, {}).items() if _spelled(key) in known}
    own: Any = content
    for word in commands:
        own = own.get(word, {})
        if not isinstance(own, dict):
            raise ConfigError(f"{path}: expected a table [{'.'.join(commands)}], found {own!r}")
    for key, value in own.items():
        if not (isinstance(value, dict) and key in app) and _spelled(key) not in known:
            raise _unknown(path, f"{key} in [{'.'.join(commands)}]", sorted(known))
    reaching = {key for key in for_all if commands[0] not in CHOSEN_EACH_TIME.get(_spelled(key), ())}
    return {key: for_all[key] for key in reaching} | {key: own[key] for key in own if not isinstance(own[key], dict)}


def _spelled(key: str) -> str:
    return key.replace("_", "-")


def _unknown(path: Path, key: str, known: Iterable[str]) -> ConfigError:
    return ConfigError(f"{path}: unknown {key}; expected one of {', '.join(known)}")
