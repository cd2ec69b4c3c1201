"""
Ethernet: frames by EtherType, VLANs by tag.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from random import Random, SystemRandom
from typing import Any, cast

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from txtuntap.interfaces import (
    IEthernetProtocol,
    IEthernetTransport,
    IPacketReceiver,
    IPacketTransport,
    IRawPacketProtocol,
)
from txtuntap.layer.ability import receiverOr
from txtuntap.layer.drops import Drop
from txtuntap.layer.layer import Layer
from txtuntap.layer.pair import framePayloadReceiver
from txtuntap.layer.table import ReceiverTable
from txtuntap.mistakes import checkOctets
from txtuntap.packet import Packet
from txtuntap.wire import ethernet as wire
from txtuntap.wire.address import packLinkAddress
from txtuntap.wire.ethernet import EthernetHeader
from txtuntap.wire.offload import Offload, shifted

__all__ = ["VLAN", "EthernetHeader", "EthernetProtocol", "IEthernetProtocol", "randomLinkAddress"]

#: Tags that are looked behind: a frame of 64 KiB could hold 16,000.
MAX_TAGS = 2

_TAGS = frozenset((wire.VLAN, wire.SERVICE_VLAN))
_sourceAndType = wire.SOURCE_AND_TYPE.unpack_from
# On a busy link, most drops are of this kind, and looking a member up in its Enum takes longer.
_OTHER_HOST = Drop.OTHER_HOST


@implementer(IEthernetProtocol, IPacketReceiver, IEthernetTransport)
class EthernetProtocol(Layer):
    """
    Hands frames to the protocols added for their EtherType, and is the transport of those.

    Frames with a priority tag (VLAN 0) count as untagged; those of another VLAN reach only what was added with its
    number. Frames with a length in place of an EtherType (802.3) reach nobody.

    Counters: C{inErrors} (shorter than their headers), C{inOtherHosts} (for another station), C{inUnknownProtos}
    (nobody was added for the EtherType; RFC 2863), C{inLengthFrames}, C{inVlans} (a VLAN nobody was added for).

    @ivar etherProtos: the protocols added without a VLAN: lists by EtherType. To be changed by L{addProto} and
        L{removeProto}.
    @ivar address: the link address to listen to, six octets, or L{None} for every frame.
    @ivar linkAddress: the address that frames leave from: C{address}, or a random locally administered one. An answer
        leaves from the address that was asked.
    """

    handlesFailures = True
    takesOffload = True

    def __init__(self, address: str | bytes | None = None) -> None:
        """
        @param address: six octets, or text: deliver only what is sent to it, to all or to a group. Without one,
            everything is delivered.

        @raise ValueError: C{address} is no link address, or that of a group.
        """
        super().__init__()
        self._table = ReceiverTable(16, wire.FIRST_TYPE)
        self._receivers = self._table.receivers
        self._vlans: dict[int, VLAN] = {}
        self.etherProtos = self._table.protocols
        self.address = None if address is None else packLinkAddress(address)
        if self.address and self.address[0] & 1:
            raise ValueError(f"{address!r} is the address of a group: a station's has an even first octet")
        if self.address is not None and not any(self.address):
            raise ValueError(f"{address!r} is the address of no station")
        self.linkAddress: bytes = self.address or randomLinkAddress()

    @property
    def port(self) -> IPacketTransport | None:
        """
        The port that this layer is on; L{None} if it is on none.
        """
        return cast("IPacketTransport | None", self.transport)

    @property
    def mtu(self) -> int:
        """
        The most octets of payload in one frame.
        """
        return 1500 if self.transport is None else cast(IPacketTransport, self.transport).mtu

    def addProto(self, num: int, proto: Any, vlan: int | None = None) -> None:
        """
        Add a protocol. Several under one number all get every frame.

        @param num: the EtherType, 0x0600 to 0xffff.
        @param proto: an C{IRawPacketProtocol}, or an L{IPacketReceiver}.
        @param vlan: take frames of this VLAN only (1 to 4094), and send into it.

        @raise TypeError: C{num} does not fit 16 bits, or C{proto} is something else.
        @raise ValueError: C{vlan} is no VLAN.
        """
        proto = receiverOr(IRawPacketProtocol, proto)
        self._table.check(num)
        if num < wire.FIRST_TYPE:
            warnings.warn(f"{num} is a frame length (802.3), not an EtherType: nothing will be delivered", stacklevel=2)
        transport: EthernetProtocol | VLAN = self
        table = self._table
        if vlan is not None:
            if not isinstance(vlan, int) or not 1 <= vlan <= 4094:
                raise ValueError(f"a VLAN has a number from 1 to 4094, not {vlan!r}")
            transport = self._vlans.get(vlan) or VLAN(self, vlan)
            table = transport.table
        target = self._receiverFor(proto, framePayloadReceiver)
        self._attach(proto, transport)
        table.add(num, proto, target)
        if isinstance(transport, VLAN):
            self._vlans[transport.number] = transport

    def removeProto(self, num: int, proto: Any, vlan: int | None = None) -> None:
        """
        Undo an L{addProto}. A protocol removed for the last time is stopped.

        @raise ValueError: C{proto} was not added so.
        """
        if vlan is None:
            self._table.remove(num, proto)
        elif vlan in self._vlans:
            self._vlans[vlan].table.remove(num, proto)
            if not self._vlans[vlan].table.protocols:
                del self._vlans[vlan]
        else:
            raise ValueError(f"nothing was added with vlan={vlan!r}")
        self._detach(proto)

    def packetReceived(self, packet: Packet) -> None:
        """
        A frame has come.
        """
        data = packet.data
        start = packet.start
        if packet.end - start < 14:
            return self.dropped(packet, Drop.MALFORMED)
        address = self.address
        if address is not None and data[start : start + 6] != address and not data[start] & 1:
            return self.dropped(packet, _OTHER_HOST)
        packet.linkSource, etherType = _sourceAndType(data, start)
        receive = self._receivers.get(etherType)
        if receive is None:
            return self._unusual(packet, etherType)
        packet.etherType = etherType
        packet.ethernet = self
        packet.link = start
        packet.start = start + 14
        receive(packet)

    def datagramReceived(self, data: bytes, partial: int = 0) -> None:  # type: ignore[override]
        """
        A frame has come from something that speaks C{twisted.pair}.
        """
        self.packetReceived(Packet(data, time=self.now(), partial=bool(partial)))

    def write(self, payload: bytes, dest: bytes | str, protocol: int) -> None:
        """
        Send one frame: see L{IEthernetTransport.write}.
        """
        self._write(payload, dest, protocol, self)

    def writeFrame(
        self,
        buffers: Sequence[bytes],
        dest: bytes,
        protocol: int,
        source: bytes | None = None,
        port: IPacketTransport | None = None,
        offload: Offload | None = None,
        vlan: int | None = None,
    ) -> None:
        """
        Send one frame: see L{IEthernetTransport.writeFrame}.
        """
        port = port or self.port
        if port is None:
            self.counters["outDiscards"] += 1
            return
        header = wire.packHeader(dest, source or self.linkAddress, protocol, vlan)
        if offload is None:
            port.writePacket([header, *buffers])
        else:
            port.writePacket([header, *buffers], shifted(offload, len(header)))

    def _write(self, payload: bytes, dest: bytes | str, protocol: int, transport: EthernetProtocol | VLAN) -> None:
        if type(payload) is not bytes:
            checkOctets(payload, "the payload")
        station = packLinkAddress(dest)
        if not isinstance(protocol, int) or not wire.FIRST_TYPE <= protocol <= 0xFFFF:
            raise ValueError(f"an EtherType is a number from 0x0600 to 0xffff, not {protocol!r}")
        if self.transport is None:
            raise RuntimeError("this EthernetProtocol is on no port: put it on a TuntapPort and start that")
        asked = self.packet
        if asked is not None and asked.ethernet is transport and asked.linkSource == station:
            transport.writeFrame([payload], station, protocol, replySource(asked), asked.port)
        else:
            transport.writeFrame([payload], station, protocol)

    def _unusual(self, packet: Packet, etherType: int) -> None:
        """
        A frame with tags, with a length, or of a type that nobody wants.
        """
        data = packet.data
        at = packet.start + 12
        vlan = tags = 0
        while etherType in _TAGS:
            if packet.end < at + 6:
                return self.dropped(packet, Drop.MALFORMED)
            control, inner = wire.TAG.unpack_from(data, at + 2)
            number = control & 0x0FFF
            tags += 1
            if tags > MAX_TAGS or (number and (vlan or etherType != wire.VLAN)):
                return self.dropped(packet, Drop.VLAN)
            vlan = vlan or number
            etherType = inner
            at += 4
        transport: EthernetProtocol | VLAN = self
        receivers = self._receivers
        if vlan:
            if vlan not in self._vlans:
                return self.dropped(packet, Drop.VLAN)
            transport = self._vlans[vlan]
            receivers = transport.table.receivers
        if etherType < wire.FIRST_TYPE:
            return self.dropped(packet, Drop.LENGTH_FRAME)
        receive = receivers.get(etherType)
        if receive is None:
            return self.dropped(packet, Drop.UNKNOWN_PROTOCOL)
        packet.etherType = etherType
        packet.ethernet = transport
        packet.link = packet.start
        packet.start = at + 2
        receive(packet)


@implementer(IEthernetTransport)
class VLAN:
    """
    One VLAN of an L{EthernetProtocol}: the transport of what was added with C{vlan=number}, and sends with its tag.
    """

    def __init__(self, ethernet: EthernetProtocol, number: int) -> None:
        self.number = number
        self.table = ReceiverTable(16, wire.FIRST_TYPE)
        self._ethernet = ethernet

    @property
    def transport(self) -> EthernetProtocol:
        """
        The layer that carries it.
        """
        return self._ethernet

    @property
    def port(self) -> IPacketTransport | None:
        """
        As that of the link.
        """
        return self._ethernet.port

    @property
    def clock(self) -> IReactorTime | None:
        """
        As that of the link.
        """
        return self._ethernet.clock

    @property
    def mtu(self) -> int:
        """
        As that of the link: the four octets of a tag do not count (IEEE 802.3as).
        """
        return self._ethernet.mtu

    @property
    def linkAddress(self) -> bytes:
        """
        As that of the link.
        """
        return self._ethernet.linkAddress

    def write(self, payload: bytes, dest: bytes | str, protocol: int) -> None:
        """
        Send one frame: see L{IEthernetTransport.write}.
        """
        self._ethernet._write(payload, dest, protocol, self)

    def writeFrame(
        self,
        buffers: Sequence[bytes],
        dest: bytes,
        protocol: int,
        source: bytes | None = None,
        port: IPacketTransport | None = None,
        offload: Offload | None = None,
    ) -> None:
        """
        Send one frame: see L{IEthernetTransport.writeFrame}.
        """
        self._ethernet.writeFrame(buffers, dest, protocol, source, port, offload, self.number)


def randomLinkAddress(random: Random | None = None) -> bytes:
    """
    A link address that nobody else is likely to have: a random locally administered one (IEEE 802 section 8.4).

    @param random: where chance comes from; by default, from the system.
    """
    return b"\x02" + (random or SystemRandom()).randbytes(5)


def replySource(packet: Packet) -> bytes | None:
    """
    The link address an answer to C{packet} leaves from: the one that was asked. That of a group never becomes a source.
    """
    asked = packet.linkDest
    if asked is None or asked[0] & 1:
        return None
    # Mostly it is our own: routes by the thousand share that.
    own = None if packet.ethernet is None else packet.ethernet.linkAddress
    return own if asked == own else asked
