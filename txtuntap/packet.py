"""
A packet that climbs through the layers: one buffer, and the positions of the headers read so far::

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

from txtuntap.wire import ipv6, summary
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
    @ivar ethernet: the Ethernet transport that delivered the packet; C{None} on a tun, which has none.
    @ivar ip: the IP layer that has read the header (L{IIPTransport<txtuntap.interfaces.IIPTransport>}), or C{None}.
    @ivar readEtherType: the EtherType that the device or the Ethernet layer has read; 0 if neither has. Applications
        use C{etherType}.
    @ivar readLinkSource: the link address of the sender that the Ethernet layer has read; C{None} if it has not.
        Applications use C{linkSource}.
    @ivar link: the position of the Ethernet header, if C{ethernet} is not C{None}.
    @ivar network: the position of the IP header, once the IP layer has read it.
    @ivar transport: the position of the header behind all IP headers (UDP, TCP and so on), once the IP layer has read
        the IP headers.
    @ivar offload: the work that is not finished in the packet (L{Offload<txtuntap.wire.offload.Offload>}): checksums
        that need no verification, or a superpacket. C{None}: the packet is as it was on the wire.
    @cvar reassembled: whether the packet was reassembled from fragments.
    """

    reassembled = False

    __slots__ = (
        "data",
        "end",
        "ethernet",
        "ip",
        "link",
        "network",
        "offload",
        "partial",
        "port",
        "readEtherType",
        "readLinkSource",
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
        self.readEtherType = etherType
        self.ethernet: IEthernetTransport | None = None
        self.ip: Any = None
        self.link = 0
        self.readLinkSource: bytes | None = None
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
        """
        Describe the whole packet in one line, like a line of tcpdump. The line is the same at each layer.
        """
        text = summary.describe(self.data, *self._bottom())
        return text + ", partial" if self.partial else text

    def copy(self, kind: type[Packet] | None = None) -> Packet:
        """
        Make another packet over the same buffer. Each receiver gets its own, because receivers change C{start} and
        C{end}.

        @param kind: the class of the new packet. C{None}: the class of this one.
        """
        other = (kind or type(self))(self.data, self.start, self.port, self.time, self.partial, self.readEtherType)
        other.end = self.end
        other.ethernet = self.ethernet
        other.ip = self.ip
        other.link = self.link
        other.readLinkSource = self.readLinkSource
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

    # The properties below are for applications. Each reads the header at every call. They need no layer: as long as no
    # layer has read the first header, they look for it at C{start}. They never raise, because the sender of a packet
    # chooses its octets.

    @property
    def version(self) -> int:
        """
        The IP version of the packet, 4 or 6; 0 if it is no IP packet.
        """
        if self.transport or self.ip is not None:
            return self.data[self.network] >> 4
        return summary.versionAt(self.data, self._header())

    @property
    def sourceAddress(self) -> bytes:
        """
        The source IP address, 4 or 16 octets; empty if the packet is no IP packet.
        """
        return self._addresses()[0]

    @property
    def destAddress(self) -> bytes:
        """
        The destination IP address, 4 or 16 octets; empty if the packet is no IP packet.
        """
        return self._addresses()[1]

    @property
    def source(self) -> str:
        """
        The source IP address as text; empty if the packet is no IP packet.
        """
        address = self._addresses()[0]
        return addressText(address) if address else ""

    @property
    def dest(self) -> str:
        """
        The destination IP address as text; empty if the packet is no IP packet.
        """
        address = self._addresses()[1]
        return addressText(address) if address else ""

    @property
    def protocol(self) -> int | None:
        """
        The IP protocol number of the payload behind all IP headers. C{None} if the packet is no IP packet, or if its
        headers cannot be read to the end.
        """
        if not self.transport and self.ip is None:
            return summary.payloadOf(self.data, self._header()).protocol if self.version else None
        if self.version == 4:
            return self.data[self.network + 9]
        return self.data[ipv6.nextHeaderField(self.data, self.network, self.transport)]

    @property
    def hopLimit(self) -> int:
        """
        The number of hops that the packet had left when it arrived (Hop Limit; Time to Live in IPv4). 0 if the packet
        is no IP packet.
        """
        version = self.version
        return self.data[self._header() + (8 if version == 4 else 7)] if version else 0

    @property
    def trafficClass(self) -> int:
        """
        The Traffic Class octet (Type of Service in IPv4), which tells routers how to treat the packet. Its two lowest
        bits are the ECN field. 0 if the packet is no IP packet.
        """
        version, network = self.version, self._header()
        if version == 4:
            return self.data[network + 1]
        return (self.data[network] << 4 | self.data[network + 1] >> 4) & 0xFF if version else 0

    @property
    def linkSource(self) -> bytes | None:
        """
        The link address of the station that sent the frame, six octets; C{None} where there is no link layer.
        """
        return self.readLinkSource or self._linkHeader()[6:12] or None

    @property
    def linkDest(self) -> bytes | None:
        """
        The link address that the frame was sent to, six octets; C{None} where there is no link layer.
        """
        if self.ethernet is not None:
            return self.data[self.link : self.link + 6]
        return self._linkHeader()[:6] or None

    @property
    def etherType(self) -> int:
        """
        The EtherType of the payload; 0 if the link does not carry one.
        """
        if self.readEtherType or not self._linkHeader():
            return self.readEtherType
        return summary.etherTypeOf(self.data, self._bottom()[0])

    def _addresses(self) -> tuple[bytes, bytes]:
        data = self.data
        if self.transport or self.ip is not None:
            network = self.network
            version = data[network] >> 4
        else:
            network = self._header()
            version = summary.versionAt(data, network)
        if version == 4:
            return data[network + 12 : network + 16], data[network + 16 : network + 20]
        return (data[network + 8 : network + 24], data[network + 24 : network + 40]) if version else (b"", b"")

    def _bottom(self) -> tuple[int, bool]:
        """
        Find the first header of the packet.

        @return: its position, and whether it is that of Ethernet. If neither a layer nor the port has told this, it is
            guessed.
        """
        if self.ethernet is not None:
            return self.link, True
        if self.transport or self.ip is not None:
            return self.network, False
        if self.readEtherType:
            return self.network or self.start, False
        frame = getattr(self.port, "ethernet", None)
        return self.start, bool(summary.isFrame(self.data, self.start) if frame is None else frame)

    def _linkHeader(self) -> bytes:
        """
        Return the Ethernet header without tags, 14 octets; empty if there is no complete one.
        """
        at, frame = self._bottom()
        header = self.data[at : at + 14] if frame else b""
        return header if len(header) == 14 else b""

    def _header(self) -> int:
        """
        Find the IP header.

        @return: its position; the end of C{data} if there is none.
        """
        if self.network or self.transport or self.ip is not None:
            return self.network
        at, frame = self._bottom()
        network = summary.networkOf(self.data, at) if frame else at
        return network if network is not None and summary.versionAt(self.data, network) else len(self.data)


class Reassembled(Packet):
    """
    A datagram that has been reassembled from fragments. A subclass marks such a datagram, because an attribute for the
    mark would cost every packet memory, and fragments are very rare.
    """

    reassembled = True

    __slots__ = ()
