"""
IP datagrams taken apart and put together again (RFC 791 section 3.2, RFC 8200 section 4.5).

No clock in here: whoever has one says what time it is, and calls L{Reassembler.expire} at L{Reassembler.deadline}.

What overlaps is dropped with all of its datagram (RFC 5722, which IPv4 is held to as well): there is no honest reason
for it, and whoever chooses between two versions of an octet chooses differently from the firewall before him.
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

#: Octets of memory that all datagrams in the making may take, objects and all. At the bound the oldest goes, so that
#: under a flood new ones still get through.
MAX_MEMORY = 1 << 20

#: Fragments of one datagram: one of 64 KiB at the least MTU of the Internet, 576, has 119.
MAX_FRAGMENTS = 256

#: Seconds from the first fragment to the last (RFC 1122 section 3.3.2 leaves it open; RFC 8200 section 4.5).
TIMEOUT = {4: 30.0, 6: 60.0}

#: Octets that the length fields of both versions can tell: all of IPv4, what comes after the header of IPv6.
MAX_LENGTH = 65535

#: Octets in the header of a transport, as far as a first fragment must have it: TCP, UDP, ICMPv6.
_TRANSPORT_HEADERS = {6: 20, 17: 8, 58: 8}

#: Values of the ECN field (RFC 3168 section 5).
_NOT_CAPABLE, _CONGESTION = 0, 3

#: The octets of memory that the objects of a fragment and of a datagram take beside their data; measured, rounded up.
_FRAGMENT_COST = 200
_DATAGRAM_COST = 1024


class _Datagram:
    """
    A datagram in the making.

    @ivar offsets: where the fragments held begin, in order; C{pieces} are their octets.
    @ivar end: how long the payload is, once its last fragment has come.
    @ivar first: the headers of the fragment with offset 0, once it has come.
    @ivar marks: the ECN fields of the fragments held: a bit for each value.
    """

    __slots__ = ("deadline", "end", "first", "marks", "memory", "offsets", "pieces", "size")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.end: int | None = None
        self.first: Packet | None = None
        self.marks = 0
        self.memory = _DATAGRAM_COST
        self.offsets: list[int] = []
        self.pieces: list[bytes] = []
        self.size = 0

    def fit(self, offset: int, end: int, more: bool) -> Drop | None:
        """
        How a fragment fits to those held.

        @return: L{None}: well; L{Drop.DUPLICATE_FRAGMENT}: nothing new in it; or why the datagram must go.
        """
        at = bisect_left(self.offsets, offset)
        # The one before may reach into it; one that begins where it begins, or after, may be reached.
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

    def hold(self, offset: int, piece: bytes) -> None:
        at = bisect_left(self.offsets, offset)
        self.offsets.insert(at, offset)
        self.pieces.insert(at, piece)
        self.size += len(piece)
        self.memory += len(piece) + _FRAGMENT_COST


class Reassembler:
    """
    Puts datagrams together.

    @ivar memory: octets of memory that the datagrams in the making take.
    """

    def __init__(
        self, counters: Counters, dropped: Callable[[Packet, Drop], None], maxMemory: int = MAX_MEMORY
    ) -> None:
        """
        @param counters: where C{reasmReqds} counts the fragments that fit, and C{reasmOKs} the datagrams made whole.
        @param dropped: called with what goes no further, and why: a fragment that must not be; for a datagram given up,
            its first fragment's headers if that had come, or else the fragment at hand. With L{Drop.FRAGMENT} (its
            length or place cannot be), C{start} is at the field that says so.
        """
        self._counters = counters
        self._dropped = dropped
        self._maxMemory = maxMemory
        # The oldest first.
        self._datagrams: dict[bytes, _Datagram] = {}
        self.memory = 0

    def __len__(self) -> int:
        return len(self._datagrams)

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}. The bound of this table is one
        of octets, and how large an entry gets is known only later: so it is no L{Table<txtuntap.layer.bounded.Table>}.
        """
        most = max((len(datagram.pieces) for datagram in self._datagrams.values()), default=0)
        return [
            TableState("fragments", self.memory, self._maxMemory, Policy.OLDEST.value, "octets"),
            TableState("fragments of a datagram", most, MAX_FRAGMENTS, "the datagram is dropped"),
        ]

    @property
    def deadline(self) -> float | None:
        """
        When the next datagram is to be given up, if none comes to its end before.
        """
        return min((datagram.deadline for datagram in self._datagrams.values()), default=None)

    def add(self, packet: Packet, key: bytes, at: int, offset: int, more: bool) -> tuple[Packet, bytes] | None:
        """
        A fragment has come.

        @param packet: the fragment, C{network} at its IP header, C{end} at its end.
        @param key: what it has in common with the others of its datagram.
        @param at: where in C{data} its octets begin.
        @param offset: where in the datagram they belong.
        @param more: whether there are more to come after it.

        @return: when the datagram is whole, the headers of its first fragment and its payload; or else L{None}.
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
            self._giveUp(key, packet, Drop.REASSEMBLY)
            return None
        datagram = self._datagrams.get(key)
        if datagram is not None and datagram.deadline <= packet.time:
            # Its call is late. Another datagram may have its identification by now.
            self._giveUp(key, None, Drop.REASSEMBLY_TIMEOUT)
            datagram = None
        if datagram is None:
            datagram = self._datagrams[key] = _Datagram(packet.time + TIMEOUT[packet.version])
            self.memory += datagram.memory
        fault = datagram.fit(offset, end, more)
        if fault is not None:
            if fault is Drop.DUPLICATE_FRAGMENT:
                self._dropped(packet, fault)
            else:
                self._giveUp(key, packet, fault)
            return None
        self._counters["reasmReqds"] += 1
        self.memory -= datagram.memory
        datagram.hold(offset, packet.data[at : packet.end])
        datagram.marks |= 1 << _mark(packet)
        if not offset:
            datagram.first = headers(packet, at)
            datagram.memory += len(datagram.first.data)
        self.memory += datagram.memory
        if not more:
            datagram.end = end
        if datagram.size == datagram.end and datagram.first is not None:
            congestion = datagram.marks >> _CONGESTION & 1
            if congestion and datagram.marks >> _NOT_CAPABLE & 1:
                # No router marks what says that it is not to be marked.
                self._giveUp(key, packet, Drop.REASSEMBLY)
                return None
            self._forget(key)
            self._counters["reasmOKs"] += 1
            first = datagram.first
            first.time = packet.time
            if congestion:
                _setMark(first)
            return first, b"".join(datagram.pieces)
        while self.memory > self._maxMemory:
            self._giveUp(next(iter(self._datagrams)), packet, Drop.REASSEMBLY)
        return None

    def expire(self, now: float) -> None:
        """
        Give up what has taken too long.

        @param now: seconds, by the clock that packets carry.
        """
        for key in [key for key, datagram in self._datagrams.items() if datagram.deadline <= now]:
            self._giveUp(key, None, Drop.REASSEMBLY_TIMEOUT)

    def clear(self) -> None:
        """
        Forget everything.
        """
        self._datagrams.clear()
        self.memory = 0

    def _giveUp(self, key: bytes, packet: Packet | None, drop: Drop) -> None:
        datagram = self._forget(key)
        first = packet if datagram is None or datagram.first is None else datagram.first
        # Without the first fragment there is no ICMP error, only a count (RFC 792, RFC 4443 section 3.3).
        self._dropped(Packet(b"") if first is None else first, drop)

    def _forget(self, key: bytes) -> _Datagram | None:
        datagram = self._datagrams.pop(key, None)
        if datagram is not None:
            self.memory -= datagram.memory
        return datagram


def _mark(packet: Packet) -> int:
    """
    The ECN field of C{packet}.
    """
    return packet.trafficClass & 0x03


def _setMark(packet: Packet) -> None:
    """
    Say in the header of C{packet} that a fragment has met with congestion: that must not get lost (RFC 3168 section
    5.3).
    """
    at = packet.network + 1
    bits = _CONGESTION if packet.version == 4 else _CONGESTION << 4
    packet.data = packet.data[:at] + bytes((packet.data[at] | bits,)) + packet.data[at + 1 :]


def headers(packet: Packet, end: int, payload: int = 64) -> Packet:
    """
    A copy of C{packet} that keeps no more of its buffer than the headers before C{end} and some of what follows them:
    enough for an ICMP error to quote.
    """
    kept = packet.copy()
    kept.data = packet.data[: min(packet.end, end + payload)]
    kept.start = end
    kept.end = len(kept.data)
    return kept


def _fault(packet: Packet, at: int, offset: int, more: bool) -> Drop | None:
    """
    Why a fragment cannot be, by itself, C{packet.start} at the field that says so; or L{None}.
    """
    network = packet.network
    four = packet.version == 4
    before = at - network - (0 if four else ipv6.HEADER_LENGTH + ipv6.FRAGMENT_HEADER.size)
    if before + offset + packet.end - at > MAX_LENGTH:
        # RFC 8200 section 4.5 counts the headers that stay: nothing could say how long the whole is.
        packet.start = network + 6 if four else at - 6
        return Drop.FRAGMENT
    if more and (packet.end - at) % 8:
        packet.start = network + (2 if four else 4)
        return Drop.FRAGMENT
    if offset:
        return None
    # A first one without all headers up to the transport's is meant for filters, which it gets past (RFC 1858, 7112).
    # The fragment header of IPv6 is right before: its first octet says what comes next.
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


def joined4(first: Packet, payload: bytes) -> Packet | None:
    """
    The datagram that fragments of IPv4 have made.

    @param first: headers of the first fragment.

    @return: a packet that stands where the first fragment stood, C{start} at the payload; L{None} if it is too long.
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
    return _joined(first, bytes(head), payload)


def joined6(first: Packet, at: int, payload: bytes) -> Packet | None:
    """
    The datagram that fragments of IPv6 have made, its fragment header left out.

    @param at: where in C{first} the fragment header stood.

    @return: as L{joined4}.
    """
    network = first.network
    before = at - network - ipv6.HEADER_LENGTH
    if before + len(payload) > ipv6.MAX_PAYLOAD:
        return None
    head = bytearray(first.data[:at])
    head[network + 4 : network + 6] = (before + len(payload)).to_bytes(2, "big")
    head[ipv6.nextHeaderField(first.data, network, at)] = first.data[at]
    return _joined(first, bytes(head), payload)


def _joined(first: Packet, head: bytes, payload: bytes) -> Packet:
    packet = first.copy(Reassembled)
    packet.data = head + payload
    packet.end = len(packet.data)
    packet.start = packet.transport = len(head)
    return packet


def split(payload: bytes, first: int, room: int) -> Iterator[tuple[int, bool, bytes]]:
    """
    Take a payload apart.

    @param first: octets of it in the first fragment at most; C{room}: in each other.

    @return: for each fragment its offset, whether more follow, and its octets. All but the last have a multiple of
        eight.
    """
    offset = 0
    room -= room % 8
    size = first - first % 8
    while offset < len(payload):
        piece = payload[offset : offset + size]
        yield offset, offset + len(piece) < len(payload), piece
        offset += len(piece)
        size = room
