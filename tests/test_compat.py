"""
Twisted's own tests of C{twisted.pair}, run with C{txtuntap} in their imports. They show that a program which replaces
C{twisted.pair} by C{txtuntap} in its imports still works.
"""

from __future__ import annotations

import ast
import importlib.util
import pathlib
import sys
import tempfile
import unittest
from types import ModuleType

import pytest
import twisted.pair.test
from twisted.trial.unittest import SynchronousTestCase

PREFIX = "compat_"

FIRST_OCTET = "the first octet of its headers is 0x54, with version and header length swapped: that is version 5"
EIGHT_BITS = "it treats an IP protocol number as 32 bits wide, but the field has 8 bits"
UDP_LENGTH = "its datagrams of 14 octets have a UDP length of 6, which is less than the length of the header"
PRIVATE_INTERFACE = "it verifies a private interface of twisted.pair, whose ioctl has an argument that no caller passes"
PRIVATE_ATTRIBUTE = "it reads a private attribute, port._system"
WORDING = "it compares the words of a deprecation warning"

#: The tests that have to fail, each with the reason.
EXPECTED = {
    "test_ip.IPTests.testAddingBadProtos_TooBig": EIGHT_BITS,
    "test_ip.IPTests.testAddingBadProtos_TooBig2": EIGHT_BITS,
    "test_ip.IPTests.testDemuxing": FIRST_OCTET,
    "test_ip.IPTests.testMultiplePackets": FIRST_OCTET,
    "test_ip.IPTests.testMultipleSameProtos": FIRST_OCTET,
    "test_ip.IPTests.testPacketParsing": FIRST_OCTET,
    "test_rawudp.RawUDPTests.testDemuxing": UDP_LENGTH,
    "test_rawudp.RawUDPTests.testMultiplePackets": UDP_LENGTH,
    "test_rawudp.RawUDPTests.testMultipleSameProtos": UDP_LENGTH,
    "test_rawudp.RawUDPTests.testPacketParsing": UDP_LENGTH,
    "test_tuntap.FakeTapDeviceTests.test_interface": PRIVATE_INTERFACE,
    "test_tuntap.FakeTapDeviceWithPITests.test_interface": PRIVATE_INTERFACE,
    "test_tuntap.FakeTunDeviceTests.test_interface": PRIVATE_INTERFACE,
    "test_tuntap.TapTests.test_loseConnection": WORDING,
    "test_tuntap.TunTests.test_loseConnection": WORDING,
    "test_tuntap.TunnelAddressTests.test_indexing": WORDING,
    "test_tuntap.TuntapPortTests.test_realSystem": PRIVATE_ATTRIBUTE,
}


class Replaced(ast.NodeTransformer):
    """
    A transformer that imports public names from C{txtuntap}. Names with an underscore belong to the tests' own tools
    and are still imported from C{twisted.pair}.
    """

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.ImportFrom] | ast.ImportFrom:
        module = node.module or ""
        if module.split(".")[:2] != ["twisted", "pair"]:
            return node
        public = [alias for alias in node.names if not alias.name.startswith("_")]
        private = [alias for alias in node.names if alias.name.startswith("_")]
        replaced = module.replace("twisted.pair", "txtuntap", 1)
        return [ast.ImportFrom(name, names, 0) for name, names in ((replaced, public), (module, private)) if names]


def replacedModule(name: str, directory: str) -> ModuleType:
    """
    Import a module of Twisted's tests with replaced imports.
    """
    source = pathlib.Path(twisted.pair.test.__path__[0], f"{name}.py").read_text()
    tree = ast.fix_missing_locations(Replaced().visit(ast.parse(source)))
    path = pathlib.Path(directory, f"{PREFIX}{name}.py")
    path.write_text(ast.unparse(tree))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Tests that flush their warnings find their module in sys.modules by this name.
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def runAll(module: ModuleType) -> tuple[set[str], dict[str, str]]:
    """
    Run the tests in a module, except for the tests that need a prepared real device.

    @return: the names of the tests that were run, and the tracebacks of those that failed, by name.
    """
    result = unittest.TestResult()
    loader = unittest.TestLoader()
    ran = set()
    for name, cls in sorted(vars(module).items()):
        if isinstance(cls, type) and issubclass(cls, unittest.TestCase) and not name.startswith("RealDevice"):
            for method in loader.getTestCaseNames(cls):
                case = cls(method)
                ran.add(identity(case))
                case.run(result)
    return ran, {identity(case): text for case, text in [*result.errors, *result.failures]}


def identity(case: unittest.TestCase) -> str:
    return case.id().removeprefix(PREFIX)


class CompatibilityTests(SynchronousTestCase):
    def outcome(self, name: str, least: int) -> None:
        """
        Run a module of tests, and compare the failures with the expected ones.

        @param least: the least number of tests that the module must have.
        """
        with tempfile.TemporaryDirectory() as directory:
            ran, failed = runAll(replacedModule(name, directory))
        self.assertGreaterEqual(len(ran), least)
        expected = {case for case in EXPECTED if case.startswith(f"{name}.")}
        self.assertEqual(expected - ran, set(), "expected to fail, and not there")
        self.assertEqual(expected - set(failed), set(), "expected to fail, and did not")
        unexpected = "\n".join(failed[case] for case in sorted(set(failed) - expected))
        self.assertEqual(unexpected, "", f"failed, and should not have:\n{unexpected}")

    def test_twistedsTestsOfEthernetPass(self) -> None:
        self.outcome("test_ethernet", 9)

    def test_twistedsTestsOfIPPass(self) -> None:
        self.outcome("test_ip", 9)

    def test_twistedsTestsOfRawUDPPass(self) -> None:
        self.outcome("test_rawudp", 9)

    @pytest.mark.linux
    def test_twistedsTestsOfTuntapPass(self) -> None:
        self.outcome("test_tuntap", 80)
