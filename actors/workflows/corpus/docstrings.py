"""Docstrings of a Python file, read with `ast`: the file is never imported, so nothing of it runs."""

import ast
import warnings
from collections.abc import Iterator

from lightning_state.actors.workflows.corpus.blocks import Line, dedent
from lightning_state.actors.workflows.corpus.document import Document, ReadDocument, Source, document_id
from lightning_state.actors.workflows.corpus.sentences import sentences

MIN_CHARACTERS = 40
"""A shorter docstring ("Close the file.") says no more than its name."""
_DESCRIBING = {
    "description",
    "doc",
    "help",
}  # keywords by which a field describes itself: `Field(description="…")`


def module_documents(data: bytes, source: Source) -> list[ReadDocument]:
    """A document for the module and for each public class, function and described field in it.

    Raises SyntaxError or ValueError when the file is not Python of this version.
    """
    if b'"""' not in data and b"'''" not in data and b"description=" not in data:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings
        tree = ast.parse(data)
    found: list[ReadDocument] = []
    for name, text in _texts(tree):
        document = _document(name, text, source)
        if document is not None:
            found.append(document)
    return found


def _texts(tree: ast.Module) -> Iterator[tuple[str, ast.Constant]]:
    if text := _docstring(tree):
        yield "", text
    yield from _members(tree.body, "")


def _members(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.Constant]]:
    for node in body:
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() if not node.name.startswith("_"):
                if text := _docstring(node):
                    yield prefix + node.name, text
                if isinstance(node, ast.ClassDef):
                    yield from _members(node.body, f"{prefix}{node.name}.")
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Call() as call) if prefix:
                if text := _description(call):
                    yield prefix + name, text
            case ast.If() | ast.Try():
                yield from _members([*node.body, *node.orelse], prefix)
            case _:
                pass


def _docstring(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> ast.Constant | None:
    match node.body[:1]:
        case [ast.Expr(value=ast.Constant(value=str()) as text)]:
            return text
        case _:
            return None


def _description(call: ast.Call) -> ast.Constant | None:
    for keyword in call.keywords:
        if keyword.arg in _DESCRIBING and isinstance(keyword.value, ast.Constant):
            return keyword.value if isinstance(keyword.value.value, str) else None
    return None


def _lines(text: ast.Constant) -> list[Line]:
    """The text's lines with their numbers; all carry the first when escapes hide where the others stand."""
    rows = str(text.value).split("\n")
    exact = (text.end_lineno or text.lineno) - text.lineno == len(rows) - 1
    return [(text.lineno + (index if exact else 0), row) for index, row in enumerate(rows)]


def _document(name: str, text: ast.Constant, source: Source) -> ReadDocument | None:
    value = str(text.value)
    if len(value) < MIN_CHARACTERS:
        return None
    here = source.at(text.lineno)
    found = sentences(dedent(_lines(text)), name.rsplit(".", 1)[-1])
    return ReadDocument(Document(document_id(here), name or source.module, value, here), found)
