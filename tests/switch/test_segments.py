"""
TCP segments that are read together, and leave a switch as a superpacket.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.superpackets import superpacket
from tests.switch.switching import A, B, frame, tagged
from txtuntap import Packet, TuntapPort
from txtuntap.device import TAP
from txtuntap.layer.relay import EVERYTHING
from txtuntap.middleware.base import Middleware
from txtuntap.network.link import Link
from txtuntap.switch import Switch
from txtuntap.switch.port import MAX_HELD, MIN_HELD, SwitchPort
from txtuntap.testing import MemoryDevice, ethernetFrame, udpPacket
from txtuntap.wire.offload import TCP4, TCP6, finish


def segments(version: int = 4, count: int = 10, dest: bytes = B, octets: int = 1000, source: bytes = A) -> list[bytes]:
    """
    Make the frames that a kernel cuts a superpacket into.
    """
    link = dest + source + (b"\x08\x00" if version == 4 else b"\x86\xdd")
    kind = TCP4 if version == 4 else TCP6
    payload = bytes(number * 7 & 0xFF for number in range(count * octets))
    packet, offload, network = superpacket(version, kind, payload, octets, link=link)
    return finish(packet, offload, network)


class SegmentTests(SynchronousTestCase):
    """
    A switch between taps in memory. The device of A takes no superpackets, that of B does.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.switch = Switch(self.clock)
        self.devices: list[MemoryDevice] = []
        self.ports: list[SwitchPort] = []
        for features in 0, EVERYTHING:
            self.plug(features)
        # The switch learns on which port B is.
        self.read(1, frame(B, A))
        self.devices[0].sent.clear()

    def plug(self, features: int = EVERYTHING, vlan: int = 1) -> None:
        """
        Add one more port with a device.
        """
        device = MemoryDevice(TAP, features=features)
        self.ports.append(self.switch.addPort(vlan=vlan))
        TuntapPort("", self.ports[-1], reactor=self.clock, device=device).startListening()
        self.devices.append(device)

    def read(self, number: int, *frames: bytes) -> None:
        """
        Have the switch read frames from a device in one turn.
        """
        for each in frames:
            self.devices[number].deliver(each)
        self.clock.advance(0)

    def test_segmentsOfOneReadLeaveAsOne(self) -> None:
        for version in 4, 6:
            frames = segments(version)
            self.read(0, *frames)
            self.assertEqual(self.devices[1].sent, frames)
            ((_, offload),) = self.devices[1].superpackets
            self.assertFalse(offload.isOpen)
            self.assertEqual(self.ports[1].counters.outFrames, 10)
            self.devices[1].sent.clear()
            self.devices[1].superpackets.clear()
            self.ports[1].counters.clear()

    def test_theOrderStays(self) -> None:
        one, other = segments(), segments(6)
        between = ethernetFrame(A, B, 0x0800, udpPacket("10.0.0.1", "10.0.0.2", 1, 2, bytes(1000)))
        frames = [*one[:4], frame(A, B), *one[4:8], between, *other[:3], *one[8:], *other[3:]]
        self.read(0, *frames)
        self.assertEqual(self.devices[1].sent, frames)
        self.assertEqual(len(self.devices[1].superpackets), 5)

    def test_aCorruptedSegmentStaysAsItIs(self) -> None:
        for version in 4, 6:
            self.devices[1].sent.clear()
            self.devices[1].superpackets.clear()
            frames = segments(version)
            frames[3] = frames[3][:500] + bytes([frames[3][500] ^ 1]) + frames[3][501:]
            self.read(0, *frames)
            self.assertEqual(self.devices[1].sent, frames)
            self.assertEqual(len(self.devices[1].superpackets), 2)

    def test_nothingWaitsForTheNextRead(self) -> None:
        frames = segments()
        for each in frames:
            self.read(0, each)
        self.assertEqual((self.devices[1].sent, self.devices[1].superpackets), (frames, []))

    def test_aDeviceWithoutSuperpacketsHasSegments(self) -> None:
        self.read(0, frame(A, B))
        frames = segments(dest=A, source=B)
        self.read(1, *frames)
        self.assertEqual((self.devices[0].sent, self.devices[0].superpackets), (frames, []))

    def test_aFloodLeavesByEachPortAsItCan(self) -> None:
        self.plug()
        self.plug(0)
        frames = segments(dest=b"\x02\0\0\0\0\x09")
        self.read(0, *frames)
        self.assertEqual([device.sent for device in self.devices[1:]], [frames] * 3)
        self.assertEqual([len(device.superpackets) for device in self.devices[1:]], [1, 1, 0])

    def test_taggedFramesStayAlone(self) -> None:
        trunk = self.switch.addPort(vlan=None, trunk=[1])
        device = MemoryDevice(TAP, features=EVERYTHING)
        TuntapPort("", trunk, reactor=self.clock, device=device).startListening()
        frames = segments(dest=b"\x02\0\0\0\0\x09")
        self.read(0, *frames)
        self.assertEqual((device.sent, device.superpackets), ([tagged(each, 1) for each in frames], []))

    def test_aLinkHasSegments(self) -> None:
        # The protocol at its other end may have to cut superpackets again.
        port = self.switch.addPort()
        other = Switch(self.clock)
        link = Link(other.addPort(), port, self.clock)
        link.start()
        self.addCleanup(link.stop)
        self.read(0, *segments(dest=b"\x02\0\0\0\0\x09"))
        self.clock.advance(0)
        self.assertEqual(link.ends[1].counters["outSuperpackets"], 0)
        self.assertEqual(link.ends[1].counters.outPackets, 10)

    def test_notTooManyAreHeld(self) -> None:
        frames = segments(count=MAX_HELD + 5, octets=MIN_HELD)
        self.read(0, *frames)
        self.assertEqual(self.devices[1].sent, frames)
        self.assertEqual(len(self.devices[1].superpackets), 2)

    def test_framesOfAPortThatIsRemovedAreDropped(self) -> None:
        switch, ports = self.switch, self.ports

        class Removing(Middleware):
            """
            Removes the port of B with the first frame that B sends.
            """

            takesOffload = True

            def packetReceived(self, packet: Packet) -> None:
                self.deliver(packet)
                if packet.data[6:12] == B:
                    switch.removePort(ports[1])

        device = MemoryDevice(TAP)
        TuntapPort("", Removing(switch.addPort()), reactor=self.clock, device=device).startListening()
        for each in [*segments(), frame(B, A)]:
            device.deliver(each)
        self.clock.advance(0)
        self.assertEqual((self.devices[1].sent, ports[1].counters["outDiscards"]), ([], 10))
