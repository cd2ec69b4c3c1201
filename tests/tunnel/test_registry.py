"""
Tests for the framings by name: L{txtuntap.tunnel.registry}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device import TAP, TUN
from txtuntap.tunnel.frames import Frames
from txtuntap.tunnel.qemu import QEMUStream
from txtuntap.tunnel.registry import DATAGRAM_FRAMINGS, STREAM_FRAMINGS, framingOf
from txtuntap.tunnel.socat import SocatStream
from txtuntap.tunnel.vxlan import VXLAN


class FramingOfTests(SynchronousTestCase):
    """
    Tests for the function L{framingOf}.
    """

    def refused(self, text: str, framings: Any = DATAGRAM_FRAMINGS) -> str:
        return str(self.assertRaises(ValueError, framingOf, text, framings))

    def test_streamFramingsAreFoundByName(self) -> None:
        self.assertIsInstance(framingOf("txtuntap", STREAM_FRAMINGS)(TUN), Frames)
        self.assertIsInstance(framingOf("qemu", STREAM_FRAMINGS)(TAP), QEMUStream)
        self.assertIsInstance(framingOf("socat", STREAM_FRAMINGS)(TUN), SocatStream)

    def test_datagramFramingsAreFoundByName(self) -> None:
        for name in "bare", "qemu", "socat":
            self.assertEqual(framingOf(name, DATAGRAM_FRAMINGS)(TAP).pack(b"frame"), [b"frame"])

    def test_argumentsArePassedToTheFraming(self) -> None:
        framing = framingOf("vxlan:vni=42", DATAGRAM_FRAMINGS)(TAP)
        assert isinstance(framing, VXLAN)
        self.assertEqual(framing.vni, 42)
        for text, overhead in ("bare", 0), ("bare:pi=no", 0), ("bare:pi=yes", 4):
            self.assertEqual(framingOf(text, DATAGRAM_FRAMINGS)(TUN).overhead, overhead)

    def test_aFramingOfTheOtherKindIsRefused(self) -> None:
        self.assertIn("qemu", self.refused("vxlan:vni=42", STREAM_FRAMINGS))
        self.assertIn("vxlan", self.refused("txtuntap"))

    def test_errorsSayWhatToDo(self) -> None:
        self.assertIn("vxlan:vni=", self.refused("vxlan"))
        self.assertIn("a number", self.refused("vxlan:vni=x"))
        self.assertIn("a number", self.refused("vxlan:vni"))
        self.assertIn("yes or no", self.refused("bare:pi=1"))
        self.assertIn("but vni", self.refused("vxlan:vni=1:port=5"))
        self.assertIn("takes no argument 'pi'", self.refused("qemu:pi=yes", STREAM_FRAMINGS))

    def test_aModeThatTheFramingCannotCarryIsRefused(self) -> None:
        self.assertRaises(ValueError, framingOf("qemu", STREAM_FRAMINGS), TUN)
        self.assertRaises(ValueError, framingOf("qemu", DATAGRAM_FRAMINGS), TUN)
        self.assertRaises(ValueError, framingOf("vxlan:vni=16777216", DATAGRAM_FRAMINGS), TAP)
