"""Hyper-parameters as frozen dataclasses: checked when made, read from `key=value` text, written as JSON."""

import dataclasses
import math

from gentut import Error, choose


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of every configuration. A field's type is that of its default: int, float, bool, str or a tuple of int."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = _as(type(field.default), getattr(self, field.name), field.name)
            object.__setattr__(self, field.name, value)

    def replace(self, **changes):
        """A copy with some fields changed. Raises Error for an unknown field or a value of the wrong type."""
        for key in changes:
            choose("setting", key, [f.name for f in dataclasses.fields(self)])
        return dataclasses.replace(self, **changes)

    def with_assignments(self, assignments):
        """A copy changed by texts such as "steps=500" or "encoder=256,128" (the command line's --set)."""
        changes = {}
        kinds = {f.name: type(f.default) for f in dataclasses.fields(self)}
        for text in assignments:
            key, equals, value = text.partition("=")
            if not equals:
                raise Error(f"a setting is written key=value, got {text!r}")
            changes[key] = _parse(kinds[choose("setting", key, kinds)], value, key)
        return self.replace(**changes)

    def to_dict(self):
        """Plain values for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}


def _parse(kind, text, key):
    try:
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
        if kind is tuple:
            return tuple(int(part) for part in text.split(",") if part)
        return kind(text)
    except (KeyError, ValueError):
        wanted = {bool: "true or false", tuple: "whole numbers such as 256,128", int: "a whole number"}
        raise Error(f"{key} takes {wanted.get(kind, 'a number')}, got {text!r}") from None


def _as(kind, value, key):
    """The value as its field's kind, or Error. An int is welcome where a float is wanted, a list where a tuple is."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        raise Error(f"{key} takes a finite number, got {value!r}")
    if kind is tuple and isinstance(value, (list, tuple)):
        if all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in value):
            return tuple(value)
        raise Error(f"{key} takes positive whole numbers, got {value!r}")
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Error(f"{key} takes a value of type {kind.__name__}, got {value!r}")
    return value
