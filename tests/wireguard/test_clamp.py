"""
The middleware that clamps the maximum segment size of TCP.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.ports import OffloadPort
from tests.recorders import SuperpacketRecorder
from tests.wire.test_mss import ACK, segment
from txtuntap.packet import Packet
from txtuntap.wire.offload import NEEDS_CHECKSUM, NONE, TCP4, Offload
from txtuntap.wireguard.clamp import ClampMSS

#: The header of a segment whose checksum is open, and that of a superpacket.
OPEN = Offload(NEEDS_CHECKSUM, NONE, 44, 0, 20, 16)
SUPERPACKET = Offload(NEEDS_CHECKSUM, TCP4, 44, 1360, 20, 16)


class ClampTests(SynchronousTestCase):
    """
    Segments in both directions through a port with an MTU of 1420 octets.
    """

    def setUp(self) -> None:
        self.top = SuperpacketRecorder()
        self.clamp = ClampMSS(self.top)
        self.below = OffloadPort()
        self.below.mtu = 1420
        self.clamp.makeConnection(self.below)

    def received(self, data: bytes, offload: Offload | None = None, before: bytes = b"") -> bytes:
        """
        Receive a packet from the port, and return what the protocol has of it.
        """
        packet = Packet(before + data)
        packet.start, packet.offload = len(before), offload
        self.clamp.packetReceived(packet)
        (found,) = self.top.packets
        self.top.packets.clear()
        return found.data[found.start : found.end]

    def test_aSYNOfThePortIsClamped(self) -> None:
        for version, most in (4, 1380), (6, 1360):
            self.assertEqual(self.received(segment(version, 1460)), segment(version, most))
            self.assertEqual(self.received(segment(version, 1460), before=b"head"), segment(version, most))
        self.assertEqual(self.clamp.counters["clamped"], 4)

    def test_aSYNOfTheProtocolIsClamped(self) -> None:
        whole = segment(4, 1460, flags=18)
        for buffers in [whole], [whole[:20], whole[20:]]:
            self.clamp.writePacket(buffers)
        self.assertEqual(self.below.written, [(segment(4, 1380, flags=18), None)] * 2)
        self.assertEqual(self.clamp.counters["clamped"], 2)

    def test_otherPacketsStay(self) -> None:
        for data in segment(4, 1380), segment(4, 1460, flags=ACK), b"", b"\x45":
            self.assertEqual(self.received(data), data)
            self.clamp.writePacket([data])
            self.assertEqual(self.below.written.pop(), (data, None))
        self.assertEqual(self.clamp.counters["clamped"], 0)

    def test_anOpenChecksumStaysOpen(self) -> None:
        whole = segment(4, 1460)
        # The option is in the last four octets. The sum of the pseudo-header does not change.
        expected = whole[:-2] + (1380).to_bytes(2, "big")
        self.assertEqual(self.received(whole, OPEN), expected)
        self.clamp.writePacket([whole], OPEN)
        self.assertEqual(self.below.written, [(expected, OPEN)])

    def test_superpacketsPassInPieces(self) -> None:
        pieces = [segment(4, 1460, flags=ACK), bytes(3000)]
        self.clamp.writePacket(pieces, SUPERPACKET)
        self.assertEqual(self.below.written, [(b"".join(pieces), SUPERPACKET)])

    def test_anotherMTUIsFollowed(self) -> None:
        self.below.mtu = 1280
        self.assertEqual(self.received(segment(4, 1460)), segment(4, 1240))
