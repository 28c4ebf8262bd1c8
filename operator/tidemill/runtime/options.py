"""Where settings come from: one YAML file, environment variables, flags; each later one wins. Wrong ones stop the start.

A message names the setting as it is written in the file, what is wrong, and which of the three it came from.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel

from tidemill.runtime.settings import Settings, SettingsError

ENV_PREFIX = "TIDEMILL_OPERATOR_"
_Leaf = tuple[tuple[str, ...], type[BaseModel], str]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as for every other mistake, instead of the usage of fifty flags."""
        raise SettingsError(f"{message}: --help lists the flags")


def parser() -> argparse.ArgumentParser:
    """The command line: one flag for each setting."""
    result = _Parser(
        prog="python -m tidemill.runtime",
        description="The Tidemill operator.",
        epilog=f"Each setting can also come from --config (YAML, camelCase) or the environment ({ENV_PREFIX}<SETTING>).",
        allow_abbrev=False,
    )
    result.add_argument("--config", metavar="FILE", help="YAML file with settings")
    for path, model, name in _leaves(Settings):
        field = model.model_fields[name]
        default = field.default
        shown = "" if default in ("", (), {}) else f" (default: {default})"
        result.add_argument(
            _flag(path), dest=".".join(path), metavar="VALUE", default=None,
            help=f"{field.description or ''}{shown}".replace("%", "%%"),
        )  # fmt: skip
    return result


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """The settings from flags, environment and file. Raises SettingsError."""
    flags = _flags(arguments)
    config = flags.pop("config") or environment.get(ENV_PREFIX + "CONFIG")
    values: dict[str, Any] = _read_file(Path(config)) if config else {}
    origins = {key: str(config) for key in _keys(values)}
    known = {_variable(path): (path, model, name) for path, model, name in _leaves(Settings)}
    for variable in sorted(v for v in environment if v.startswith(ENV_PREFIX) and v != ENV_PREFIX + "CONFIG"):
        if variable not in known:
            raise SettingsError(f"environment variable {variable}: no such setting: {_instead(variable, known)}")
        _put(values, known[variable], environment[variable], f"environment variable {variable}", origins)
    for leaf in known.values():
        if (text := flags[".".join(leaf[0])]) is not None:
            _put(values, leaf, text, f"flag {_flag(leaf[0])}", origins)
    return validate(values, origins=origins)


def validate(values: Mapping[str, Any], *, origins: Mapping[str, str] | None = None) -> Settings:
    """Settings from plain values. Raises SettingsError with one line that names every wrong setting."""
    origins = origins or {}
    try:
        return Settings.model_validate(values).came_from(origins)
    except ValidationError as error:
        problems = (_problem(item, origins) for item in error.errors())
        raise SettingsError("; ".join(problems)) from None


def _problem(item: Any, origins: Mapping[str, str]) -> str:
    """What pydantic says about one setting, in our words."""
    names = [to_camel(part) for part in item["loc"] if isinstance(part, str)]
    key, kind = ".".join(to_camel(str(part)) for part in item["loc"]), item["type"]
    if kind == "extra_forbidden":
        text = f"{key}: no such setting: {_instead(key, map(_key, (path for path, _, _ in _leaves(Settings))))}"
    elif kind == "value_error":  # one of our own checks, on settings that do not go together
        own = str(item["msg"]).removeprefix("Value error, ")
        text = f"{key}: {own}" if key else own
    elif kind == "model_type":
        text = f"{key}: must be a mapping of settings (got {item['input']!r})"
    else:
        text = f"{key}: {item['msg']} (got {item['input']!r})"
    return text + _from(".".join(names), origins)


def _from(key: str, origins: Mapping[str, str]) -> str:
    """The origin of a setting, or those of a section's settings."""
    found = {at: origin for at, origin in origins.items() if at == key or f"{at}.".startswith(f"{key}.") or not key}
    named = dict.fromkeys(found.values()) or dict.fromkeys(v for k, v in origins.items() if key.startswith(f"{k}."))
    return f", from {' and '.join(named)}" if named else ""


def _flags(arguments: Sequence[str]) -> dict[str, str | None]:
    known = parser()
    found, rest = known.parse_known_args(arguments)
    if rest:
        wrong = rest[0].partition("=")[0]
        raise SettingsError(f"flag {wrong}: no such setting: {_instead(wrong, known._option_string_actions)}")
    return vars(found)


def _instead(wrong: str, known: Iterable[str]) -> str:
    """What was probably meant. The prefix that all variables share makes none of them more likely."""
    names = {name.removeprefix(ENV_PREFIX): name for name in known}
    close = difflib.get_close_matches(wrong.removeprefix(ENV_PREFIX), names, n=1, cutoff=0.75)
    return f"did you mean {names[close[0]]}?" if close else "--help lists what there is"


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise SettingsError(f"--config: {path}: {error.strerror}: give a YAML file with settings") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: the document must be a mapping of settings")
    return values


def _leaves(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[_Leaf]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _leaves(kind, (*above, name))
        else:
            yield (*above, name), model, name


def _keys(values: Mapping[Any, Any], above: str = "") -> Iterator[str]:
    """What a file sets, with the sections."""
    for name, value in values.items():
        yield f"{above}{name}"
        if isinstance(value, dict):
            yield from _keys(value, f"{above}{name}.")


def _key(path: Sequence[str]) -> str:
    return ".".join(map(to_camel, path))


def _flag(path: Sequence[str]) -> str:
    return "--" + "-".join(path).replace("_", "-")


def _variable(path: Sequence[str]) -> str:
    return ENV_PREFIX + "_".join(path).upper()


def _put(values: dict[str, Any], leaf: _Leaf, text: str, origin: str, origins: dict[str, str]) -> None:
    """Set one value from text, under the same spelling as the file's, so that it replaces what the file says."""
    path, model, name = leaf
    for part in path[:-1]:
        inner = values.setdefault(to_camel(part), {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{to_camel(part)}: must be a mapping of settings{_from(to_camel(part), origins)}")
        values = inner
    default = model.model_fields[name].default
    value: Any = text
    if isinstance(default, tuple):
        value = [item for item in re.split(r"\s*,\s*", text.strip()) if item]
    elif isinstance(default, dict):
        pairs = [item.partition("=") for item in re.split(r"\s*,\s*", text.strip()) if item]
        if wrong := [key for key, sign, _ in pairs if not sign]:
            raise SettingsError(f"{_key(path)}: {wrong[0]!r} is not key=value, from {origin}")
        value = {key: val for key, _, val in pairs}
    values[to_camel(path[-1])] = value
    origins[_key(path)] = origin
