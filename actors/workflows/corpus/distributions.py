"""The default corpus: what the installed distributions carry, long descriptions and public modules.

Compiled modules are read from their stubs (`.pyi`), which carry docstrings too. A module is public when no
part of its dotted name begins with `_`, or when a public package takes names from it (`httpx` is written in
`httpx._client`; `ray.get` in `ray._private.worker`). Tests, examples, generated and vendored code are left
out: their docstrings explain nothing to a user.
"""

import csv
import importlib.metadata
import re
from collections.abc import Iterable
from pathlib import Path

from lightning_state.actors.workflows.corpus.document import Source
from lightning_state.actors.workflows.corpus.reading import ReadTask

_LEFT_OUT = {
    *(
        "test",
        "tests",
        "testing",
        "_testing",
        "_tests",
        "example",
        "examples",
        "benchmark",
        "benchmarks",
        "conftest",
    ),
    *(
        "_vendor",
        "_vendored",
        "vendor",
        "vendored",
        "third_party",
        "thirdparty",
        "_thirdparty",
        "thirdparty_files",
    ),
    *("generated", "site-packages", "node_modules"),
}
_GENERATED = ("_pb2.py", "_pb2_grpc.py", "_tests.py", "_test.py")
_FROM = re.compile(rb"^[ \t]*from[ \t]+(\.*[\w.]*)[ \t]+import\b[ \t]*(\([^)]*\)|[^\n]*)", re.MULTILINE)


def installed() -> dict[str, importlib.metadata.Distribution]:
    """Name → distribution in order of names; of two with one name the one that Python would import."""
    found: dict[str, importlib.metadata.Distribution] = {}
    for distribution in importlib.metadata.distributions():
        if name := distribution.metadata["Name"]:
            found.setdefault(name, distribution)
    return dict(sorted(found.items()))


def fingerprint(distributions: dict[str, importlib.metadata.Distribution]) -> list[str]:
    """What changes when an installed distribution does: its name, version and place.

    The files of an editable install may change without it; they are read again with its next version.
    """
    return [f"{name} {found.version} {found.locate_file('')}" for name, found in distributions.items()]


def distribution_tasks(distributions: dict[str, importlib.metadata.Distribution]) -> list[ReadTask]:
    """Every file to read, in a stable order; without a file list that is the long description alone."""
    tasks: list[ReadTask] = []
    for name, distribution in distributions.items():
        version = distribution.version
        for module, path, size_bytes in _modules(distribution):
            tasks.append(ReadTask("module", Source(name, version, module, str(path), 1), size_bytes))
        metadata = _metadata_file(distribution)
        if metadata is not None:
            source = Source(name, version, "README", str(metadata), 1)
            tasks.append(ReadTask("metadata", source, metadata.stat().st_size))
    return tasks


def _metadata_file(distribution: importlib.metadata.Distribution) -> Path | None:
    """Its METADATA. `Distribution` offers the text but not the place, which a source must name."""
    folder = getattr(distribution, "_path", None)
    if not isinstance(folder, Path):
        return None
    return next((file for name in ("METADATA", "PKG-INFO") if (file := folder / name).is_file()), None)


def _recorded(distribution: importlib.metadata.Distribution) -> Iterable[tuple[str, int]]:
    """Path and size of each file, from RECORD itself: `Distribution.files` is ten times slower."""
    record = distribution.read_text("RECORD")
    if record is not None:
        for row in csv.reader(record.splitlines()):
            if row:
                yield row[0], int(row[2]) if len(row) > 2 and row[2].isdigit() else 0  # noqa: PLR2004 - path, hash, size
        return
    for file in distribution.files or ():
        yield file.as_posix(), file.size or 0


def _modules(distribution: importlib.metadata.Distribution) -> list[tuple[str, Path, int]]:
    """Module name, path and size of each public module, in order of names."""
    candidates: dict[str, tuple[Path, int]] = {}
    for recorded, size_bytes in sorted(_recorded(distribution)):  # x.py before x.pyi
        path = recorded.removesuffix("i") if recorded.endswith(".pyi") else recorded
        parts = path.removesuffix(".py").split("/")
        wanted = path.endswith(".py") and not recorded.endswith(_GENERATED) and ".." not in parts
        if wanted and not _LEFT_OUT.intersection(parts) and all(part.isidentifier() for part in parts):
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if path != recorded and module in candidates:
                continue  # a stub speaks for a compiled module only
            candidates[module] = (Path(str(distribution.locate_file(recorded))), size_bytes)
    return [(module, *candidates[module]) for module in _public(candidates)]


def _public(candidates: dict[str, tuple[Path, int]]) -> list[str]:
    """The public ones, and those a public package takes names from, directly or through others."""
    public = {module for module in candidates if not any(part.startswith("_") for part in module.split("."))}
    waiting = [module for module in public if candidates[module][0].stem == "__init__"]
    while waiting:
        package = waiting.pop()
        for module in _imported(package, candidates[package][0]):
            if module in candidates and module not in public:
                public.add(module)
                if candidates[module][0].stem == "__init__":
                    waiting.append(module)
    return sorted(public)


def _imported(package: str, path: Path) -> set[str]:
    """Dotted names of the modules this `__init__.py` imports from; names that are no module do no harm."""
    try:
        data = path.read_bytes()
    except OSError:
        return set()
    found: set[str] = set()
    for match in _FROM.finditer(data):
        origin = match[1].decode()
        dots = len(origin) - len(origin.lstrip("."))
        parents = package.split(".")[: len(package.split(".")) - dots + 1] if dots else []
        base = ".".join([*parents, *filter(None, [origin.lstrip(".")])])
        found.add(base)
        found.update(f"{base}.{name}" for name in re.findall(r"\w+", match[2].decode(errors="replace")))
    return found
