"""
Tests for L{txtuntap.tcp.path}: the headers that are kept for the segments of one connection.
"""

from __future__ import annotations

from typing import Any

from tests.tcp.hosts import HalfTalker, HostsTestCase
from tests.tcp.served import HERE, LayerTestCase
from txtuntap.network.link import LinkEnd
from txtuntap.tcp import path
from txtuntap.wire.offload import CSUM, TSO4, TSO6
from txtuntap.wire.tcp import packSynOptions

_DONT_FRAGMENT = 0x40


class KeptHeadersTests(LayerTestCase):
    """
    The port finishes checksums, so headers are kept after some segments.
    """

    features = CSUM | TSO4 | TSO6

    def talk(self, version: int = 4) -> Any:
        """
        Have a connection by which so much was sent that headers are kept.

        @return: its transport.
        """
        self.open(packSynOptions(1460), version=version)
        transport: Any = self.factory.made[-1].transport
        for number in range(8):
            transport.write(b"x" * 100)
            self.clock.advance(0)
            self.hears("A", 1, 101 + 100 * number, version=version)
        return transport

    def test_aPathNarrowerThanIsBelieved(self) -> None:
        """
        Routers may take segments apart from the moment on at which one says that its link is narrower than what is
        believed.
        """
        transport = self.talk()
        transport.write(b"x" * 1400)
        self.clock.advance(0)
        (packet,) = self.device.sent
        self.assertTrue(packet[6] & _DONT_FRAGMENT)
        self.answers()
        self.fails(3, 4, 801, 300)
        self.clock.advance(0)
        self.assertEqual([packet[6] & _DONT_FRAGMENT for packet in self.device.sent], [0, 0, 0])

    def test_anAddressThatIsRemoved(self) -> None:
        """
        Nothing leaves from an address that is ours no more. A connection goes on once it is ours again.
        """
        for version in 4, 6:
            transport = self.talk(version)
            self.host.ip.removeAddress(HERE[version])
            self.clock.advance(1)
            self.answers()
            transport.write(b"x" * 100)
            for _ in range(10):
                self.clock.advance(0.1)
            self.assertEqual(self.answers(), [])
            self.host.ip.addAddress(f"{HERE[version]}/24")
            for _ in range(50):
                self.clock.advance(0.1)
            self.assertEqual(self.answers()[-1], ("PA", 801, 1, b"x" * 100))

    def test_aFINBehindAClosedWindow(self) -> None:
        """
        A FIN needs no room: it is taken, and acknowledged with a window of 0, where an application does not read.
        """
        for features in 0, self.features:
            self.features = features
            self.setUp()
            transport = self.talk()
            transport.pauseProducing()
            for count in range(0, 65535, 1285):
                self.hears("A", 1 + count, 801, bytes(1285))
            self.clock.advance(1)
            self.answers()
            self.assertEqual(self.window, 0)
            self.assertEqual(self.hears("FA", 65536, 801), [("A", 801, 65537, b"")])
            self.assertEqual(self.window, 0)
            transport.resumeProducing()
            self.clock.advance(0)
            protocol = self.factory.made[-1]
            self.assertEqual(len(protocol.data), 65535)
            self.assertIsNotNone(protocol.lost)


class SameHeadersTests(HostsTestCase):
    """
    The packets of two hosts, with headers kept and without.
    """

    def packets(self, dest: str, plain: int) -> list[Any]:
        """
        The packets of a conversation, and what is left open in each.

        @param plain: the segments of a connection for which no headers are kept.
        """
        packets: list[Any] = []
        write = LinkEnd.writePacket

        def writePacket(end: LinkEnd, buffers: Any, offload: Any = None) -> None:
            packets.append((b"".join(buffers), offload))
            write(end, buffers, offload)

        self.patch(path, "_UNCACHED", plain)
        recording = self.patch(LinkEnd, "writePacket", writePacket)
        self.start(None)
        self.connect(HalfTalker, dest=dest)
        for _ in range(20):
            self.client.transport.write(b"question")
            self.wait(0.1)
            self.server.transport.write(b"answer" * 10_000)
            self.wait(0.4)
        self.client.transport.loseWriteConnection()
        self.wait(3)
        self.server.transport.loseConnection()
        self.wait(3)
        recording.restore()
        self.assertEqual(self.client.data, b"answer" * 200_000)
        return packets

    def test_packets(self) -> None:
        """
        The packets are the same, octet for octet, superpackets included.
        """
        for dest in "10.0.0.2", "fd00::2":
            kept, made = self.packets(dest, 4), self.packets(dest, 10**9)
            self.assertTrue(any(offload is not None and offload.isSuperpacket for _, offload in kept))
            self.assertEqual(kept, made)
