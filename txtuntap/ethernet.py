"""
The Ethernet layer, which delivers frames by their EtherType and their VLAN tag.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from random import Random
from types import MethodType
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
from txtuntap.layer.chance import SYSTEM_RANDOM
from txtuntap.layer.drops import Drop
from txtuntap.layer.fastpath import FastPath, KnownReceiver, knownReceiverOf, receivesBy
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

#: The most VLAN tags that are read in one frame. Without a bound, the layer would read up to 16,000 tags in a frame of
#: 64 KiB.
MAX_TAGS = 2

_TAGS = frozenset((wire.VLAN, wire.SERVICE_VLAN))
_sourceAndType = wire.SOURCE_AND_TYPE.unpack_from
# A global is faster than a look-up in the Enum, and on a busy link most drops have this reason.
_OTHER_HOST = Drop.OTHER_HOST


@implementer(IEthernetProtocol, IPacketReceiver, IEthernetTransport)
class EthernetProtocol(Layer):
    """
    A layer that delivers each frame to the protocols added for its EtherType, and is the transport of these protocols.

    A frame with a priority tag (VLAN 0) counts as untagged. A frame of another VLAN is delivered only to protocols that
    were added with the number of that VLAN. A frame with a length in place of an EtherType (IEEE 802.3) is dropped.

    Counters: C{inErrors} (frames shorter than their headers), C{inOtherHosts} (frames to another station),
    C{inUnknownProtos} (no protocol was added for the EtherType; RFC 2863), C{inLengthFrames} (frames with a length),
    C{inVlans} (no protocol was added for the VLAN, or the combination of tags is not supported) and C{outDiscards}
    (frames sent while the layer is on no port).

    @ivar etherProtos: the protocols added without a VLAN: lists by EtherType. L{addProto} and L{removeProto} change it.
    @ivar linkAddress: the source address of frames, six octets: C{address}, or a random locally administered one. The
        source of an answer is the address that the received frame was sent to, unless that is the address of a group.
    """

    handlesFailures = True
    takesOffload = True

    def __init__(self, address: str | bytes | None = None) -> None:
        """
        @param address: the link address of this station, as six octets or text. Only frames to it, to a group or to the
            broadcast address are delivered. C{None}: all frames are delivered.

        @raise ValueError: C{address} is not a link address, or is the address of a group.
        """
        super().__init__()
        self._table = ReceiverTable(16, wire.FIRST_TYPE)
        self._receivers = self._table.receivers
        self._vlans: dict[int, VLAN] = {}
        # The method of the IP layer above that receives packets of known flows.
        self._known: KnownReceiver | None = None
        self.etherProtos = self._table.protocols
        self._address = None if address is None else packLinkAddress(address)
        if self._address and self._address[0] & 1:
            raise ValueError(f"{address!r} is the address of a group: a station's address has an even first octet")
        if self._address is not None and not any(self._address):
            raise ValueError(f"{address!r} is the address of no station")
        self.linkAddress: bytes = self._address or randomLinkAddress()

    @property
    def address(self) -> bytes | None:
        """
        The link address whose frames are delivered, six octets; C{None}: all frames are delivered.
        """
        return self._address

    @address.setter
    def address(self, address: bytes | None) -> None:
        self._address = address
        # Known flows may be those of frames to the former address.
        self._chooseKnown()

    @property
    def port(self) -> IPacketTransport | None:
        """
        The port that this layer is on; C{None} if it is on none.
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
        Add a protocol above this layer. If several protocols are added for one EtherType, each receives every frame.

        @param num: the EtherType, 0x0600 to 0xffff.
        @param proto: an C{IRawPacketProtocol}, or any object with a method C{packetReceived}.
        @param vlan: the VLAN whose frames C{proto} receives and into which it sends, 1 to 4094. C{None}: untagged
            frames.

        @raise TypeError: C{num} does not fit 16 bits, or C{proto} is neither.
        @raise ValueError: C{vlan} is not a VLAN number.
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
        self._chooseKnown()

    def removeProto(self, num: int, proto: Any, vlan: int | None = None) -> None:
        """
        Undo one L{addProto} with the same arguments. A protocol is stopped when it is removed for the last time.

        @raise ValueError: C{proto} was not added with these arguments.
        """
        if vlan is None:
            self._table.remove(num, proto)
        elif vlan in self._vlans:
            self._vlans[vlan].table.remove(num, proto)
            if not self._vlans[vlan].table.protocols:
                del self._vlans[vlan]
        else:
            raise ValueError(f"nothing was added with vlan={vlan!r}")
        self._chooseKnown()
        self._detach(proto)

    def _chooseKnown(self) -> None:
        """
        Find the IP layer whose fast path receives the frames of known flows. It has to be the only receiver of untagged
        IP packets.
        """
        receivers = [self._receivers.get(number) for number in (wire.IPV4, wire.IPV6)]
        known = [knownReceiverOf(receive) for receive in receivers if receive is not None]
        for each in (self._known, *known):
            if each is not None:
                # The flows that are known so far may have another receiver now.
                cast(FastPath, cast(MethodType, each).__self__).forget()
        self._known = known[0] if known and all(each == known[0] for each in known) else None

    @property
    def knownReceiver(self) -> KnownReceiver | None:
        """
        The method that receives frames of known flows from the port; C{None} if this layer does not receive frames by
        L{packetReceived}.
        """
        return self._knownReceived if receivesBy(self, EthernetProtocol.packetReceived) else None

    def _knownReceived(
        self, data: bytes, start: int, offload: Offload | None, port: IPacketTransport | None, now: float
    ) -> bool:
        return self._known is not None and self._known(data, start + 14, offload, port, now, self)

    def packetReceived(self, packet: Packet) -> None:
        """
        Receive a frame from the port.
        """
        data = packet.data
        known = self._known
        if (
            known is None
            or packet.end != len(data)
            or packet.partial
            or not known(data, packet.start + 14, packet.offload, packet.port, packet.time, self)
        ):
            self.unknownReceived(packet)

    def unknownReceived(self, packet: Packet) -> None:
        """
        Receive a frame which is no ordinary one of a known flow: see L{packetReceived}.
        """
        data = packet.data
        start = packet.start
        if packet.end - start < 14:
            return self.dropped(packet, Drop.MALFORMED)
        address = self._address
        if address is not None and data[start : start + 6] != address and not data[start] & 1:
            return self.dropped(packet, _OTHER_HOST)
        packet.readLinkSource, etherType = _sourceAndType(data, start)
        receive = self._receivers.get(etherType)
        if receive is None:
            return self._deliverTagged(packet, etherType)
        packet.readEtherType = etherType
        packet.ethernet = self
        packet.link = start
        packet.start = start + 14
        receive(packet)

    def datagramReceived(self, data: bytes, partial: int = 0) -> None:  # type: ignore[override]
        """
        Receive a frame from a port of C{twisted.pair}, which passes octets instead of a packet.
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
        if asked is not None and asked.ethernet is transport and asked.readLinkSource == station:
            transport.writeFrame([payload], station, protocol, replySource(asked), asked.port)
        else:
            transport.writeFrame([payload], station, protocol)

    def _deliverTagged(self, packet: Packet, etherType: int) -> None:
        """
        Deliver a frame with VLAN tags. Drop a frame with a length, or with an EtherType that no protocol was added for.
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
        packet.readEtherType = etherType
        packet.ethernet = transport
        packet.link = packet.start
        packet.start = at + 2
        receive(packet)


@implementer(IEthernetTransport)
class VLAN:
    """
    One VLAN of an L{EthernetProtocol}: the transport of the protocols that were added with C{vlan=number}. Frames that
    they send carry the tag of the VLAN.
    """

    def __init__(self, ethernet: EthernetProtocol, number: int) -> None:
        self.number = number
        self.table = ReceiverTable(16, wire.FIRST_TYPE)
        self._ethernet = ethernet

    @property
    def transport(self) -> EthernetProtocol:
        """
        The Ethernet layer that this VLAN belongs to.
        """
        return self._ethernet

    @property
    def port(self) -> IPacketTransport | None:
        """
        The port of the Ethernet layer; C{None} if the layer is on none.
        """
        return self._ethernet.port

    @property
    def clock(self) -> IReactorTime | None:
        """
        The clock of the Ethernet layer; C{None} if the layer is on no port.
        """
        return self._ethernet.clock

    @property
    def mtu(self) -> int:
        """
        The most octets of payload in one frame: the MTU of the Ethernet layer. The four octets of a tag do not count
        (IEEE 802.3as).
        """
        return self._ethernet.mtu

    @property
    def linkAddress(self) -> bytes:
        """
        The source address of frames, six octets: that of the Ethernet layer.
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
    Make a random locally administered link address, six octets (IEEE 802 section 8.4). No other station is likely to
    have the same.

    @param random: the random number generator; C{None}: that of the system.
    """
    return b"\x02" + (random or SYSTEM_RANDOM).randbytes(5)


def replySource(packet: Packet) -> bytes | None:
    """
    Return the source link address of an answer to C{packet}: the address that the packet was sent to. Return C{None} if
    that is the address of a group, because a group is never a source.
    """
    asked = packet.linkDest
    if asked is None or asked[0] & 1:
        return None
    # The layer's own object is returned where it is equal, so that thousands of routes share one object.
    own = None if packet.ethernet is None else packet.ethernet.linkAddress
    return own if asked == own else asked
