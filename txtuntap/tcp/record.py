"""
Records of connections and of listening ports, for monitoring. They have the information that C{ss -ti} shows of
sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address

from txtuntap.tcp.transport import endpointAddress

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
    A snapshot of the state of one connection. Sizes are in octets, times in seconds.

    A connection that is half open or in TIME-WAIT has no congestion control and no data. The record of a half-open
    connection has only its state, endpoints, C{receiveWindow}, C{retransmissions}, C{agreement} and C{options}. The
    record of a connection in TIME-WAIT has only its state, endpoints and C{receiveWindow}. All other fields are 0 or
    C{None}.

    @ivar state: the state as RFC 9293 writes it, such as C{"ESTABLISHED"}.
    @ivar host: our address and port.
    @ivar peer: the peer's address and port.
    @ivar sendWindow: the window of the peer, from the first unacknowledged octet on.
    @ivar receiveWindow: our advertised window, from the next expected octet on.
    @ivar control: the name of the congestion control's class.
    @ivar phase: the congestion phase by Linux's names: C{"open"}, C{"cwr"}, C{"recovery"} or C{"loss"}.
    @ivar congestionWindow: the congestion window.
    @ivar threshold: the congestion window at which slow start ends. Infinity: the first slow start has not ended. A
        loss, a timeout, an ECN mark or HyStart++ ends it.
    @ivar rate: the most octets a second that the congestion control allows. C{None}: it sets no rate.
    @ivar segmentSize: the octets of data in one full segment that we send. C{None}: the handshake is not complete.
    @ivar roundTrip: the smoothed round-trip time. C{None}: it was not measured. The next two are then C{None}, too.
    @ivar roundTripVariation: the mean deviation of the round-trip time.
    @ivar leastRoundTrip: the least round-trip time. After five minutes, the next measured one replaces it.
    @ivar retransmissionTimeout: the retransmission timeout with its backoff. C{None}: the handshake is not complete.
    @ivar timeouts: how often the retransmission timeout is doubled now. A measured round-trip time resets it to 0, and
        so does the end of window probes.
    @ivar retransmissions: the number of segments retransmitted, SYNs included. The SYN+ACKs of an accepted connection
        count only while it is half open.
    @ivar retransmitting: the number of retransmitted segments that are in flight.
    @ivar lost: the octets that are marked lost and not retransmitted yet.
    @ivar segmentsIn: the number of segments received.
    @ivar segmentsOut: the number of segments sent.
    @ivar octetsIn: the octets of data received in order.
    @ivar octetsOut: the octets of data sent, retransmissions included.
    @ivar octetsAgain: the octets of data retransmitted.
    @ivar octetsAcknowledged: the octets of data that the peer has acknowledged.
    @ivar underWay: the octets that are sent and unacknowledged. The SYN and the FIN count as one octet each.
    @ivar toSend: the octets that the application has written and that are not sent.
    @ivar toRead: the octets received in order that the application has not read.
    @ivar outOfOrder: the octets received out of order, which wait for missing data.
    @ivar agreement: the options that both SYNs agree on. C{None} in SYN-SENT, in TIME-WAIT, and before a simultaneous
        open is complete.
    @ivar options: the options of the peer's SYN. C{None} before this SYN was received, and in TIME-WAIT.
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
        Describe the connection in one line, with the names that C{ss} uses.
        """
        return _line(plain(self))


@attrs.frozen
class PortRecord:
    """
    A snapshot of the state of one listening port.

    @ivar state: always C{"LISTEN"}.
    @ivar host: the address and port that the port listens on. An empty address means all addresses of both IP versions.
    @ivar connections: the number of established connections of the port.
    @ivar maxConnections: the limit of C{connections}.
    @ivar halfOpen: the number of half-open connections of the port.
    @ivar backlog: the limit of C{halfOpen}.
    """

    state: str = attrs.field(default="LISTEN", kw_only=True)
    host: IPv4Address | IPv6Address
    connections: int
    maxConnections: int
    halfOpen: int
    backlog: int

    def __str__(self) -> str:
        """
        Describe the port in one line, with the names that C{ss} uses.
        """
        return _line(plain(self))


class ConnectionRecords(Iterator[ConnectionRecord]):
    """
    An iterator over the records of many connections. It makes each record when C{next} asks for it, and skips a
    connection that has ended by then.

    @ivar left: the number of connections that the iterator has not reached yet. Some of them may have ended.
    """

    def __init__(self, keys: list[bytes], recordAt: Callable[[bytes], ConnectionRecord | None]) -> None:
        """
        @param keys: the flows of the connections, as the layer's tables have them.
        @param recordAt: makes the record of a flow's connection. It returns C{None} if the connection has ended.
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
    Make the record of a connection that is neither half open nor in TIME-WAIT.
    """
    sender, receiver, board = connection.sender, connection.receiver, connection.sender.board
    control, roundTrip = sender.control, sender.roundTrip
    isUp = not connection.isOpening
    # Positions count the SYN and the FIN, too. The counts of octets of data leave both out.
    end = sender.buffer.end
    return ConnectionRecord(
        connection.state.value,
        *_endpoints(path),
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
    Make the record of a half-open connection, which is in SYN-RECEIVED.
    """
    window = half.port.parameters.synWindow
    return ConnectionRecord(
        "SYN-RECEIVED",
        *_endpoints(half.path),
        receiveWindow=window,
        retransmissions=half.retries,
        agreement=half.agreement,
        options=half.options,
    )


def recordOfTimeWait(waiting: TimeWait) -> ConnectionRecord:
    """
    Make the record of a connection in TIME-WAIT.
    """
    return ConnectionRecord("TIME-WAIT", *_endpoints(waiting.path), receiveWindow=waiting.window)


def recordOfPort(port: TCPPort) -> PortRecord:
    """
    Make the record of a listening port.
    """
    host = port.getHost() if port.boundAddress else IPv4Address("TCP", "", port.port)
    return PortRecord(host, port.connections, port.maxConnections, port.halfOpen, port.backlog)


def plain(record: ConnectionRecord | PortRecord) -> dict[str, Any]:
    """
    Convert a record to a dict that JSON can represent, with the attributes as keys. An endpoint becomes a dict with
    C{host} and C{port}. The agreement and the options become dicts, too. An infinite number becomes C{None}.
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
    Return the address and the port of one endpoint as C{ss} writes them. A star stands for any address or any port.

    @param end: an endpoint as L{plain} returns it.
    """
    address = end["host"]
    return f"[{address}]" if ":" in address else address or "*", str(end["port"] or "*")


def queues(fields: Mapping[str, Any]) -> tuple[int, int]:
    """
    Return the two numbers that C{ss} calls Recv-Q and Send-Q. For a connection, they are the octets to read, and the
    octets that are unacknowledged or not sent. For a listening port, they are its half-open connections and its
    backlog.

    @param fields: a record as L{plain} returns it.
    """
    if "backlog" in fields:
        return fields["halfOpen"], fields["backlog"]
    return fields["toRead"], fields["underWay"] + fields["toSend"]


def details(fields: Mapping[str, Any]) -> str:
    """
    Describe the details of a connection or a port, with the names and units of C{ss -ti}. The congestion window, the
    threshold, losses and retransmissions are in segments. Times are in milliseconds, and the rate is in bits a second.
    Details that C{ss} does not have are named in its style.

    @param fields: a record as L{plain} returns it.
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


def _endpoints(path: Path) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    return endpointAddress(path.source, path.sourcePort), endpointAddress(path.dest, path.destPort)


#: The names of the attributes of a record, by its class.
_NAMES = {each: [field.name for field in attrs.fields(each)] for each in (ConnectionRecord, PortRecord)}
