"""
Tests that every link in a docstring names an object that exists.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import re
from collections.abc import Iterator

import pytest
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.interface import InterfaceClass

from tests.test_structure import MODULES

#: A link of epytext: L{target}, or L{text<target>}.
LINK = re.compile(r"L\{(?:[^{}<]*<)?([^{}<>]+)>?\}")


def docstrings(node: ast.AST, classes: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """
    Find every docstring below a node, with the names of the classes that contain it.
    """
    if isinstance(node, ast.ClassDef):
        classes = (*classes, node.name)
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield classes, ast.get_docstring(node, clean=False) or ""
    for child in ast.iter_child_nodes(node):
        yield from docstrings(child, classes)


@functools.cache
def instanceAttributes(cls: type) -> set[str]:
    """
    Find the attributes that the methods of a class set on its instances, or that its body declares.
    """
    names: set[str] = set()
    for each in cls.__mro__:
        names |= inspect.get_annotations(each).keys()
        if each.__module__.startswith("txtuntap"):
            nodes = list(ast.walk(ast.parse(inspect.cleandoc("\n" + inspect.getsource(each)))))
            stored = [each for each in nodes if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store)]
            names |= {each.attr for each in stored if ast.unparse(each.value) == "self"}
    return names


def has(owner: object, name: str) -> bool:
    """
    Whether an object, or an instance of it if it is a class, has an attribute of a name.
    """
    if isinstance(owner, InterfaceClass):
        return owner.get(name) is not None
    return hasattr(owner, name) or (isinstance(owner, type) and name in instanceAttributes(owner))


def leadsFrom(owner: object, names: list[str]) -> bool:
    """
    Whether a chain of attributes exists below an object.
    """
    for name in names[:-1]:
        owner = getattr(owner, name, None)
    return has(owner, names[-1])


def isImportable(target: str) -> bool:
    """
    Whether a dotted name is a module, or an object in one.
    """
    names = target.split(".")
    for length in range(len(names), 0, -1):
        try:
            module = importlib.import_module(".".join(names[:length]))
        except ImportError:
            continue
        return length == len(names) or leadsFrom(module, names[length:])
    return False


def exists(target: str, module: object, classes: tuple[str, ...]) -> bool:
    """
    Whether a link names an object: in its class, in its module, among the builtins, or by a dotted name.
    """
    names = target.split(".")
    owners = [module]
    for name in classes:
        owners.append(getattr(owners[-1], name, None))
    return any(leadsFrom(owner, names) for owner in (*owners, builtins)) or ("." in target and isImportable(target))


class LinkTests(SynchronousTestCase):
    """
    Tests for the links in the package's docstrings.
    """

    @pytest.mark.linux
    def test_everyLinkNamesSomethingThatExists(self) -> None:
        broken = []
        for name, path in MODULES.items():
            module = importlib.import_module(".".join(filter(None, ("txtuntap", name))))
            for classes, text in docstrings(ast.parse(path.read_text())):
                for target in LINK.findall(" ".join(text.split())):
                    if not exists(target, module, classes):
                        broken.append(f"{name}: {target}")
        self.assertFalse(broken, "\n".join(broken))

    def test_missingNamesAreFound(self) -> None:
        module = importlib.import_module("txtuntap.tuntap")
        self.assertTrue(exists("txtuntap.tuntap.TuntapPort", module, ()))
        self.assertTrue(exists("startListening", module, ("TuntapPort",)))
        for target in ("txtuntap.tuntap.NoPort", "txtuntap.nothing", "startListening", "TuntapPort.noSuchName"):
            self.assertFalse(exists(target, module, ()), target)
