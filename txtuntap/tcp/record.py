"""
Records of connections and of ports that listen, for those who watch a host: what C{ss -ti} tells of sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address

from txtuntap.tcp.transport import endAddress

if TYPE_CHECKING:
    from txtuntap.tcp.connection import Connection
    from txtuntap.tcp.halfopen import HalfOpen
    from txtuntap.tcp.handshake import Agreement
    from txtuntap.tcp.path import Path
    from txtuntap.tcp.ports import TCPPort
    from txtuntap.tcp.timewait import TimeWait
    from txtuntap.wire.tcp import Options


@attrs.frozen
class ConnectionRecord:
    """
    The state of one connection at the moment at which it was asked for. Sizes are in octets, times in seconds.

    A connection that is half open, or in TIME-WAIT, has no congestion control, and nothing waits on it.

    @ivar state: the state, as RFC 9293 writes it: C{"ESTABLISHED"}.
    @ivar host: our end; C{peer}: the other one.
    @ivar sendWindow: what the peer takes beyond what it has acknowledged.
    @ivar receiveWindow: what we take beyond what we have received.
    @ivar control: the name of the congestion control's class; L{None}: there is none.
    @ivar phase: what is done about congestion: C{"open"}, C{"cwr"}, C{"recovery"} or C{"loss"}, as Linux has it.
    @ivar congestionWindow: what may be under way.
    @ivar threshold: the window at which slow start ends; infinity before the first loss.
    @ivar rate: the octets a second that the congestion control has us send at most; L{None}: it names no rate.
    @ivar segmentSize: the data in one full segment of ours; L{None}: the handshake is not over.
    @ivar roundTrip: the smoothed round-trip time; L{None}: it was not measured.
    @ivar roundTripVariation: how far samples of it are from that; C{leastRoundTrip}: the least of the last minutes.
    @ivar retransmissionTimeout: after how long the timer sends again, backed off; L{None}: the handshake is not over.
    @ivar timeouts: how often the timer was backed off.
    @ivar retransmissions: segments that were sent again; C{retransmitting}: those of them that are under way.
    @ivar lost: what is taken for lost, and was not sent again.
    @ivar segmentsIn: segments received; C{segmentsOut}: segments sent.
    @ivar octetsIn: data received in order; C{octetsOut}: data sent; C{octetsAgain}: the part of that which was
        sent again.
    @ivar octetsAcknowledged: data that the peer has acknowledged.
    @ivar underWay: what was sent and is not acknowledged.
    @ivar toSend: what was written and is not sent.
    @ivar toRead: what the application has not read.
    @ivar outOfOrder: what waits for octets before it.
    @ivar agreement: what both SYNs agree on; L{None}: the handshake is not over, or that is forgotten.
    @ivar options: the options of the peer's SYN; L{None}: it has not come, or is forgotten.
    """

    state: str
    host: IPv4Address | IPv6Address
    peer: IPv4Address | IPv6Address
    sendWindow: int = 0
    receiveWindow: int = 0
    control: str | None = None
    phase: str | None = None
    congestionWindow: int | None = None
    threshold: float | None = None
    rate: float | None = None
    segmentSize: int | None = None
    roundTrip: float | None = None
    roundTripVariation: float | None = None
    leastRoundTrip: float | None = None
    retransmissionTimeout: float | None = None
    timeouts: int = 0
    retransmissions: int = 0
    retransmitting: int = 0
    lost: int = 0
    segmentsIn: int = 0
    segmentsOut: int = 0
    octetsIn: int = 0
    octetsOut: int = 0
    octetsAgain: int = 0
    octetsAcknowledged: int = 0
    underWay: int = 0
    toSend: int = 0
    toRead: int = 0
    outOfOrder: int = 0
    agreement: Agreement | None = None
    options: Options | None = None

    def __str__(self) -> str:
        """
        Describe the connection in one line, in the words of C{ss}.
        """
        return _line(plain(self))


@attrs.frozen
class PortRecord:
    """
    A port that listens, at the moment at which it was asked for.

    @ivar state: C{"LISTEN"}.
    @ivar host: the address and port that it listens on. The address is empty where that is all of both IP versions.
    @ivar connections: connections of it that are up; C{maxConnections}: how many may be.
    @ivar halfOpen: those that are half open; C{backlog}: how many may be.
    """

    state: str = attrs.field(default="LISTEN", kw_only=True)
    host: IPv4Address | IPv6Address
    connections: int
    maxConnections: int
    halfOpen: int
    backlog: int

    def __str__(self) -> str:
        """
        Describe the port in one line, in the words of C{ss}.
        """
        return _line(plain(self))


class ConnectionRecords(Iterator[ConnectionRecord]):
    """
    The records of many connections, each made when it is asked for. A connection that has ended by then is left out.

    @ivar left: the connections that were not looked at yet.
    """

    def __init__(self, keys: list[bytes], recordAt: Callable[[bytes], ConnectionRecord | None]) -> None:
        """
        @param keys: the flows.
        @param recordAt: makes the record of a flow's connection; L{None}: there is no such connection any more.
        """
        keys.reverse()
        self._keys = keys
        self._recordAt = recordAt

    @property
    def left(self) -> int:
        return len(self._keys)

    def __next__(self) -> ConnectionRecord:
        while self._keys:
            record = self._recordAt(self._keys.pop())
            if record is not None:
                return record
        raise StopIteration


def recordOf(path: Path, connection: Connection) -> ConnectionRecord:
    """
    Make the record of a connection that has an object of its own.
    """
    sender, receiver, board = connection.sender, connection.receiver, connection.sender.board
    control, roundTrip = sender.control, sender.roundTrip
    isUp = not connection.isOpening
    # Positions count the SYN, and behind the data the FIN.
    end = sender.buffer.end
    return ConnectionRecord(
        connection.state.value,
        *_ends(path),
        sendWindow=sender.window,
        receiveWindow=receiver.edge - receiver.next,
        control=type(control).__name__,
        phase=sender.phase.value,
        congestionWindow=int(control.window),
        threshold=control.threshold,
        rate=control.rate,
        segmentSize=sender.segmentSize if isUp else None,
        roundTrip=roundTrip.smoothed or None,
        roundTripVariation=roundTrip.variation if roundTrip.smoothed else None,
        leastRoundTrip=roundTrip.least if roundTrip.smoothed else None,
        retransmissionTimeout=sender.backedOff if isUp else None,
        timeouts=sender.timeouts,
        retransmissions=sender.sentAgain + connection.synsAgain,
        retransmitting=board.repeated if sender.sentAgain else 0,
        lost=board.lost,
        segmentsIn=connection.segmentsIn,
        segmentsOut=connection.segmentsOut,
        octetsIn=receiver.next - 1 - receiver.finished,
        octetsOut=max(0, min(sender.next, end) - 1) + sender.octetsAgain,
        octetsAgain=sender.octetsAgain,
        octetsAcknowledged=max(0, min(sender.acknowledged, end) - 1),
        underWay=max(0, sender.next - sender.acknowledged),
        toSend=max(0, end - max(sender.next, 1)),
        toRead=receiver.unread,
        outOfOrder=sum(end - start for start, end in receiver.ranges),
        agreement=connection.agreement if isUp else None,
        options=connection.peerOptions,
    )


def recordOfHalfOpen(half: HalfOpen) -> ConnectionRecord:
    """
    Make the record of a connection in SYN-RECEIVED.
    """
    window = half.port.parameters.synWindow
    return ConnectionRecord(
        "SYN-RECEIVED",
        *_ends(half.path),
        receiveWindow=window,
        retransmissions=half.retries,
        agreement=half.agreement,
        options=half.options,
    )


def recordOfTimeWait(waiting: TimeWait) -> ConnectionRecord:
    """
    Make the record of a connection in TIME-WAIT.
    """
    return ConnectionRecord("TIME-WAIT", *_ends(waiting.path), receiveWindow=waiting.window)


def recordOfPort(port: TCPPort) -> PortRecord:
    """
    Make the record of a port that listens.
    """
    host = port.getHost() if port.boundAddress else IPv4Address("TCP", "", port.port)
    return PortRecord(host, port.connections, port.maxConnections, port.halfOpen, port.backlog)


def plain(record: ConnectionRecord | PortRecord) -> dict[str, Any]:
    """
    A record as JSON has it, by the names of its attributes. An end is a dict with C{host} and C{port}; the agreement
    and the options of a SYN are dicts likewise. A number that is not finite is L{None}.
    """
    fields = {name: getattr(record, name) for name in _NAMES[type(record)]}
    for name in "host", "peer":
        if name in fields:
            fields[name] = {"host": fields[name].host, "port": fields[name].port}
    for name in "agreement", "options":
        if fields.get(name) is not None:
            fields[name] = attrs.asdict(fields[name])
    for name in "threshold", "rate":
        if fields.get(name) is not None and not isfinite(fields[name]):
            fields[name] = None
    return fields


def endText(end: Mapping[str, Any]) -> tuple[str, str]:
    """
    The address and the port of one end, as C{ss} writes them: a star for any.

    @param end: as in L{plain}.
    """
    address = end["host"]
    return f"[{address}]" if ":" in address else address or "*", str(end["port"] or "*")


def queues(fields: Mapping[str, Any]) -> tuple[int, int]:
    """
    The octets that wait to be read, and those that are sent and not acknowledged, or wait to be sent: what C{ss} calls
    Recv-Q and Send-Q. Those of a port that listens are its half open connections, and its backlog.

    @param fields: what L{plain} makes of a record.
    """
    if "backlog" in fields:
        return fields["halfOpen"], fields["backlog"]
    return fields["toRead"], fields["underWay"] + fields["toSend"]


def details(fields: Mapping[str, Any]) -> str:
    """
    The details of a connection, or of a port, in the words and units of C{ss -ti}: windows, losses and retransmissions
    are in segments, times in milliseconds. What it has no word for is named likewise.

    @param fields: what L{plain} makes of a record.
    """
    if "backlog" in fields:
        return f"connections:{fields['connections']} max_connections:{fields['maxConnections']}"
    return " ".join(_details(fields))


def _details(fields: Mapping[str, Any]) -> Iterator[str]:
    agreement = fields["agreement"] or {}
    for name, word in ("timestamps", "ts"), ("sack", "sack"), ("ecn", "ecn"):
        if agreement.get(name):
            yield word
    if fields["control"] is not None:
        yield fields["control"].lower()
    if agreement.get("scale") or agreement.get("ownScale"):
        yield f"wscale:{agreement['scale']},{agreement['ownScale']}"
    if fields["retransmissionTimeout"] is not None:
        yield f"rto:{_milliseconds(fields['retransmissionTimeout'])}"
    if fields["timeouts"]:
        yield f"backoff:{fields['timeouts']}"
    if fields["roundTrip"] is not None:
        yield f"rtt:{_milliseconds(fields['roundTrip'])}/{_milliseconds(fields['roundTripVariation'])}"
    size = fields["segmentSize"]
    if size is not None:
        yield f"mss:{size}"
        yield f"cwnd:{fields['congestionWindow'] // size}"
        if fields["threshold"] is not None:
            yield f"ssthresh:{int(fields['threshold'] // size)}"
    for name, word in (
        ("octetsOut", "bytes_sent"),
        ("octetsAgain", "bytes_retrans"),
        ("octetsAcknowledged", "bytes_acked"),
        ("octetsIn", "bytes_received"),
        ("segmentsOut", "segs_out"),
        ("segmentsIn", "segs_in"),
    ):
        if fields[name]:
            yield f"{word}:{fields[name]}"
    if fields["rate"] is not None:
        yield f"pacing_rate {fields['rate'] * 8:.0f}bps"
    if fields["retransmissions"]:
        yield f"retrans:{fields['retransmitting']}/{fields['retransmissions']}"
    if fields["lost"]:
        yield f"lost:{ceil(fields['lost'] / (size or fields['lost']))}"
    if fields["phase"] not in (None, "open"):
        yield f"phase:{fields['phase']}"
    if fields["toSend"]:
        yield f"notsent:{fields['toSend']}"
    if fields["leastRoundTrip"] is not None:
        yield f"minrtt:{_milliseconds(fields['leastRoundTrip'])}"
    if fields["outOfOrder"]:
        yield f"out_of_order:{fields['outOfOrder']}"
    yield f"snd_wnd:{fields['sendWindow']}"
    yield f"rcv_wnd:{fields['receiveWindow']}"


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000, 3):g}"


def _line(fields: Mapping[str, Any]) -> str:
    ends = " ".join(":".join(endText(fields[name])) for name in ("host", "peer") if name in fields)
    toRead, toSend = queues(fields)
    return f"{fields['state']} Recv-Q {toRead} Send-Q {toSend} {ends} {details(fields)}"


def _ends(path: Path) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    return endAddress(path.source, path.sourcePort), endAddress(path.dest, path.destPort)


#: The names of attributes, by class.
_NAMES = {each: [field.name for field in attrs.fields(each)] for each in (ConnectionRecord, PortRecord)}
