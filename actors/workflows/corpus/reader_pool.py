"""Files read by several processes.

Plain child processes rather than `multiprocessing`: that imports the parent's `__main__` again, which within
a Ray worker is Ray's own and within a user's script may start everything a second time.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import BinaryIO, cast

import msgspec

from lightning_state.actors.workflows.corpus.reader_process import receive, send
from lightning_state.actors.workflows.corpus.reading import ReadResult, ReadTask, read_all

BATCH_BYTES = 2**20
IN_PROCESS_BYTES = 3 * 2**20
"""Below this, starting processes takes longer than reading."""
MAX_PROCESSES = 4

_MAIN = "from lightning_state.actors.workflows.corpus.reader_process import main; main()"

Progress = Callable[[int, int], None]
Batch = list[tuple[int, ReadTask]]  # with the task's place in the order asked for
_RESULTS = msgspec.msgpack.Decoder(list[ReadResult])


def usable_cpus() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _batches(tasks: Sequence[ReadTask]) -> Iterator[Batch]:
    """Large files first, so that no process is left with one at the end."""
    batch: Batch = []
    size_bytes = 0
    for index, task in sorted(enumerate(tasks), key=lambda pair: -pair[1].size_bytes):
        batch.append((index, task))
        size_bytes += task.size_bytes
        if size_bytes >= BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


class _Reader:
    """One child process at a time; another is started when it died, which costs the batch it was reading."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", _MAIN]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)  # noqa: S603 - this very interpreter

    def read(self, tasks: list[ReadTask]) -> list[ReadResult]:
        self.child = self.child or self._start()
        requests, answers = (
            cast("BinaryIO", self.child.stdin),
            cast("BinaryIO", self.child.stdout),
        )  # pipes both
        try:
            send(requests, msgspec.msgpack.encode(tasks))
            message = receive(answers)
        except BrokenPipeError:
            message = None
        if message is not None:
            return _RESULTS.decode(message)
        self.close()
        return [ReadResult((), "the reading process died") for _ in tasks]

    def close(self) -> None:
        if self.child is None:
            return
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # what it still held for a child that died
                    pipe.close()
        self.child.terminate()
        self.child.wait()
        self.child = None


def read_files(tasks: Sequence[ReadTask], progress: Progress, *, processes: int | None = None) -> list[ReadResult]:
    """One result a task, in order. `progress(files done, files)` is called from this thread.

    `processes` None takes one a usable processor, at most 4, and none for a small corpus; 0 reads in this
    process.
    """
    if processes is None:
        large = sum(task.size_bytes for task in tasks) > IN_PROCESS_BYTES
        processes = min(usable_cpus(), MAX_PROCESSES) if large else 0
    results: list[ReadResult] = [ReadResult(())] * len(tasks)
    done = 0
    batches = list(_batches(tasks))
    for batch, answers in _answers(batches, processes):
        for (index, _), answer in zip(batch, answers, strict=True):
            results[index] = answer
        done += len(batch)
        progress(done, len(tasks))
    return results


def _answers(batches: list[Batch], processes: int) -> Iterator[tuple[Batch, list[ReadResult]]]:
    if processes == 0:
        for batch in batches:
            yield batch, read_all([task for _, task in batch])
        return
    idle: SimpleQueue[_Reader] = SimpleQueue()
    readers = [_Reader() for _ in range(min(processes, len(batches)))]
    for reader in readers:
        idle.put(reader)

    def run(batch: Batch) -> tuple[Batch, list[ReadResult]]:
        try:
            reader = idle.get_nowait()
        except Empty:  # as many threads as readers, so one is always idle
            raise AssertionError("more batches at once than readers") from None
        try:
            return batch, reader.read([task for _, task in batch])
        finally:
            idle.put(reader)

    with ThreadPoolExecutor(len(readers), "corpus-reader") as threads:
        pending: set[Future[tuple[Batch, list[ReadResult]]]] = {threads.submit(run, batch) for batch in batches}
        try:
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        finally:
            for future in pending:
                future.cancel()
            threads.shutdown()
            for reader in readers:
                reader.close()
