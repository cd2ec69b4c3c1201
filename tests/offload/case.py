"""
The base of the tests of offload: a port on a device with all features, and protocols that receive superpackets.
"""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from tests.ports import DeviceTestCase
from tests.recorders import CarrierRecorder, SuperpacketRecorder
from txtuntap import Host, Packet
from txtuntap.interfaces import IEthernetProtocol
from txtuntap.testing import TAP
from txtuntap.wire.checksum import onesSum
from txtuntap.wire.offload import CSUM, TSO4, TSO6, TSO_ECN, USO

ALL = CSUM | TSO4 | TSO6 | TSO_ECN | USO

OWN = {4: "10.9.0.2", 6: "fd09::2"}
PEER = {4: "10.9.0.1", 6: "fd09::1"}
LINK = bytes.fromhex("0200000000bb0200000000aa")


@implementer(IEthernetProtocol)
class SuperframeRecorder(SuperpacketRecorder):
    """
    A protocol for a tap that keeps frames unchanged, with their offload records.
    """


class Overriding(SuperpacketRecorder):
    """
    A subclass of a protocol with C{takesOffload}. It overrides C{packetReceived}, so that the attribute does not count.
    """

    def packetReceived(self, packet: Packet) -> None:
        super().packetReceived(packet)


class OffloadTestCase(DeviceTestCase):
    features = ALL

    def setUp(self) -> None:
        super().setUp()
        self.proto = CarrierRecorder()

    def host(self, **keywords: Any) -> None:
        self._host = Host([f"{OWN[4]}/24", f"{OWN[6]}/64"], self.clock)
        self._host.listenUDP(7, self.proto)
        self.on(self._host.ethernet if self.mode == TAP else self._host.ip, **keywords)
        self.transport = self.proto.transport
        # The time in which a host on a tap probes its addresses.
        self.clock.pump([0.5] * 10)
        self.device.sent.clear()

    def payloads(self, version: int = 4) -> list[bytes]:
        """
        Return the payloads of the UDP datagrams that were sent, after a check of their headers.
        """
        found = []
        for data in self.device.sent:
            packet = Packet(data)
            packet.network = at = 14 if self.mode == TAP else 0
            start = at + (20 if version == 4 else 40)
            segment = data[start:]
            pseudo = onesSum(packet.sourceAddress + packet.destAddress) + 17 + len(segment)
            self.assertEqual((pseudo + onesSum(segment)) % 0xFFFF, 0)
            self.assertEqual(int.from_bytes(segment[4:6], "big"), len(segment))
            if version == 4:
                self.assertEqual(onesSum(data[at:start]), 0)
            found.append(segment[8:])
        return found
