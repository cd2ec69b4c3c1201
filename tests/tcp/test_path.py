"""
Tests for L{txtuntap.tcp.path}: the headers that are kept for the segments of one connection.
"""

from __future__ import annotations

from typing import Any

from tests.tcp.served import HERE, LayerTestCase
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
