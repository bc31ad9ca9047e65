"""A corpus of one's own: a folder of text, Markdown, reStructuredText or HTML files."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from lightning_state.actors.errors import CorpusError
from lightning_state.actors.workflows.corpus.document import Source
from lightning_state.actors.workflows.corpus.reading import Kind, ReadTask

KINDS: dict[str, Kind] = {
    **dict.fromkeys((".md", ".markdown", ".rst", ".txt", ".text"), "prose"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
}


def _files(folder: Path) -> Iterator[Path]:
    """Files of a readable kind, hidden ones and links to folders left out, in order of names."""
    for root, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in KINDS:
                yield Path(root) / name


def _refuse(error: OSError) -> NoReturn:
    raise CorpusError(
        f"cannot read the corpus at {error.filename}: {error.strerror}; make it readable for this user"
    ) from error


def folder_tasks(path: Path) -> tuple[list[ReadTask], list[str]]:
    """Every file to read in a stable order, and the folder's fingerprint: what changes when a file does.

    `path` may also be a single file. Raises CorpusError when it does not exist, is not readable or holds no
    such file.
    """
    path = path.expanduser().absolute()
    try:
        path.stat()
    except FileNotFoundError:
        raise CorpusError(f"the corpus {path} does not exist: name a folder of {_kinds()} files") from None
    except OSError as error:
        _refuse(error)
    tasks: list[ReadTask] = []
    prints: list[str] = []
    for file in [path] if path.is_file() else _files(path):
        kind = KINDS.get(file.suffix.lower())
        if kind is None:
            break
        try:
            status = file.stat()
        except OSError:
            continue  # a dangling link, or removed while the folder was read
        tasks.append(ReadTask(kind, Source("", "", "", str(file), 1), status.st_size))
        prints.append(f"{file} {status.st_size} {status.st_mtime_ns}")
    if not tasks:
        raise CorpusError(f"the corpus {path} holds no {_kinds()} file: put documents there or name another folder")
    return tasks, prints


def _kinds() -> str:
    return ", ".join(sorted(KINDS))
