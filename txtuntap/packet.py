"""
A packet that climbs through the layers: one buffer, and the positions of the headers read so far.

     data
     |<------------------------------ one read of the device ------------------------------>|
     +------+----------+------------+-----------+------------------------------------+------+
     |      | Ethernet |     IP     |    UDP    |              payload               | pad  |
     +------+----------+------------+-----------+------------------------------------+------+
            ^          ^            ^           ^                                    ^
            link       network      transport   start, when the application has it   end

Each layer notes the position of its own header, then moves C{start} to the first octet and C{end} behind the last octet
of its payload. Nothing is copied. C{data} is never changed and never used for another packet, so a receiver may keep
the packet.
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
    The offload record of a packet contradicts the packet, so that the packet cannot be finished.

    @ivar fault: the contradiction that was found.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class Packet:
    """
    One packet as it was received.

    Positions are indexes into C{data}.

    @ivar data: the octets of one read of the device.
    @ivar start: the position of the first octet that the present layer has to read.
    @ivar end: the position behind the last octet that the present layer has to read.
    @ivar partial: whether the packet was longer than the buffer, so that its end is lost.
    @ivar port: the transport at the bottom that received the packet. An answer leaves by the same transport.
    @ivar time: when the packet was received, in steady seconds of that port's clock (L{txtuntap.layer.timer}). For a
        C{task.Clock}, these are its C{seconds}. For a running reactor, they give a packet's age, but not a time of day.
    @ivar ethernet: the Ethernet transport that delivered the packet; L{None} on a tun, which has none.
    @ivar ip: the IP layer that has read the header (L{IIPTransport<txtuntap.interfaces.IIPTransport>}), or L{None}.
    @ivar etherType: the EtherType of the payload; 0 if the link does not carry one.
    @ivar linkSource: the link address of the station that sent the frame; L{None} where there is no link layer.
    @ivar link: the position of the Ethernet header, if C{ethernet} is not L{None}.
    @ivar network: the position of the IP header, once the IP layer has read it.
    @ivar transport: the position of the header behind all IP headers (UDP, TCP and so on), once the IP layer has read
        the IP headers.
    @ivar offload: the work that is not finished in the packet (L{Offload<txtuntap.wire.offload.Offload>}): checksums
        that need no verification, or a superpacket. L{None}: the packet is as it was on the wire.
    @cvar reassembled: whether the packet was reassembled from fragments.
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
        Return the octets that are left to read: everything behind the headers that have been read so far.
        """
        return self.data[self.start : self.end]

    def __len__(self) -> int:
        return self.end - self.start

    def __repr__(self) -> str:
        cut = " partial" if self.partial else ""
        return f"<Packet {self.start}:{self.end} of {len(self.data)} octets{cut}>"

    def copy(self, kind: type[Packet] | None = None) -> Packet:
        """
        Make another packet over the same buffer. Each receiver gets its own, because receivers change C{start} and
        C{end}.

        @param kind: the class of the new packet. L{None}: the class of this one.
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
        Finish this packet: cut a superpacket into segments, and compute the open checksums. C{network} must be set.

        @return: the packets as they would be on the wire; only this packet, if nothing was unfinished.

        @raise UnfinishableError: C{offload} contradicts the packet.
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
        Make a short copy for an ICMP error. It holds the link header, the IP header without options or extension
        headers, and eight octets of IP's payload.
        """
        kept = self.copy()
        kept.transport = kept.start = self.network + (20 if self.version == 4 else 40)
        kept.data = self.data[: kept.start] + self.data[self.transport : self.transport + 8]
        kept.end = len(kept.data)
        kept.offload = None
        return kept

    # The properties below are for applications. Each reads the header at every call, and is valid once the layer of
    # that header has read it.

    @property
    def version(self) -> int:
        """
        The IP version of the packet, 4 or 6.
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
        The destination IP address as text.
        """
        return addressText(self.destAddress)

    @property
    def protocol(self) -> int:
        """
        The IP protocol number of the payload behind all IP headers.
        """
        if self.version == 4:
            return self.data[self.network + 9]
        return self.data[ipv6.nextHeaderField(self.data, self.network, self.transport)]

    @property
    def hopLimit(self) -> int:
        """
        The number of hops that the packet had left when it arrived (Hop Limit; Time to Live in IPv4).
        """
        return self.data[self.network + (8 if self.version == 4 else 7)]

    @property
    def trafficClass(self) -> int:
        """
        The Traffic Class octet (Type of Service in IPv4), which tells routers how to treat the packet. Its two lowest
        bits are the ECN field.
        """
        if self.version == 4:
            return self.data[self.network + 1]
        return (self.data[self.network] << 4 | self.data[self.network + 1] >> 4) & 0xFF

    @property
    def linkDest(self) -> bytes | None:
        """
        The link address that the frame was sent to; L{None} where there is no link layer.
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
    A datagram that has been reassembled from fragments. A subclass marks such a datagram, because an attribute for the
    mark would cost every packet memory, and fragments are very rare.
    """

    reassembled = True

    __slots__ = ()
