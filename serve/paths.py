"""The two variable parts of paths: a category's name and a key, which may hold slashes."""

from __future__ import annotations

from starlette.convertors import CONVERTOR_TYPES, Convertor

from lightning_state.actors.category import RESERVED_NAMES

CATEGORY = "{category:category}"
KEY = "{key:key}"


class _CategoryConvertor(Convertor[str]):
    """Anything but the reserved first segments: what is no category's name is answered as an unknown category."""

    regex = rf"(?!(?:{'|'.join(sorted(RESERVED_NAMES))})(?:/|\Z))[^/:~]+"

    def convert(self, value: str) -> str:
        """The name as it is."""
        return value

    def to_string(self, value: str) -> str:
        """The name as it is."""
        return value


class _KeyConvertor(_CategoryConvertor):
    """A key, good or bad, up to a sub-resource: `/~` begins one and no key contains it."""

    regex = r"(?:(?!/~)[\s\S])+"


def register() -> None:
    """Make both known to Starlette. Doing it again changes nothing."""
    CONVERTOR_TYPES["category"] = _CategoryConvertor()
    CONVERTOR_TYPES["key"] = _KeyConvertor()
