"""From a choice of documents to the files to read, and from those to an index."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from lightning_state.actors.errors import CorpusError
from lightning_state.actors.workflows.corpus.distributions import distribution_tasks, fingerprint, installed
from lightning_state.actors.workflows.corpus.document import ReadDocument
from lightning_state.actors.workflows.corpus.folder import folder_tasks
from lightning_state.actors.workflows.corpus.index import Manifest, cache_key, write
from lightning_state.actors.workflows.corpus.reader_pool import Progress, read_files
from lightning_state.actors.workflows.corpus.reading import ReadTask


def silent(_done: int, _total: int) -> None:
    """No progress wanted."""


def installed_corpus(names: Collection[str] | None) -> tuple[Callable[[], list[ReadTask]], str]:
    """How to list the files of the installed distributions (only done to build), and their cache key."""
    found = installed()
    if names is not None:
        missing = sorted(set(names) - set(found))
        if missing:
            raise CorpusError(f"not installed: {', '.join(missing)}; install them or leave them out of the corpus")
        found = {name: found[name] for name in names}
    if not found:
        raise CorpusError("no distribution is installed for this Python: name a folder of documents instead")
    return lambda: distribution_tasks(found), cache_key(fingerprint(found))


def folder_corpus(path: Path) -> tuple[Callable[[], list[ReadTask]], str]:
    """How to list the files of a folder, and its cache key."""
    tasks, prints = folder_tasks(path)
    return lambda: tasks, cache_key(prints)


def fill(place: Path, tasks: Sequence[ReadTask], progress: Progress, processes: int | None) -> Manifest:
    """Read the files and write the index into `place`."""
    results = read_files(tasks, progress, processes=processes)
    documents: dict[str, ReadDocument] = {}
    for result in results:
        for read in result.documents:
            documents.setdefault(read.document.id, read)
    skipped = Counter(result.skipped for result in results if result.skipped)
    if not any(read.sentences for read in documents.values()):
        reasons = "; ".join(f"{count} files {reason}" for reason, count in skipped.most_common()) or "no prose in them"
        raise CorpusError(f"no sentence could be read from {len(tasks)} files ({reasons}): name other documents")
    count, sentences = write(documents.values(), place)
    return Manifest(
        count,
        sentences,
        len(tasks) - skipped.total(),
        skipped.total(),
        dict(skipped.most_common()),
        tuple(sorted({task.source.distribution for task in tasks if task.source.distribution})),
    )
