"""
Fragmentation and reassembly of IP datagrams.

Read RFC 791 section 3.2 and RFC 8200 section 4.5 first, and RFC 5722 for overlapping fragments.

This module has no clock. Its caller passes the time in, and calls L{Reassembler.expire} at L{Reassembler.deadline}.

Two fragments that overlap make the L{Reassembler} drop their whole datagram, over IPv6 (RFC 5722) and over IPv4. No
honest sender makes such fragments. An attacker makes them to get past a firewall: if the firewall and the host keep
different versions of the same octets, the firewall has checked other data than the host receives.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator

from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.counters import Counters
from txtuntap.layer.drops import Drop
from txtuntap.packet import Packet, Reassembled
from txtuntap.wire import ipv4, ipv6
from txtuntap.wire.checksum import checksum

#: The most octets of memory that all incomplete datagrams may take, Python objects included. Beyond this bound the
#: oldest datagram is dropped, so that new ones still get through a flood.
MAX_MEMORY = 1 << 20

#: The most fragments of one datagram. A datagram of 64 KiB in fragments of 576 octets has 119.
MAX_FRAGMENTS = 256

#: The most seconds from the first fragment received to the last, by IP version. The value for IPv4 is that of Linux,
#: while RFC 1122 section 3.3.2 recommends 60 to 120 seconds. The value for IPv6 is that of RFC 8200 section 4.5.
TIMEOUT = {4: 30.0, 6: 60.0}

#: The largest value of the length field, in octets. IPv4 counts the whole datagram, IPv6 the octets after its header.
MAX_LENGTH = 65535

#: The octets of transport header that a first fragment must hold, by protocol number: TCP, UDP, ICMPv6.
_TRANSPORT_HEADERS = {6: 20, 17: 8, 58: 8}

#: Two values of the ECN field: Not-ECT (not ECN-capable) and CE (congestion experienced) (RFC 3168 section 5).
_NOT_CAPABLE, _CONGESTION = 0, 3

#: The octets of memory that the Python objects of one fragment take beside its data, and those of one datagram. The
#: numbers were measured and rounded up.
_FRAGMENT_COST = 200
_DATAGRAM_COST = 1024


class _Datagram:
    """
    An incomplete datagram: the fragments of it that have been received.

    @ivar deadline: the time in seconds at which the datagram is dropped if it is still incomplete.
    @ivar offsets: the offset of each fragment in octets, in ascending order.
    @ivar pieces: the payload of each fragment, in the same order.
    @ivar end: the length of the whole payload in octets; C{None} until the last fragment is received.
    @ivar first: the headers of the fragment with offset 0; C{None} until it is received.
    @ivar ecnFields: the values of the ECN field in the fragments, as a bit set: value 3 is the bit C{1 << 3}.
    @ivar memory: the octets of memory that this datagram takes.
    @ivar size: the number of payload octets received.
    """

    __slots__ = ("deadline", "ecnFields", "end", "first", "memory", "offsets", "pieces", "size")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.end: int | None = None
        self.first: Packet | None = None
        self.ecnFields = 0
        self.memory = _DATAGRAM_COST
        self.offsets: list[int] = []
        self.pieces: list[bytes] = []
        self.size = 0

    def fault(self, offset: int, end: int, more: bool) -> Drop | None:
        """
        Find out why a fragment does not fit to those received before.

        @param offset: the offset of the first octet of the fragment.
        @param end: the offset behind its last octet.
        @param more: whether its flag says that more fragments follow.

        @return: C{None} if the fragment fits; L{Drop.DUPLICATE_FRAGMENT} if it holds nothing new; otherwise the reason
            to drop the whole datagram.
        """
        at = bisect_left(self.offsets, offset)
        # Only the fragment before and the one behind can overlap this one, because those received do not overlap.
        before = self.offsets[at - 1] + len(self.pieces[at - 1]) if at else 0
        if at < len(self.offsets) and self.offsets[at] == offset and end <= offset + len(self.pieces[at]):
            return Drop.DUPLICATE_FRAGMENT
        if end <= before:
            return Drop.DUPLICATE_FRAGMENT
        if offset < before or (at < len(self.offsets) and end > self.offsets[at]):
            return Drop.OVERLAPPING_FRAGMENT
        last = self.offsets[-1] + len(self.pieces[-1]) if self.offsets else 0
        if self.end is not None and (end > self.end or not more):
            return Drop.REASSEMBLY
        if not more and end < last:
            return Drop.REASSEMBLY
        return None if len(self.offsets) < MAX_FRAGMENTS else Drop.REASSEMBLY

    def add(self, offset: int, piece: bytes) -> None:
        """
        Store the payload of a fragment that fits.
        """
        at = bisect_left(self.offsets, offset)
        self.offsets.insert(at, offset)
        self.pieces.insert(at, piece)
        self.size += len(piece)
        self.memory += len(piece) + _FRAGMENT_COST


class Reassembler:
    """
    Reassembles datagrams from their fragments.

    @ivar memory: the octets of memory that all incomplete datagrams take.
    """

    __slots__ = ("_counters", "_datagrams", "_dropped", "_maxMemory", "memory")

    def __init__(
        self, counters: Counters, dropped: Callable[[Packet, Drop], None], maxMemory: int = MAX_MEMORY
    ) -> None:
        """
        @param counters: the counters, of which C{reasmReqds} counts the fragments that are accepted, and C{reasmOKs}
            the datagrams that are reassembled.
        @param dropped: a function that is called with each dropped packet and the reason. For a bad fragment, the
            packet is that fragment. For an incomplete datagram, the packet is the headers of its first fragment. If the
            first fragment is missing, the packet is the fragment just received, or is empty after a timeout. For
            L{Drop.FRAGMENT} (an impossible length or offset), C{start} of the packet is the position of the wrong
            field, which an ICMP error points to.
        @param maxMemory: the bound for C{memory}.
        """
        self._counters = counters
        self._dropped = dropped
        self._maxMemory = maxMemory
        # By the key of L{add}, the oldest first.
        self._datagrams: dict[bytes, _Datagram] = {}
        self.memory = 0

    def __len__(self) -> int:
        return len(self._datagrams)

    def tables(self) -> list[TableState]:
        """
        Return the states of the tables: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        The incomplete datagrams are not in a L{Table<txtuntap.layer.bounded.Table>}, because their bound counts octets,
        and entries grow after they were added.
        """
        most = max((len(datagram.pieces) for datagram in self._datagrams.values()), default=0)
        return [
            TableState("fragments", self.memory, self._maxMemory, Policy.OLDEST.value, "octets"),
            TableState("fragments of a datagram", most, MAX_FRAGMENTS, "the datagram is dropped"),
        ]

    @property
    def deadline(self) -> float | None:
        """
        The time in seconds at which L{expire} has to be called next; C{None} if no datagram is incomplete.
        """
        return min((datagram.deadline for datagram in self._datagrams.values()), default=None)

    def add(self, packet: Packet, key: bytes, at: int, offset: int, more: bool) -> tuple[Packet, bytes] | None:
        """
        Accept a fragment, and reassemble its datagram if that is complete now.

        @param packet: the fragment, with C{network} at its IP header and C{end} behind its last octet.
        @param key: the fields that identify its datagram, equal for all its fragments.
        @param at: the position of its payload in C{packet.data}.
        @param offset: the position of its payload in the payload of the datagram, in octets.
        @param more: whether its flag says that more fragments follow.

        @return: the headers of the first fragment and the whole payload if the datagram is complete; otherwise C{None}.
        """
        end = offset + packet.end - at
        if not end:
            self._dropped(packet, Drop.DUPLICATE_FRAGMENT)
            return None
        if not offset or end + at - packet.network > MAX_LENGTH or (more and (packet.end - at) % 8):
            fault = _fault(packet, at, offset, more)
            if fault is not None:
                self._dropped(packet, fault)
                return None
        if end == offset:
            self._dropDatagram(key, packet, Drop.REASSEMBLY)
            return None
        datagram = self._datagrams.get(key)
        if datagram is not None and datagram.deadline <= packet.time:
            # The call of expire is late. By now, the sender may have used the identification for another datagram.
            self._dropDatagram(key, None, Drop.REASSEMBLY_TIMEOUT)
            datagram = None
        if datagram is None:
            datagram = self._datagrams[key] = _Datagram(packet.time + TIMEOUT[packet.version])
            self.memory += datagram.memory
        fault = datagram.fault(offset, end, more)
        if fault is not None:
            if fault is Drop.DUPLICATE_FRAGMENT:
                self._dropped(packet, fault)
            else:
                self._dropDatagram(key, packet, fault)
            return None
        self._counters["reasmReqds"] += 1
        self.memory -= datagram.memory
        datagram.add(offset, packet.data[at : packet.end])
        datagram.ecnFields |= 1 << _ecnField(packet)
        if not offset:
            datagram.first = headers(packet, at)
            datagram.memory += len(datagram.first.data)
        self.memory += datagram.memory
        if not more:
            datagram.end = end
        if datagram.size == datagram.end and datagram.first is not None:
            congestion = datagram.ecnFields >> _CONGESTION & 1
            if congestion and datagram.ecnFields >> _NOT_CAPABLE & 1:
                # A router marks congestion only in an ECN-capable packet, so one of the fragments is forged.
                self._dropDatagram(key, packet, Drop.REASSEMBLY)
                return None
            self._remove(key)
            self._counters["reasmOKs"] += 1
            first = datagram.first
            first.time = packet.time
            if congestion:
                _setCongestion(first)
            return first, b"".join(datagram.pieces)
        while self.memory > self._maxMemory:
            self._dropDatagram(next(iter(self._datagrams)), packet, Drop.REASSEMBLY)
        return None

    def expire(self, now: float) -> None:
        """
        Drop the datagrams whose deadline has passed.

        @param now: the time in seconds, by the same clock as C{packet.time}.
        """
        for key in [key for key, datagram in self._datagrams.items() if datagram.deadline <= now]:
            self._dropDatagram(key, None, Drop.REASSEMBLY_TIMEOUT)

    def clear(self) -> None:
        """
        Discard all incomplete datagrams, without a count.
        """
        self._datagrams.clear()
        self.memory = 0

    def _dropDatagram(self, key: bytes, packet: Packet | None, drop: Drop) -> None:
        """
        Drop an incomplete datagram.

        @param packet: the fragment just received; C{None} if a timeout is the reason.
        """
        datagram = self._remove(key)
        first = packet if datagram is None or datagram.first is None else datagram.first
        # The empty packet stands for a missing first fragment: no ICMP error may be sent without the headers of that
        # one (RFC 792, RFC 4443 section 3.3), so the drop is only counted.
        self._dropped(Packet(b"") if first is None else first, drop)

    def _remove(self, key: bytes) -> _Datagram | None:
        datagram = self._datagrams.pop(key, None)
        if datagram is not None:
            self.memory -= datagram.memory
        return datagram


def _ecnField(packet: Packet) -> int:
    """
    The ECN field of C{packet}, a number from 0 to 3.
    """
    return packet.trafficClass & 0x03


def _setCongestion(packet: Packet) -> None:
    """
    Set the ECN field of C{packet} to "congestion experienced". A fragment of the datagram had this value, and the
    reassembly must not lose it (RFC 3168 section 5.3).
    """
    at = packet.network + 1
    bits = _CONGESTION if packet.version == 4 else _CONGESTION << 4
    packet.data = packet.data[:at] + bytes((packet.data[at] | bits,)) + packet.data[at + 1 :]


def headers(packet: Packet, end: int, payload: int = 64) -> Packet:
    """
    Copy the headers of C{packet}, and as much of the payload behind them as an ICMP error quotes. The copy frees the
    rest of the buffer.

    @param end: the position behind the headers.
    @param payload: the most octets of payload to copy.
    """
    kept = packet.copy()
    kept.data = packet.data[: min(packet.end, end + payload)]
    kept.start = end
    kept.end = len(kept.data)
    return kept


def _fault(packet: Packet, at: int, offset: int, more: bool) -> Drop | None:
    """
    Find out whether a fragment is invalid by itself, without a look at the other fragments of its datagram.

    For the parameters, see L{Reassembler.add}.

    @return: the reason to drop the fragment; C{None} if it is valid. For L{Drop.FRAGMENT}, C{packet.start} is moved to
        the wrong field. For L{Drop.FRAGMENT_HEADERS}, C{packet.start} is moved to the IP header.
    """
    network = packet.network
    four = packet.version == 4
    before = at - network - (0 if four else ipv6.HEADER_LENGTH + ipv6.FRAGMENT_HEADER.size)
    if before + offset + packet.end - at > MAX_LENGTH:
        # The reassembled datagram would be longer than its length field can say. The headers that stay in front of the
        # payload count, too (RFC 8200 section 4.5).
        packet.start = network + 6 if four else at - 6
        return Drop.FRAGMENT
    if more and (packet.end - at) % 8:
        packet.start = network + (2 if four else 4)
        return Drop.FRAGMENT
    if offset:
        return None
    # A first fragment without the complete transport header is an attack on filters, which cannot see the ports (RFC
    # 1858, RFC 7112). Over IPv6, the fragment header is the 8 octets before the payload. Its first octet is the number
    # of the next header.
    kind, header = packet.data[network + 9 if four else at - 8], at
    if not four and kind in ipv6.EXTENSIONS:
        chain = list(ipv6.headerChain(packet.data, network, packet.end))
        kind, header = chain[-1]
        if kind == ipv6.FRAGMENT or (kind in ipv6.EXTENSIONS and len(chain) > ipv6.MAX_EXTENSIONS):
            return Drop.HEADER
    if (not four and kind in ipv6.EXTENSIONS) or packet.end - header < _TRANSPORT_HEADERS.get(kind, 0):
        packet.start = network
        return Drop.FRAGMENT_HEADERS
    return None


def reassembled4(first: Packet, payload: bytes) -> Packet | None:
    """
    Make the packet of a reassembled IPv4 datagram.

    @param first: the headers of the first fragment, as L{Reassembler.add} returns them.
    @param payload: the whole payload.

    @return: a packet with the header of the first fragment, with a new length and checksum, and with C{start} at the
        payload; C{None} if it would be too long.
    """
    network = first.network
    size = (first.data[network] & 0x0F) << 2
    if size + len(payload) > ipv4.MAX_LENGTH:
        return None
    head = bytearray(first.data[: network + size])
    head[network + 2 : network + 4] = (size + len(payload)).to_bytes(2, "big")
    head[network + 6 : network + 8] = bytes(2)
    head[network + 10 : network + 12] = bytes(2)
    head[network + 10 : network + 12] = checksum(bytes(head[network:])).to_bytes(2, "big")
    return _reassembled(first, bytes(head), payload)


def reassembled6(first: Packet, at: int, payload: bytes) -> Packet | None:
    """
    Make the packet of a reassembled IPv6 datagram. The fragment header is left out.

    @param first: the headers of the first fragment, as L{Reassembler.add} returns them.
    @param at: the position of the fragment header in C{first.data}.
    @param payload: the whole payload.

    @return: a packet with the headers before the fragment header, with a new length, and with C{start} at the payload;
        C{None} if it would be too long.
    """
    network = first.network
    before = at - network - ipv6.HEADER_LENGTH
    if before + len(payload) > ipv6.MAX_PAYLOAD:
        return None
    head = bytearray(first.data[:at])
    head[network + 4 : network + 6] = (before + len(payload)).to_bytes(2, "big")
    head[ipv6.nextHeaderField(first.data, network, at)] = first.data[at]
    return _reassembled(first, bytes(head), payload)


def _reassembled(first: Packet, head: bytes, payload: bytes) -> Packet:
    packet = first.copy(Reassembled)
    packet.data = head + payload
    packet.end = len(packet.data)
    packet.start = packet.transport = len(head)
    return packet


def split(payload: bytes, first: int, room: int) -> Iterator[tuple[int, bool, bytes]]:
    """
    Split a payload into fragments.

    @param payload: the payload of the datagram.
    @param first: the most octets of payload in the first fragment.
    @param room: the most octets of payload in every other fragment.

    @return: for each fragment its offset in octets, whether more fragments follow, and its payload. The length of the
        payload is a multiple of 8 octets in every fragment but the last.
    """
    offset = 0
    room -= room % 8
    size = first - first % 8
    while offset < len(payload):
        piece = payload[offset : offset + size]
        yield offset, offset + len(piece) < len(payload), piece
        offset += len(piece)
        size = room
