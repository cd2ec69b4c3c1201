"""
Tests for the check of interface names.
"""

from __future__ import annotations

import sys

import pytest
from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device import interfaceName, printable
from txtuntap.device.choice import makeDevice
from txtuntap.testing import TUN, MemoryDevice


class InterfaceNameTests(SynchronousTestCase):
    def test_textAndOctetsAreAccepted(self) -> None:
        self.assertEqual((interfaceName("tun0"), interfaceName(b"tun0")), (b"tun0", b"tun0"))

    def test_validNames(self) -> None:
        for name in "", "a", "fifteen-letters", "tap%d", "%d", "t%da", "...", "w\u00e4hrend", "veth@1", "-", "~":
            self.assertEqual(interfaceName(name), name.encode())

    @pytest.mark.unix("names of at most 15 octets")
    def test_aNameOfSixteenOctetsIsRefused(self) -> None:
        # twisted.pair and the kernel cut longer names to 15 octets without an error.
        for name in "sixteen-letters-", b"sixteen-letters-", "\u00e4" * 8, "tap%d-and-so-on-":
            error = self.assertRaises(ValueError, interfaceName, name)
            self.assertIn("16 bytes", str(error))
            self.assertIn("15", str(error))

    @pytest.mark.unix("names of at most 15 octets")
    def test_invalidNames(self) -> None:
        for name in "a/b", "a:b", "a b", "a\tb", "a\nb", "a\rb", "a\vb", "a\fb", "a\0b", "a\0", ".", "..":
            error = self.assertRaises(ValueError, interfaceName, name)
            self.assertIn(repr(name), str(error))

    def test_onlyOnePercentDIsAllowed(self) -> None:
        for name in "%d%d", "%s", "a%", "%%", "%%d", "%5d":
            error = self.assertRaises(ValueError, interfaceName, name)
            self.assertIn("%d", str(error))

    def test_otherTypesAreRefused(self) -> None:
        for name in None, 5, 0, True, 1.5, ["tun0"], [116, 117], ("tun0",):
            error = self.assertRaises(ValueError, interfaceName, name)
            self.assertIn("str or bytes", str(error))

    def test_WindowsHasItsOwnRules(self) -> None:
        self.patch(sys, "platform", "win32")
        for name in "", "tun%d", "Ethernet 3", "OpenVPN TAP-Windows6", "w\u00e4hrend [1]", "x" * 127:
            self.assertEqual(name.encode(), interfaceName(name))
        for name in "a/b", "a\\b", "a:b", "a*", "a?", 'a"', "<a", "a>", "a|b", " a", "a ", "a\tb", "a\0", "x" * 128:
            self.assertIn(repr(name), str(self.assertRaises(ValueError, interfaceName, name)))
        self.assertRaises(ValueError, interfaceName, "%d%d")
        self.assertRaises(ValueError, interfaceName, None)

    def test_textThatCannotBeEncodedIsRefused(self) -> None:
        self.assertRaises(ValueError, interfaceName, "\ud800")

    @pytest.mark.unix("names of at most 15 octets")
    def test_octetsThatAreNotUTF8AreAccepted(self) -> None:
        # Python encodes such octets in program arguments and file names in the same way (PEP 383).
        self.assertEqual(interfaceName("tt\udcff"), b"tt\xff")
        self.assertEqual(MemoryDevice(TUN, b"tt\xff").name, "tt\udcff")

    @pytest.mark.unix("names of at most 15 octets")
    def test_printableEscapesNames(self) -> None:
        for name, printed in (
            ("tun0", "tun0"),
            ("w\u00e4hrend", "w\u00e4hrend"),
            ("tt\udcff\udc80", r"tt\xff\x80"),
            # An incomplete UTF-8 character, and a complete one.
            ("\udcc3\u00e4", "\\xc3\u00e4"),
            ("tt\x1b[2J", r"tt\x1b[2J"),
            ("tt\u202e", r"tt\u202e"),
        ):
            self.assertEqual(printable(name), printed)

    @pytest.mark.unix("names of at most 15 octets")
    def test_devicesCheckTheirNames(self) -> None:
        for name in "a/b", b"sixteen-letters-", None:
            self.assertRaises(ValueError, makeDevice, name, TUN)
            self.assertRaises(ValueError, MemoryDevice, TUN, name)
