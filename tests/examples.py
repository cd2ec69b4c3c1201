"""
The examples in docstrings and in the documentation.
"""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import attrs

from tests.certificates import certificate
from tests.paths import CHECKOUT, DOCS

#: A configuration file of WireGuard, with the keys of wg(8).
WIREGUARD = """[Interface]
PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=
Address = 10.9.0.2/24
ListenPort = 51820

[Peer]
PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
AllowedIPs = 10.9.0.0/24
"""

_FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.M | re.S)
_INDENTED = re.compile(r"(?:^|\n\n)((?: {4}.*\n?)+(?:\n(?: {4}.*\n?)+)*)")

#: The prompts before the command lines of a terminal: of root, and of any user.
_PROMPTS = "# ", "$ "


@attrs.frozen
class Snippet:
    """
    A block of code or text in a docstring or in the documentation.

    @ivar name: the name of the file and the number in the file.
    @ivar language: the language that a fenced block states; empty if it states none.
    @ivar text: the text of the block.
    """

    name: str
    language: str
    text: str

    @property
    def isDocumentation(self) -> bool:
        """
        Whether the snippet is in README or in the documentation, and not in a docstring.
        """
        return ".md " in self.name

    @property
    def isPython(self) -> bool:
        """
        Whether the snippet is Python. A block without a language is, if it is valid Python with a statement.
        """
        if self.language:
            return self.language == "python"
        with warnings.catch_warnings():
            # A command line may contain escapes for which the Python parser warns.
            warnings.simplefilter("ignore")
            try:
                return bool(ast.parse(self.text).body)
            except SyntaxError:
                return False

    @property
    def isPicture(self) -> bool:
        """
        Whether the snippet is a picture made of lines and arrows, a directive of the site, or text that is no code.
        """
        return (
            self.language in ("text", "mermaid", "nginx")
            or self.language.startswith("{")
            or (not self.language and bool(re.search("[▲▼│─]", self.text)))
        )

    @property
    def lines(self) -> list[str]:
        """
        The command lines of the snippet, without prompts. Lines without a prompt are output if others have one.
        """
        lines = [line.rstrip() for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]
        prompted = [line[2:] for line in lines if line.startswith(_PROMPTS)]
        return prompted or [line.strip() for line in lines]


@cache
def snippets() -> list[Snippet]:
    """
    Find every snippet: first those of README and of the documentation, then those of docstrings.
    """
    counts: dict[str, int] = {}
    found = []
    for name, text in _texts():
        blocks = [(match[1].strip(), match[2], match.start()) for match in _FENCED.finditer(text)]
        # A fenced block leaves as many characters, so that the positions of the others stay the same.
        rest = _FENCED.sub(lambda match: "\n" * len(match[0]), text)
        blocks += [("", textwrap.dedent(match[1]), match.start(1)) for match in _INDENTED.finditer(rest)]
        for language, block, _ in sorted(blocks, key=lambda block: block[2]):
            counts[name] = counts.get(name, 0) + 1
            found.append(Snippet(f"{name} {counts[name]}", language, block))
    return found


def _texts() -> Iterator[tuple[str, str]]:
    yield "README.md", (CHECKOUT / "README.md").read_text()
    for path in sorted(DOCS.rglob("*.md")):
        yield str(path.relative_to(DOCS)), path.read_text()
    for path in sorted((CHECKOUT / "txtuntap").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                yield str(path.relative_to(CHECKOUT)), text


@cache
def examples() -> dict[str, str]:
    """
    Find every example that is Python.

    @return: the examples, by the name of the file and the number in the file.
    """
    return {snippet.name: snippet.text for snippet in snippets() if snippet.isPython}


@cache
def commands() -> list[tuple[str, str]]:
    """
    Find every command line of C{twistd tuntap}, C{txtuntap} and the helper.

    @return: the name of the snippet and the line of each.
    """
    found = []
    for snippet in snippets():
        for line in snippet.text.replace("\\\n", " ").splitlines():
            if re.search(r"(^|[$#] |\brn )(twistd|txtuntap|python -I -m txtuntap\.device\.helper) ", line):
                found.append((snippet.name, line.strip()))
    return found


def makeFiles(directory: Path) -> str:
    """
    Make the certificates and the WireGuard configuration that the command lines name.

    @return: the pin of one of the certificates.
    """
    for name in "one", "other", "me", "peer":
        made = certificate(directory, name)
        (directory / f"{name}.pem").write_text(Path(made.file).read_text())
        (directory / f"{name}.crt").write_text(Path(made.public).read_text())
    (directory / "wg0.conf").write_text(WIREGUARD)
    (directory / "wg0.conf").chmod(0o600)
    return made.pin


def filledIn(line: str, pin: str) -> str:
    """
    Replace the pins in a command line by that of a certificate, and the names of a user and a group by existing ones.
    """
    pinned = re.sub(r"<fingerprint of \w+'s>|\$O\w+", pin, line)
    return pinned.replace("alice:", "root:").replace("@dns:", "@0:")


def wordsOf(line: str, pin: str) -> list[str]:
    """
    Split a command line into words, without redirections and the programs that read its output.
    """
    return shlex.split(re.sub(r" [<>] \S+", "", filledIn(line, pin).partition(" | ")[0]))
