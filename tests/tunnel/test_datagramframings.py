"""
Tests for the framings of datagrams: L{txtuntap.tunnel.bare} and L{txtuntap.tunnel.vxlan}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import binary, integers
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txtuntap.device import TAP, TUN
from txtuntap.layer.drops import Drop
from txtuntap.tunnel.bare import Bare
from txtuntap.tunnel.framing import IDatagramFraming, UnpackError
from txtuntap.tunnel.vxlan import VXLAN
from txtuntap.wire.vxlan import MAX_VNI, packHeader


class BareTests(SynchronousTestCase):
    """
    Tests for the framing without headers, L{Bare}.
    """

    def test_theFramingProvidesItsInterface(self) -> None:
        self.assertTrue(verifyObject(IDatagramFraming, Bare(TUN)))

    @given(binary(max_size=50))
    def test_thePacketIsTheDatagram(self, packet: bytes) -> None:
        for mode in TUN, TAP:
            framing = Bare(mode)
            self.assertEqual(framing.overhead, 0)
            self.assertEqual(framing.pack(packet), [packet])
            self.assertEqual(framing.unpack(packet), packet)

    @given(binary(max_size=50))
    def test_protocolInformationIsAddedAndRemoved(self, packet: bytes) -> None:
        for mode in TUN, TAP:
            framing = Bare(mode, pi=True)
            self.assertEqual(framing.overhead, 4)
            datagram = b"".join(framing.pack(packet))
            self.assertEqual(len(datagram), len(packet) + 4)
            self.assertEqual(framing.unpack(datagram), packet)

    def test_protocolInformationHasTheEtherType(self) -> None:
        self.assertEqual(Bare(TUN, pi=True).pack(b"\x45...")[0], b"\0\0\x08\0")
        self.assertEqual(Bare(TUN, pi=True).pack(b"\x60...")[0], b"\0\0\x86\xdd")
        self.assertEqual(Bare(TAP, pi=True).pack(memoryview(bytes(12) + b"\x08\x06..."))[0], b"\0\0\x08\x06")

    def test_aDatagramShorterThanProtocolInformationIsCounted(self) -> None:
        for length in range(4):
            error = self.assertRaises(UnpackError, Bare(TUN, pi=True).unpack, bytes(length))
            self.assertEqual(error.drop, Drop.FRAMING)


class VXLANTests(SynchronousTestCase):
    """
    Tests for the framing of VXLAN, L{VXLAN}.
    """

    def test_theFramingProvidesItsInterface(self) -> None:
        self.assertTrue(verifyObject(IDatagramFraming, VXLAN(TAP, 42)))

    @given(integers(0, MAX_VNI), binary(max_size=50))
    def test_aFrameIsUnpackedAsItWasPacked(self, vni: int, frame: bytes) -> None:
        framing = VXLAN(TAP, vni)
        datagram = b"".join(framing.pack(frame))
        self.assertEqual(len(datagram), len(frame) + framing.overhead)
        self.assertEqual(framing.unpack(datagram), frame)

    def test_otherNetworksAreCounted(self) -> None:
        error = self.assertRaises(UnpackError, VXLAN(TAP, 42).unpack, packHeader(43) + bytes(60))
        self.assertEqual(error.drop, Drop.OTHER_NETWORK)

    @given(binary(max_size=50))
    def test_garbageIsCounted(self, datagram: bytes) -> None:
        try:
            VXLAN(TAP, 42).unpack(datagram)
        except UnpackError as e:
            self.assertIn(e.drop, (Drop.FRAMING, Drop.OTHER_NETWORK))

    def test_aHeaderWithoutTheVNIFlagIsRefused(self) -> None:
        self.assertEqual(self.assertRaises(UnpackError, VXLAN(TAP, 0).unpack, bytes(60)).drop, Drop.FRAMING)

    def test_aTunIsRefused(self) -> None:
        self.assertIn("tap", str(self.assertRaises(ValueError, VXLAN, TUN, 42)))

    def test_aVNIOutOfRangeIsRefused(self) -> None:
        for vni in -1, MAX_VNI + 1:
            self.assertIn(str(vni), str(self.assertRaises(ValueError, VXLAN, TAP, vni)))
