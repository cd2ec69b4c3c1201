"""
A packet that climbs through the layers: one buffer, and the places of the headers that were read.

     data
     |<------------------------------ one read of the device ------------------------------>|
     +------+----------+------------+-----------+------------------------------------+------+
     |      | Ethernet |     IP     |    UDP    |              payload               | pad  |
     +------+----------+------------+-----------+------------------------------------+------+
            ^          ^            ^           ^                                    ^
            link       network      transport   start, when the application has it   end

Each layer notes where its header stood, moves C{start} to what comes after it, and C{end} to where that ends. Nothing
is copied, and C{data} is never written to or used again, so whoever gets a packet may keep it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from txtuntap.wire import ipv6
from txtuntap.wire.address import addressText
from txtuntap.wire.fault import Fault
from txtuntap.wire.offload import Offload, fault, finish

if TYPE_CHECKING:
    from txtuntap.transports import IEthernetTransport, IPacketTransport


class UnfinishableError(ValueError):
    """
    A packet is said to be unfinished in a manner that cannot be.

    @ivar fault: why it cannot.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class Packet:
    """
    One packet as it was received.

    @ivar data: the buffer.
    @ivar start: where what this layer has to read begins.
    @ivar end: where it ends.
    @ivar partial: whether the packet was longer than the buffer, and the rest of it is lost.
    @ivar port: the transport it was received by, at the bottom: an answer goes back there.
    @ivar time: when it was received, in steady seconds of that port's clock (L{txtuntap.layer.timer}): C{seconds} of a
        C{task.Clock}. On a running reactor they tell how old a packet is, and no time of day.
    @ivar ethernet: the Ethernet transport it came up through, or L{None} where there is none (a tun).
    @ivar ip: the IP layer that has seen it (L{IIPTransport<txtuntap.interfaces.IIPTransport>}), or L{None}.
    @ivar etherType: what the link says the payload is; 0 where it does not say.
    @ivar linkSource: the link address of the station that sent the frame, or L{None} where there is no link layer.
    @ivar link: where the Ethernet header stands, if C{ethernet} is not L{None}.
    @ivar network: where the IP header stands, once IP has seen it.
    @ivar transport: where the header above IP stands, once IP has seen it.
    @ivar offload: what is not finished in it (L{Offload<txtuntap.wire.offload.Offload>}, its positions those in
        C{data}): checksums that need no verifying, or many packets in one; L{None}: it is as it was on the wire.
    @cvar reassembled: whether it came in fragments.
    """

    reassembled = False

    __slots__ = (
        "data",
        "end",
        "etherType",
        "ethernet",
        "ip",
        "link",
        "linkSource",
        "network",
        "offload",
        "partial",
        "port",
        "start",
        "time",
        "transport",
    )

    def __init__(
        self,
        data: bytes,
        start: int = 0,
        port: IPacketTransport | None = None,
        time: float = 0.0,
        partial: bool = False,
        etherType: int = 0,
    ) -> None:
        self.data = data
        self.start = start
        self.end = len(data)
        self.port = port
        self.time = time
        self.partial = partial
        self.etherType = etherType
        self.ethernet: IEthernetTransport | None = None
        self.ip: Any = None
        self.link = 0
        self.linkSource: bytes | None = None
        self.network = 0
        self.transport = 0
        self.offload: Offload | None = None

    def __bytes__(self) -> bytes:
        """
        The octets that are left to read: everything after the headers that have been read so far.
        """
        return self.data[self.start : self.end]

    def __len__(self) -> int:
        return self.end - self.start

    def __repr__(self) -> str:
        cut = " partial" if self.partial else ""
        return f"<Packet {self.start}:{self.end} of {len(self.data)} octets{cut}>"

    def copy(self, kind: type[Packet] | None = None) -> Packet:
        """
        Another packet over the same buffer, for another receiver to move along.

        @param kind: its class, if not that of this one.
        """
        other = (kind or type(self))(self.data, self.start, self.port, self.time, self.partial, self.etherType)
        other.end = self.end
        other.ethernet = self.ethernet
        other.ip = self.ip
        other.link = self.link
        other.linkSource = self.linkSource
        other.network = self.network
        other.transport = self.transport
        other.offload = self.offload
        return other

    def finished(self) -> list[Packet]:
        """
        The packets that this one stands for, as they would be on the wire: itself, if nothing was left open. IP's
        header has to have been seen.

        @raise UnfinishableError: what is said to be open cannot be.
        """
        offload = self.offload
        if offload is None:
            return [self]
        wrong = fault(self.data, offload, self.network)
        if wrong is not None:
            raise UnfinishableError(wrong)
        packets = []
        for data in finish(self.data, offload, self.network):
            packet = self.copy()
            packet.data = data
            packet.end = len(data) if offload.isSuperpacket else self.end
            packet.offload = None
            packets.append(packet)
        return packets

    def headers(self) -> Packet:
        """
        A copy over no more of the buffer than the headers: link, IP without options or extensions, and eight octets of
        what comes after.
        """
        kept = self.copy()
        kept.transport = kept.start = self.network + (20 if self.version == 4 else 40)
        kept.data = self.data[: kept.start] + self.data[self.transport : self.transport + 8]
        kept.end = len(kept.data)
        kept.offload = None
        return kept

    # The properties below are for applications: each reads the header anew, and holds once the layer concerned has
    # seen it.

    @property
    def version(self) -> int:
        """
        The version of IP, 4 or 6.
        """
        return self.data[self.network] >> 4

    @property
    def sourceAddress(self) -> bytes:
        """
        The source IP address, 4 or 16 octets.
        """
        return self._addresses()[0]

    @property
    def destAddress(self) -> bytes:
        """
        The destination IP address, 4 or 16 octets.
        """
        return self._addresses()[1]

    @property
    def source(self) -> str:
        """
        The source IP address as text.
        """
        return addressText(self.sourceAddress)

    @property
    def dest(self) -> str:
        """
        The destination IP address as text: which of our addresses was asked.
        """
        return addressText(self.destAddress)

    @property
    def protocol(self) -> int:
        """
        The protocol number of what comes after IP's headers.
        """
        if self.version == 4:
            return self.data[self.network + 9]
        return self.data[ipv6.nextHeaderField(self.data, self.network, self.transport)]

    @property
    def hopLimit(self) -> int:
        """
        How many hops the packet had left on arrival (Time to Live, Hop Limit).
        """
        return self.data[self.network + (8 if self.version == 4 else 7)]

    @property
    def trafficClass(self) -> int:
        """
        The octet that tells routers how to treat the packet: Traffic Class, or Type of Service in IPv4. Its two lowest
        bits are those of ECN.
        """
        if self.version == 4:
            return self.data[self.network + 1]
        return (self.data[self.network] << 4 | self.data[self.network + 1] >> 4) & 0xFF

    @property
    def linkDest(self) -> bytes | None:
        """
        The link address the frame was sent to, or L{None} where there is no link layer.
        """
        return None if self.ethernet is None else self.data[self.link : self.link + 6]

    def _addresses(self) -> tuple[bytes, bytes]:
        if self.version == 4:
            at, size = self.network + 12, 4
        else:
            at, size = self.network + 8, 16
        return self.data[at : at + size], self.data[at + size : at + 2 * size]


class Reassembled(Packet):
    """
    A datagram that has been put together from fragments. (A class, since this is known of one packet in a million, and
    an attribute would cost each of them.)
    """

    reassembled = True

    __slots__ = ()
