"""
Tests that docstrings and comments begin as CONTRIBUTING.md ("Prose") asks.
"""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

CHECKOUT = Path(__file__).parent.parent

#: The words that a sentence must not begin with, because they stand for a subject without naming it.
NAMELESS = {"Likewise", "Nobody", "Of", "Somebody", "Something", "Such", "That", "Those", "What", "Who", "Whoever"}

#: The fewest words in the first sentence of a docstring.
FEWEST = 4

#: The first sentences of docstrings that are allowed to be shorter.
SHORT_ENOUGH: set[str] = set()

#: The end of a sentence: a full stop, exclamation mark or question mark before a capital letter or the end of the text.
_END = re.compile(r"[.!?][)\"']*(?=\s+[A-Z`\"']|\s*$)|\n\s*\n")

#: The markup of epytext around a word.
_MARKUP = re.compile(r"\b[A-Z]\{([^{}<]*)[^{}]*\}")


@attrs.frozen
class Text:
    """
    A docstring, or the lines of a comment.

    @ivar line: the number of the text's first line in the file.
    @ivar isDocstring: whether it is a docstring.
    @ivar text: the text without quotes, signs and indentation.
    """

    line: int
    isDocstring: bool
    text: str

    def sentences(self) -> list[str]:
        """
        Split the text into sentences, without its fields and its indented blocks.
        """
        prose = re.sub(r"(?m)^(@| {2,}).*(\n {2,}.*)*", "", self.text)
        return [sentence for part in _END.split(prose) if (sentence := " ".join(part.split()))]

    def faults(self) -> Iterator[str]:
        """
        Describe each fault of the text against the rules.
        """
        sentences = self.sentences()
        for number, sentence in enumerate(sentences):
            word = re.findall(r"^\w+|^", sentence)[0]
            if word in NAMELESS or (word == "It" and self.isDocstring and not number):
                yield f"{word!r} names no subject: {sentence!r}"
        if self.isDocstring and sentences:
            first = _MARKUP.sub(r"\1", sentences[0])
            if len(first.split()) < FEWEST and first not in SHORT_ENOUGH:
                yield f"fewer than {FEWEST} words: {first!r}"


def texts(path: Path) -> Iterator[Text]:
    """
    Find the docstrings and comments of a file.
    """
    source = path.read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text is not None:
                yield Text(node.body[0].lineno, True, text)
    block: list[str] = []
    begun = last = 0
    goesOn = False
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type != tokenize.COMMENT or token.string.startswith("#!"):
                continue
            isAlone = not token.line[: token.start[1]].strip()
            if block and not (goesOn and isAlone and token.start[0] == last + 1):
                yield Text(begun, False, "\n".join(block))
                block = []
            if not block:
                begun, goesOn = token.start[0], isAlone
            block.append(re.sub(r"^#:? ?", "", token.string))
            last = token.start[0]
    if block:
        yield Text(begun, False, "\n".join(block))


def folders() -> dict[str, list[Path]]:
    """
    Find the Python files of the project, by folder. C{tests} is one folder, and each folder of the package another.
    """
    found: dict[str, list[Path]] = {}
    for top in "benchmarks", "examples", "tests", "twisted", "txtuntap":
        for path in sorted((CHECKOUT / top).rglob("*.py")):
            parts = path.relative_to(CHECKOUT).parts
            folder = "/".join(parts[:2]) if top == "txtuntap" and len(parts) > 2 else top
            found.setdefault(folder, []).append(path)
    return found


@pytest.mark.parametrize("folder", sorted(folders()))
def test_docstringsAndCommentsBeginAsAsked(folder: str) -> None:
    faults = [
        f"{path.relative_to(CHECKOUT)}:{text.line}: {fault}"
        for path in folders()[folder]
        for text in texts(path)
        for fault in text.faults()
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("text", "isDocstring", "number"),
    [
        ("The address of a host.", True, 0),
        ("Of a host, the address.", True, 1),
        ("It is the address of a host.", True, 1),
        ("The address of a host. Those of others are elsewhere.", True, 1),
        ("The address of a host (RFC 791, section 3.1).", True, 0),
        ("An address.", True, 1),
        ("L{Host<txtuntap.Host>} and addresses.", True, 1),
        ("A short one", False, 0),
        ("What is forged is counted.", False, 1),
        ("It is forged.", False, 0),
        ("The address of a host.\n\n@param it: Those of others.", True, 0),
        ("The address of a host::\n\n    Those of others.", True, 0),
        ("The address of a host.\n\nThose of others.", True, 1),
    ],
)
def test_faultsAreFound(text: str, isDocstring: bool, number: int) -> None:
    assert len(list(Text(1, isDocstring, text).faults())) == number


def test_textsAreFound(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    lines = ["#!/usr/bin/python", '"""One."""', "", "#: Two,", "#: and more.", "x = 1  # three", "# four"]
    path.write_text("\n".join([*lines, "", "def f():", '    """Five."""', ""]))
    assert [(text.line, text.isDocstring, text.text) for text in texts(path)] == [
        (2, True, "One."),
        (10, True, "Five."),
        (4, False, "Two,\nand more."),
        (6, False, "three"),
        (7, False, "four"),
    ]
