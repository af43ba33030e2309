"""How YAML files, presets and `key=value` settings become a `Config`, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib import resources
from io import StringIO
from operator import eq
from pathlib import Path
from typing import Any, get_args, get_origin

import attrs
import cattrs
from ruamel.yaml import YAML
from ruamel.yaml.representer import RepresenterError

from cmp_core.config.schema import (
    LONGEST_SHOWN,
    Config,
    Selection,
    Snapshots,
    keys_about,
    shown,
)
from cmp_core.errors import ConfigError, UsageError, one_line, unknown
from cmp_core.text import in_one_line


def load_config(
    source: str | Path | None = None,
    settings: Iterable[str] = (),
    plugins: Sequence[str] = (),
    **overrides: Any,
) -> Config:
    """Return the configuration of a YAML file or preset, changed by settings and overrides.

    Args:
        source: a preset's name, the path of a YAML file, or none for the defaults.
        settings: `key=value` texts whose values are read as YAML.
        plugins: added to those that the configuration names.
        overrides: values as YAML would give them, taken last.

    Raises:
        UsageError: there is no such file or preset, or a setting is not `key=value`.
        ConfigError: all wrong keys and values, together.

    >>> load_config(settings=["layers=2", "lr=1e-3"]).layers
    2
    """
    values = {} if source is None else read_yaml(find_config(source))
    origin = "the configuration" if source is None else str(source)
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise UsageError(f"--set expects key=value, for example lr=1e-3; got {shown(setting)}")
        values[key.strip()] = parse_yaml(text, f"--set {key.strip()}")
    values |= overrides
    if plugins:
        named = values.get("plugins", [])
        values["plugins"] = [*named, *plugins] if isinstance(named, list) else named
    return build_config(values, origin)


def build_config(values: Mapping[str, Any], origin: str = "the configuration") -> Config:
    """Check plain values against the keys and rules of `Config` and return the configuration."""
    structured, problems = _structure_keys(Config, values)
    try:
        config = Config(**structured)
    except ConfigError as error:
        # The default of a key that was given wrongly must not contradict the others.
        if "layers" in structured or "layers" not in values:
            problems += error.problems
    if problems:
        raise ConfigError(problems, origin)
    return config


def _structure_keys(kind: type[Any], values: Mapping[Any, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the values in the types of a class's keys, and what is wrong with the others."""
    fields: dict[str, Any] = {field.name: field for field in attrs.fields(kind)}
    problems = [
        f"{str(key)[:LONGEST_SHOWN]}: {unknown('key', str(key), fields)}"
        for key in values
        if key not in fields
    ]
    structured: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            continue
        try:
            structured[name] = _structure_key(fields[name], value)
        except ConfigError as error:
            problems += error.problems
    return structured, problems


def _structure_key(field: Any, value: Any) -> Any:
    """Return a plain value in the type of its key, after the key's rule has passed it."""
    try:
        structured = _converter.structure(value, field.type)
    except ValueError as error:
        raise ConfigError([f"{field.name}: {error}"]) from None
    if field.validator is not None:
        field.validator(None, field, structured)
    return structured


# Files and presets


def preset_folder() -> Path:
    """Return the folder of the presets, in an installed wheel or in a checkout."""
    return shipped_folder("configs", "configs")


def shipped_folder(installed: str, checkout: str) -> Path:
    """Return a folder that a wheel holds inside the package and a checkout beside it."""
    package = Path(str(resources.files("cmp_core")))
    inside = package / installed
    return inside if inside.is_dir() else package.parent / checkout


def presets() -> list[str]:
    """Return the names that `-c` takes besides file paths."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))


def find_config(source: str | Path) -> Path:
    """Return the file of a preset's name or a path.

    Raises:
        UsageError: it is neither.
    """
    path = Path(source)
    if path.is_file():
        return path
    if path.name == str(source) and path.suffix == "":
        preset = preset_folder() / f"{source}.yaml"
        if preset.is_file():
            return preset
        raise UsageError(unknown("preset", str(source), presets()))
    what = "is a folder, not a YAML file" if path.is_dir() else "does not exist"
    raise UsageError(f"configuration '{source}' {what}; presets: {', '.join(presets())}")


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises:
        UsageError: the file cannot be read, is not YAML, or holds something else.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_LONGEST_TEXT + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read '{path}': {error}") from error
    values = parse_yaml(text, f"'{path}'")
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"'{path}': expected `key: value` lines, got {shown(values)}")
    return values


def parse_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML 1.2 text; `1e-3` is a number.

    Raises:
        UsageError: the text is not YAML; the message says where.
    """
    if len(text) > _LONGEST_TEXT:
        raise UsageError(
            f"{where}: expected YAML of at most {_LONGEST_TEXT:,} characters, got more"
        )
    try:
        value = _yaml().load(text)
        _check_expansion(value, where)
    except UsageError:
        raise
    except RecursionError as error:
        raise UsageError(f"{where} is nested too deeply") from error
    except Exception as error:  # ruamel raises a dozen kinds for tags and dates that hold nonsense
        place = getattr(error, "problem_mark", None)
        at = f" (line {place.line + 1}, column {place.column + 1})" if place else ""
        problem = in_one_line(getattr(error, "problem", None) or "") or one_line(error)
        raise UsageError(f"{where} is not valid YAML{at}: {problem}") from error
    return value


_LONGEST_TEXT = 10**6
_MOST_VALUES = 10**5
"""Values that a YAML text may stand for, those behind each alias counted each time."""


def _check_expansion(value: Any, where: str) -> None:
    """Raise where aliases stand for more than anybody writes, or for what they are inside of.

    Raises:
        UsageError: they do.
    """
    sizes: dict[int, int | None] = {}

    def size(item: Any) -> int:
        if not isinstance(item, (dict, list)):
            return 1
        if id(item) not in sizes:
            sizes[id(item)] = None  # until it is known
            items = item.values() if isinstance(item, dict) else item
            sizes[id(item)] = 1 + sum(map(size, items))
        known = sizes[id(item)]
        if known is None:
            raise UsageError(f"{where}: an alias stands for a value that it is inside of")
        return known

    if (count := size(value)) > _MOST_VALUES:
        raise UsageError(
            f"{where}: expected at most {_MOST_VALUES:,} values, got {shown(count)} with all "
            "aliases written out"
        )


def _yaml() -> YAML:
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None  # nested collections on one line
    yaml.sort_base_mapping_type_on_output = False
    parser: YAML = yaml
    return parser


# Strict structuring: cattrs walks the types, these hooks refuse what only looks right.


def _plain(value: Any) -> Any:
    if isinstance(value, Selection):
        if value.label == value.name and not value.options:
            return value.name
        label = {} if value.label == value.name else {"label": value.label}
        return {"name": value.name, **label, **value.options}
    if isinstance(value, Snapshots):
        return attrs.asdict(value, value_serializer=lambda _, __, item: _plain(item))
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _expect(kind: type, text: str) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"expected {text}, got {shown(value)}")
        return value

    return structure


def _structure_float(value: Any, _: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"expected a number, got {shown(value)}")
    return float(value)


def _structure_tuple(value: Any, kind: Any) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"expected a list, got {shown(value)}")
    item_type = get_args(kind)[0]
    items = []
    for index, item in enumerate(value):
        try:
            items.append(_converter.structure(item, item_type))
        except ValueError as error:
            raise ValueError(f"[{index}]: {error}") from None
    return tuple(items)


def _structure_selection(value: Any, _: Any) -> Selection:
    if isinstance(value, Selection):
        return value
    if isinstance(value, str):
        return Selection(value, value)
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError(
            f"expected a name, or {{name: …, label: …, <option>: …}}, got {shown(value)}"
        )
    options = {str(k): v for k, v in value.items() if k not in ("name", "label")}
    label = value.get("label", value["name"])
    if not isinstance(label, str):
        raise ValueError(f"label: expected a text, got {shown(label)}")
    return Selection(value["name"], label, options)


def _structure_weights(value: Any, _: Any) -> float | tuple[float, ...]:
    if isinstance(value, (list, tuple)):
        return _structure_tuple(value, tuple[float, ...])
    return _structure_float(value, float)


def _structure_selections(value: Any, kind: Any) -> str | tuple[Selection, ...]:
    words, listed = get_args(kind)
    return value if value in get_args(words) else _structure_tuple(value, listed)


def _structure_size(value: Any, _: Any) -> int | float:
    return value if type(value) is int else _structure_float(value, float)


def _structure_snapshots(value: Any, _: Any) -> Snapshots | None:
    if value is None or value is False or isinstance(value, Snapshots):
        return value or None
    if not isinstance(value, dict):
        raise ValueError(f"expected {{phase: …, samples: …, …}} or null, got {shown(value)}")
    structured, problems = _structure_keys(Snapshots, value)
    if problems:
        raise ConfigError([f"snapshots.{problem}" for problem in problems])
    return Snapshots(**structured)


def _structure_margins(value: Any, _: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise ValueError(f"expected {{metric: number}}, got {shown(value)}")
    margins = {}
    for name, margin in value.items():
        try:
            margins[str(_structure_text(name, str))] = _structure_float(margin, float)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return margins


def _structure_text_or_list(value: Any, kind: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        return _structure_text(value, str)
    return _structure_tuple(value, get_args(kind)[1])


def _structure_count_or_text(value: Any, _: Any) -> int | str:
    if type(value) not in (int, str):
        raise ValueError(f"expected a whole number or a text, got {shown(value)}")
    return value  # type: ignore[no-any-return]


def _structure_optional_text(value: Any, _: Any) -> str | None:
    return None if value is None else str(_structure_text(value, str))


def _structure_optional_count(value: Any, _: Any) -> int | None:
    return None if value is None else int(_structure_count(value, int))


_structure_text = _expect(str, "a text")
_structure_count = _expect(int, "a whole number")


def _build_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook(str, _structure_text)
    converter.register_structure_hook(int, _structure_count)
    converter.register_structure_hook(bool, _expect(bool, "true or false"))
    converter.register_structure_hook(float, _structure_float)
    converter.register_structure_hook(Selection, _structure_selection)
    converter.register_structure_hook_func(_is_tuple, _structure_tuple)
    unions: dict[Any, Callable[[Any, Any], Any]] = {
        attrs.fields(Config).lambda_ace: _structure_weights,
        attrs.fields(Config).metrics: _structure_selections,
        attrs.fields(Config).plots: _structure_selections,
        attrs.fields(Config).val_size: _structure_size,
        attrs.fields(Config).threads: _structure_count_or_text,
        attrs.fields(Config).learning_rule: _structure_optional_text,
        attrs.fields(Config).num_classes: _structure_optional_count,
        attrs.fields(Config).snapshots: _structure_snapshots,
        attrs.fields(Config).margins: _structure_margins,
        attrs.fields(Snapshots).schedule: _structure_text_or_list,
        attrs.fields(Snapshots).layers: _structure_text_or_list,
        attrs.fields(Snapshots).samples: _structure_count_or_text,
    }
    for field, hook in unions.items():
        converter.register_structure_hook_func(partial(eq, field.type), hook)
    return converter


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


_converter = _build_converter()


def dump_config(config: Config) -> str:
    """Return the configuration as YAML that `load_config` reads back to an equal one.

    What follows from the dataset is written where it is stated.
    """
    values = {field.name: getattr(config, field.name) for field in attrs.fields(Config)}
    unstated = [key for key in keys_about("dataset") if values[key] is None]
    return dump_yaml({key: value for key, value in values.items() if key not in unstated})


def dump_yaml(values: Mapping[str, Any]) -> str:
    """Return values by key as YAML.

    Raises:
        UsageError: a value is of a type that YAML does not have, such as those of NumPy.
    """
    stream = StringIO()
    try:
        _yaml().dump({key: _plain(value) for key, value in values.items()}, stream)
    except RepresenterError as error:
        got = str(error).removeprefix("cannot represent an object: ")
        raise UsageError(
            "config: expected Python's own numbers, texts, lists and mappings, which YAML has too, "
            f"got {got}; write int(…), float(…) or str(…) of it"
        ) from error
    return stream.getvalue()
