"""
The examples in docstrings and in the documentation.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator
from functools import cache

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

_FENCED = re.compile(r"^```(?:python)?\n(.*?)^```$", re.M | re.S)
_INDENTED = re.compile(r"(?:^|\n\n)((?: {4}.*\n?)+(?:\n(?: {4}.*\n?)+)*)")


def _blocks(text: str) -> list[str]:
    fenced = _FENCED.findall(text)
    return [*fenced, *map(textwrap.dedent, _INDENTED.findall(_FENCED.sub("", text)))]


def _texts() -> Iterator[tuple[str, str]]:
    for path in [CHECKOUT / "README.md", *sorted(DOCS.glob("*.md"))]:
        yield path.name, path.read_text()
    for path in sorted((CHECKOUT / "txtuntap").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                yield str(path.relative_to(CHECKOUT)), text


def _isPython(block: str) -> bool:
    with warnings.catch_warnings():
        # A command line may contain escapes for which the Python parser warns.
        warnings.simplefilter("ignore")
        try:
            ast.parse(block)
        except SyntaxError:
            return False
    return True


@cache
def examples() -> dict[str, str]:
    """
    Find every example that is Python.

    @return: the examples, by the name of the file and the number in the file.
    """
    found: dict[str, list[str]] = {}
    for name, text in _texts():
        found.setdefault(name, []).extend(filter(_isPython, _blocks(text)))
    return {f"{name} {number}": block for name, blocks in found.items() for number, block in enumerate(blocks, 1)}


@cache
def commands() -> list[tuple[str, str]]:
    """
    Find every command line of C{twistd tuntap}, C{txtuntap} and the helper.

    @return: the name of the file and the line of each.
    """
    found = []
    for name, text in _texts():
        for block in _blocks(text):
            for line in block.replace("\\\n", " ").splitlines():
                if re.search(r"(^|[$#] |\brn )(twistd|txtuntap|python -I -m txtuntap\.device\.helper) ", line):
                    found.append((name, line.strip()))
    return found
