"""Files to documents: docstrings by `ast`, sections of prose, pages of HTML, and what cannot be read."""

from pathlib import Path

from lightning_state.actors.workflows.corpus import reader_pool
from lightning_state.actors.workflows.corpus.building import silent
from lightning_state.actors.workflows.corpus.docstrings import module_documents
from lightning_state.actors.workflows.corpus.document import Source
from lightning_state.actors.workflows.corpus.prose import html_documents, metadata_documents, prose_documents
from lightning_state.actors.workflows.corpus.reader_pool import read_files
from lightning_state.actors.workflows.corpus.reading import Kind, ReadTask, read

MODULE = '''"""A module that is read but never imported, for it would fail."""
raise SystemExit("imported")

class Cache:
    """A cache whose items expire after a time to live.

    Expired items are removed when another item is added.
    """

    size: int = Field(description="How many items the cache holds before it discards one.")

    def get(self, key):
        """Return the item under this key, or raise KeyError when it has expired."""

    def _hidden(self):
        """This is private and so it is not part of the documentation."""

if True:
    def expire():
        r"""Remove every expired item \\ from the cache at once."""
'''
HERE = Source("demo", "1.2", "demo.cache", "/somewhere/demo/cache.py", 1)


def _task(path: Path, kind: Kind = "prose") -> ReadTask:
    return ReadTask(kind, Source("", "", "", str(path), 1), path.stat().st_size if path.exists() else 0)


def test_public_docstrings_and_described_fields_become_documents_with_their_lines() -> None:
    found = {item.document.title: item for item in module_documents(MODULE.encode(), HERE)}
    assert {title: item.document.source.line for title, item in found.items()} == {
        "demo.cache": 1,
        "Cache": 5,
        "Cache.size": 10,
        "Cache.get": 13,
        "expire": 20,
    }
    assert found["Cache"].document.id == "document:pypi://demo@1.2/demo.cache#L5"
    assert [sentence.line for sentence in found["Cache"].sentences] == [5, 7]


def test_markdown_is_cut_at_its_headings() -> None:
    text = "# Top\n\nThe first section is here.\n\n## Inner\n\nThe second section is inside the first.\n"
    found = prose_documents(text.encode(), Source("", "", "", "/d/x.md", 1))
    assert [(item.document.title, item.sentences[0].line) for item in found] == [
        ("Top", 3),
        ("Top > Inner", 7),
    ]
    assert found[1].document.id == "document:file:///d/x.md#L6"


def test_a_long_description_begins_after_the_header_fields() -> None:
    text = "Metadata-Version: 2.1\nSummary: This summary is a header field.\n\nThe demo shows how it is.\n"
    [found] = metadata_documents(text.encode(), Source("demo", "1", "README", "/m", 1))
    assert [(s.text, s.line) for s in found.sentences] == [("The demo shows how it is.", 4)]
    assert found.document.title == "demo"


def test_html_gives_visible_prose_with_its_lines_and_survives_deep_nesting() -> None:
    page = (
        "<html><head><title>No</title><script>this is never a sentence;</script></head>\n<body>\n"
        "<h1>Locks</h1>\n"
        "<p>A lock is <b>released</b> when\nits lease runs out.</p>\n"
        "<ul><li>A token\n fences off the old owner.\n"
        "<li>Tokens are never used twice.</ul><pre>the code is left out here</pre>" + "<div>" * 5000 + "</body>"
    )
    [found] = html_documents(page.encode(), Source("", "", "", "/d/x.html", 1))
    assert found.document.title == "Locks"
    assert [(sentence.text, sentence.line) for sentence in found.sentences] == [
        ("A lock is released when its lease runs out.", 4),
        ("A token fences off the old owner.", 6),
        ("Tokens are never used twice.", 8),
    ]


def test_encodings_never_fail_and_binary_and_missing_files_are_skipped_with_a_reason(tmp_path: Path) -> None:
    for name, data in {
        "latin.txt": "Das Café ist seit gestern is geöffnet für alle.".encode("latin-1"),
        "utf16.txt": "The file is written in another encoding.".encode("utf-16"),
        "binary.txt": b"\x7fELF\0\0\0 this is not a text at all",
    }.items():
        (tmp_path / name).write_bytes(data)
    assert read(_task(tmp_path / "latin.txt")).documents[0].sentences[0].text.startswith("Das Café")
    assert read(_task(tmp_path / "utf16.txt")).documents[0].sentences[0].text.endswith("another encoding.")
    assert read(_task(tmp_path / "binary.txt")).skipped == "binary"
    assert read(_task(tmp_path / "missing.txt")).skipped.startswith("unreadable")
    broken = tmp_path / "broken.py"
    broken.write_text('"""A docstring that is long enough to be read by someone."""\ndef (:\n')
    assert read(_task(broken, "module")).skipped == "not understood: SyntaxError"


def test_child_processes_read_the_same_as_this_one(tmp_path: Path) -> None:
    tasks: list[ReadTask] = []
    for number in range(20):
        file = tmp_path / f"{number}.md"
        file.write_text(f"# Number {number}\n\nThis file is number {number} of them all.\n")
        tasks.append(_task(file))
    seen: list[tuple[int, int]] = []
    here = read_files(tasks, silent, processes=0)
    there = read_files(tasks, lambda done, total: seen.append((done, total)), processes=2)
    assert there == here
    assert seen[-1] == (20, 20)


def test_a_reader_that_dies_costs_its_batch_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text("This file is read by another process.\n")
    reader = reader_pool._Reader()
    try:
        assert reader.read([_task(file)])[0].documents
        assert reader.child is not None
        reader.child.kill()
        reader.child.wait()
        assert reader.read([_task(file)])[0].skipped == "the reading process died"
        assert reader.read([_task(file)])[0].documents
    finally:
        reader.close()
