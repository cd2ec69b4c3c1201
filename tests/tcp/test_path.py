"""
Tests for the module L{txtuntap.tcp.path}: the cached headers of a connection.
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


class CachedHeadersTests(LayerTestCase):
    """
    Tests with a port that computes checksums, so that headers are cached after some segments.
    """

    features = CSUM | TSO4 | TSO6

    def talk(self, version: int = 4) -> Any:
        """
        Establish a connection, and send enough segments for cached headers.

        @return: the transport of the connection.
        """
        self.open(packSynOptions(1460), version=version)
        transport: Any = self.factory.made[-1].transport
        for number in range(8):
            transport.write(b"x" * 100)
            self.clock.advance(0)
            self.receive("A", 1, 101 + 100 * number, version=version)
        return transport

    def test_aVerySmallMTUAllowsFragmentation(self) -> None:
        """
        After an ICMP error with an MTU below the least one that is believed, packets allow fragmentation.
        """
        transport = self.talk()
        transport.write(b"x" * 1400)
        self.clock.advance(0)
        (packet,) = self.device.sent
        self.assertTrue(packet[6] & _DONT_FRAGMENT)
        self.answers()
        self.receiveError(3, 4, 801, 300)
        self.clock.advance(0)
        self.assertEqual([packet[6] & _DONT_FRAGMENT for packet in self.device.sent], [0, 0, 0])

    def test_aRemovedAddressSendsNothing(self) -> None:
        """
        No segment is sent from a removed address. The connection continues once the address is added again.
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

    def test_aFINIsAcceptedWithAClosedWindow(self) -> None:
        """
        A FIN is accepted and acknowledged even if the window is 0, because the application does not read.
        """
        for features in 0, self.features:
            self.features = features
            self.setUp()
            transport = self.talk()
            transport.pauseProducing()
            for count in range(0, 65535, 1285):
                self.receive("A", 1 + count, 801, bytes(1285))
            self.clock.advance(1)
            self.answers()
            self.assertEqual(self.window, 0)
            self.assertEqual(self.receive("FA", 65536, 801), [("A", 801, 65537, b"")])
            self.assertEqual(self.window, 0)
            transport.resumeProducing()
            self.clock.advance(0)
            protocol = self.factory.made[-1]
            self.assertEqual(len(protocol.data), 65535)
            self.assertIsNotNone(protocol.lost)


class SameHeadersTests(HostsTestCase):
    """
    Tests that compare the packets of two hosts with and without cached headers.
    """

    def packets(self, dest: str, uncached: int) -> list[Any]:
        """
        Return the packets of a conversation, each with its offload.

        @param uncached: the number of segments before headers are cached.
        """
        packets: list[Any] = []
        write = LinkEnd.writePacket

        def writePacket(end: LinkEnd, buffers: Any, offload: Any = None) -> None:
            packets.append((b"".join(buffers), offload))
            write(end, buffers, offload)

        self.patch(path, "_UNCACHED", uncached)
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

    def test_cachedHeadersAreTheSame(self) -> None:
        """
        The packets are the same in each octet, superpackets included.
        """
        for dest in "10.0.0.2", "fd00::2":
            kept, made = self.packets(dest, 4), self.packets(dest, 10**9)
            self.assertTrue(any(offload is not None and offload.isSuperpacket for _, offload in kept))
            self.assertEqual(kept, made)
