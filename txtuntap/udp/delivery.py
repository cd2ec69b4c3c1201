"""
The delivery of datagrams to a C{DatagramProtocol}: one by one, or those of a superpacket in a loop.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from operator import length_hint
from typing import cast

from twisted.internet.protocol import DatagramProtocol

from txtuntap.layer.bounded import Table
from txtuntap.layer.drops import Drop
from txtuntap.packet import Packet
from txtuntap.udp.flow import EVICTED, Arrival, Flow
from txtuntap.udp.groups import MulticastTransport
from txtuntap.udp.interfaces import IUDPLayer
from txtuntap.udp.writer import UDPWriter


@lru_cache(256)
def _pieces(size: int, length: int) -> struct.Struct:
    """
    Make the structure that unpacks C{length} octets into pieces of C{size} octets. The last piece may be shorter.
    """
    whole, rest = divmod(length, size)
    return struct.Struct(f"{size}s" * whole + (f"{rest}s" if rest else ""))


class UDPDelivery(MulticastTransport):
    """
    The part of a L{UDPTransport<txtuntap.udp.transport.UDPTransport>} that delivers datagrams to its protocol.

    @ivar protocol: the protocol of the application.
    @ivar listening: whether the transport is on its port, and has not been removed from it.
    @ivar latest: the flow of the last datagram that was delivered.
    @ivar current: the packet with the datagram being delivered, which may be a superpacket; C{None} outside of a
        delivery.
    """

    _writer: UDPWriter
    _connected: tuple[str, int] | None
    _flows: Table[tuple[str, int], Flow]

    def __init__(self, udp: IUDPLayer, protocol: DatagramProtocol) -> None:
        super().__init__(udp)
        self.protocol = protocol
        self.current: Packet | Arrival | None = None
        # While a superpacket is delivered: an iterator over the payloads that are not delivered yet, and all datagrams
        # as packets. The list of packets is empty until the property C{packet} is read.
        self._rest: Iterator[bytes] = iter(())
        self._pieces: list[Packet] = []
        self.listening = True
        self.failures = udp.failuresOf(protocol)
        self.latest: Flow | None = None

    @property
    def packet(self) -> Packet | None:
        """
        The packet with the datagram being delivered, complete as on the wire; C{None} outside of a delivery. It has
        attributes that C{datagramReceived} does not pass, such as C{dest}, C{hopLimit}, C{linkSource} and C{time}.
        """
        current = self._currentPacket()
        if current is None or current.offload is None:
            return current
        if not current.offload.isSuperpacket:
            self.current = finished = current.finished()[0]
            return finished
        if not self._pieces:
            self._pieces = current.finished()
        return self._pieces[-1 - length_hint(self._rest)]

    def _currentPacket(self) -> Packet | None:
        """
        Return C{current} as a packet.
        """
        current = self.current
        if type(current) is tuple:
            data, start, end, offload, now, flow = current
            self.current = current = flow.packet(data, start, end, offload, now)
        return cast("Packet | None", current)

    def seconds(self) -> float:
        """
        Return the time at which the datagram being delivered was received, or the time now outside of a delivery. The
        unit is steady seconds of the clock below.
        """
        current = self.current
        if current is None:
            return self._udp.now()
        return current[4] if type(current) is tuple else cast(Packet, current).time

    def takes(self, flow: Flow) -> bool:
        """
        Return whether the application gets the datagrams of a flow. If it does, remember the flow for answers. A
        connected transport gets only the datagrams of its peer. A flow that was evicted meanwhile is not taken, unless
        it is C{latest}.
        """
        if flow is not self.latest:
            peer = flow.peer
            if peer is EVICTED or (self._connected is not None and peer != self._connected):
                return False
            self.latest = flow
            if self.current is not None:
                self._interrupt()
            self._writer.train = None
            flows = self._flows
            known = flows.get(peer)
            if known is flow:
                flows.move_to_end(peer)
                return True
            if known is not None:
                # The key is replaced, too, because the key has to be the Peer that belongs to this flow.
                del flows[peer]
            flows.put(peer, flow)
        return True

    def forgetLatest(self) -> None:
        """
        Forget C{latest}, so that L{takes} is called for the next datagram, whichever flow it is of.
        """
        self.latest = None
        self._interrupt()

    def _interrupt(self) -> None:
        """
        End the loop in L{deliverMany}, if a superpacket is being delivered, so that the method checks whether the
        application still gets the rest. A check before each datagram would take longer.
        """
        self._rest = iter(tuple(self._rest))

    def deliver(self, packet: Packet, flow: Flow) -> None:
        """
        Pass one datagram to the application: the octets of C{packet} from C{start} to C{end}.
        """
        if not self.takes(flow):
            return self._udp.dropped(packet, Drop.NO_PORT)
        before = self.current
        self.current = packet
        try:
            self.protocol.datagramReceived(packet.data[packet.start : packet.end], flow.peer)
        except Exception:
            self.failures.failed(packet.time, "datagramReceived")
        finally:
            self.current = before

    def deliverMany(
        self, packet: Packet | Arrival, flow: Flow, size: int, data: bytes, start: int, end: int, now: float
    ) -> None:
        """
        Pass the datagrams of a superpacket to the application, as long as it L{takes} them. See
        L{IFlowTransport.deliverMany<txtuntap.udp.flow.IFlowTransport.deliverMany>}.
        """
        protocol = self.protocol
        peer = flow.peer
        before = self.current, self._rest, self._pieces
        self.current = packet
        # One unpack_from makes all payloads, because a slice for each would take twice as long.
        self._rest = rest = iter(_pieces(size, end - start).unpack_from(data, start))
        self._pieces = []
        refused: list[Packet] = []
        try:
            while True:
                for datagram in rest:
                    try:
                        protocol.datagramReceived(datagram, peer)
                    except Exception:
                        self.failures.failed(now, "datagramReceived")
                if rest is self._rest:
                    break
                if self.latest is not flow and not (self.listening and self.takes(flow)):
                    # The protocol has stopped, or has connected to another peer. The rest may be for other transports.
                    whole = cast(Packet, self._currentPacket())
                    refused = whole.finished()[-1 - length_hint(self._rest) :][1:]
                    break
                rest = self._rest
        finally:
            self.current, self._rest, self._pieces = before
        if self.latest is not flow:
            # The protocol may have received this superpacket while it received another one.
            self._interrupt()
        for each in refused:
            each.start = each.transport
            self._udp.packetReceived(each)
