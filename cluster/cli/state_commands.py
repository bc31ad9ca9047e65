"""`get`, `set`, `list` and `verify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from lightning_state.actors.category import Category, load_category
from lightning_state.actors.client import StateClient
from lightning_state.actors.client.connecting import join_ray
from lightning_state.actors.core.messages import ANY
from lightning_state.actors.core.verl.report import verdict_as_json
from lightning_state.actors.errors import InvalidStateError, UnknownCategoryError
from lightning_state.actors.models import State
from lightning_state.cluster.service import service_map

_ANY = "any"


def get(category: str, key: str, *, service: str = "default", address: str | None = None) -> int:
    """Print one state as JSON.

    Parameters
    ----------
    category
        agents, research, verifications, or one of your own.
    key
        The state's id.
    """
    found = _category(category, service, address)
    with StateClient.connect(service) as client:
        _print_state(client.category(found).get(key, consistency="linearizable"))
    return 0


def set_(
    category: str,
    key: str,
    state: Annotated[str, Parameter(allow_leading_hyphen=True)],
    *,
    expected_version: str | None = None,
    service: str = "default",
    address: str | None = None,
) -> int:
    """Write one state from JSON and print what was stored.

    Parameters
    ----------
    category
        agents, research, verifications, or one of your own.
    key
        The state's id; it may be left out of the JSON.
    state
        The JSON, @FILE to read it from a file, or - for standard input.
    expected_version
        The version this replaces, or `any`. Default: the JSON's `version`; without one the state must be new.
    """
    found = _category(category, service, address)
    wanted = _parse(found, key, _read(state))
    expected = _expected(expected_version, wanted.version)
    with StateClient.connect(service) as client:
        _print_state(client.category(found).set(wanted, expected_version=expected))
    return 0


def list_(
    category: str,
    *,
    prefix: str = "",
    where: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    limit: int = 100,
    cursor: str | None = None,
    json: bool = False,
    service: str = "default",
    address: str | None = None,
) -> int:
    """List states in key order.

    Parameters
    ----------
    category
        agents, research, verifications, or one of your own.
    prefix
        Only keys that begin with this.
    where
        Only states with this value of an index, as NAME=VALUE, such as status=Ready.
    limit
        At most so many.
    cursor
        Go on where an earlier page ended.
    json
        Print JSON instead of a table.
    """
    found = _category(category, service, address)
    filters: dict[str, Any] = dict(_filter(item) for item in where)
    with StateClient.connect(service) as client:
        page = client.category(found).list(prefix=prefix, limit=limit, cursor=cursor, **filters)
    if json:
        states = b",".join(state.model_dump_json().encode() for state in page.states)
        cursor_json = msgspec.json.encode(page.cursor)
        sys.stdout.write((b'{"states":[%b],"cursor":%b}\n' % (states, cursor_json)).decode())
    else:
        _print_table(found, page.states)
        if page.cursor is not None:
            sys.stdout.write(f"more: --cursor {page.cursor}\n")
    return 0


def verify(
    category: str,
    key: str,
    state: Annotated[str, Parameter(allow_leading_hyphen=True)],
    *,
    json: bool = False,
    service: str = "default",
    address: str | None = None,
) -> int:
    """Ask VERL what it would say of a state if it were written now; nothing is written. Exit status 1: refused.

    Parameters
    ----------
    category
        agents, research, verifications, or one of your own.
    key
        The state's id; it may be left out of the JSON.
    state
        The JSON, @FILE to read it from a file, or - for standard input.
    json
        Print JSON instead of text.
    """
    found = _category(category, service, address)
    wanted = _parse(found, key, _read(state))
    with StateClient.connect(service) as client:
        client.category(found)
        verdict = client.verl.verify(category, key, wanted)
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(verdict_as_json(verdict))).decode() + "\n")
    else:
        said = "would be accepted" if verdict.is_accepted else "would be refused"
        needed = f"confidence {verdict.confidence:.2f}, {verdict.threshold:.2f} needed"
        sys.stdout.write(f"{category} {key} {said}: {needed}\n")
        for issue in verdict.issues:
            sys.stdout.write(f"  {issue.severity}: {issue.path or 'state'}: {issue.message} [{issue.code}]\n")
    return 0 if verdict.is_accepted else 1


def _category(name: str, service: str, address: str | None) -> Category[Any]:
    join_ray(address, service=service)
    categories = service_map(service).categories
    info = categories.get(name)
    if info is None:
        raise UnknownCategoryError(f"no category {name!r} is registered; there are {', '.join(sorted(categories))}")
    return load_category(info.import_path, info.hash)


def _read(text: str) -> bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_bytes()
        except OSError as error:
            raise InvalidStateError(f"cannot read {text[1:]}: {error.strerror}") from error
    return text.encode()


def _parse(category: Category[Any], key: str, data: bytes) -> State:
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidStateError(f"the state is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidStateError("the state must be a JSON object")
    value.setdefault(category.alias(category.key_field), key)
    state = category.decode(msgspec.json.encode(value))
    if category.key(state) != key:
        raise InvalidStateError(f"the state's id is {category.key(state)!r}, but it is to be written as {key!r}")
    return state


def _expected(given: str | None, in_state: int) -> int:
    if given is None:
        return in_state
    if given == _ANY:
        return ANY
    if not given.isdigit():
        raise InvalidStateError(f"--expected-version is a number or {_ANY!r}, not {given!r}")
    return int(given)


def _filter(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals:
        raise InvalidStateError(f"--where takes NAME=VALUE, not {item!r}")
    return name, value


def _print_state(state: State) -> None:
    sys.stdout.write(msgspec.json.format(state.model_dump_json().encode()).decode() + "\n")


def _print_table(category: Category[Any], states: tuple[State, ...]) -> None:
    indexed = [name for name in category.indexes if name != category.key_field]
    table = Table(category.key_field, "version", *indexed, "last updated")
    for state in states:
        moment = state.last_updated.isoformat(timespec="seconds") if state.last_updated else ""
        values = [str(getattr(state, name)) for name in indexed]
        table.add_row(category.key(state), str(state.version), *values, moment)
    Console().print(table)
