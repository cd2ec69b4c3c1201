"""
Records of connections, for those who watch a host: what C{ss -ti} tells of a socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.internet.address import IPv4Address, IPv6Address

from txtuntap.tcp.transport import endAddress

if TYPE_CHECKING:
    from txtuntap.tcp.connection import Connection
    from txtuntap.tcp.halfopen import HalfOpen
    from txtuntap.tcp.path import Path
    from txtuntap.tcp.timewait import TimeWait
    from txtuntap.wire.tcp import Options


@attrs.frozen
class ConnectionRecord:
    """
    The state of one connection at the moment at which it was asked for. Sizes are in octets.

    A connection that is half open, or in TIME-WAIT, has no congestion control, and nothing waits on it.

    @ivar state: the state, as RFC 9293 writes it: C{"ESTABLISHED"}.
    @ivar host: our end; C{peer}: the other one.
    @ivar sendWindow: what the peer takes beyond what it has acknowledged.
    @ivar receiveWindow: what we take beyond what we have received.
    @ivar control: the name of the congestion control's class; L{None}: there is none.
    @ivar phase: what is done about congestion: C{"open"}, C{"cwr"}, C{"recovery"} or C{"loss"}, as Linux has it.
    @ivar congestionWindow: what may be under way.
    @ivar threshold: the window at which slow start ends; infinity before the first loss.
    @ivar roundTrip: the smoothed round-trip time in seconds; L{None}: it was not measured.
    @ivar retransmissions: segments that were sent again.
    @ivar segmentsIn: segments received; C{segmentsOut}: segments sent.
    @ivar underWay: what was sent and is not acknowledged.
    @ivar toSend: what was written and is not sent.
    @ivar toRead: what the application has not read.
    @ivar outOfOrder: what waits for octets before it.
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
    roundTrip: float | None = None
    retransmissions: int = 0
    segmentsIn: int = 0
    segmentsOut: int = 0
    underWay: int = 0
    toSend: int = 0
    toRead: int = 0
    outOfOrder: int = 0
    options: Options | None = None

    def __str__(self) -> str:
        """
        Describe the connection in one line.
        """
        parts = [
            f"{self.state} {_end(self.host)} {_end(self.peer)}",
            f"windows {self.sendWindow} out {self.receiveWindow} in",
        ]
        if self.segmentsIn or self.segmentsOut:
            parts.append(f"segments {self.segmentsOut} out {self.segmentsIn} in")
        if self.control is not None:
            parts.append(f"{self.control} {self.phase} {self.congestionWindow} threshold {self.threshold:.0f}")
        if self.roundTrip is not None:
            parts.append(f"round trip {self.roundTrip * 1000:.1f} ms")
        for name, number in (
            ("sent again", self.retransmissions),
            ("under way", self.underWay),
            ("to send", self.toSend),
            ("to read", self.toRead),
            ("out of order", self.outOfOrder),
        ):
            if number:
                parts.append(f"{name} {number}")
        return ", ".join(parts)


def recordOf(path: Path, connection: Connection) -> ConnectionRecord:
    """
    Make the record of a connection that has an object of its own.
    """
    sender, receiver = connection.sender, connection.receiver
    control = sender.control
    return ConnectionRecord(
        connection.state.value,
        *_ends(path),
        sendWindow=sender.window,
        receiveWindow=receiver.edge - receiver.next,
        control=type(control).__name__,
        phase=sender.phase.value,
        congestionWindow=int(control.window),
        threshold=control.threshold,
        roundTrip=sender.roundTrip.smoothed or None,
        retransmissions=sender.sentAgain,
        segmentsIn=connection.segmentsIn,
        segmentsOut=connection.segmentsOut,
        underWay=max(0, sender.next - sender.acknowledged),
        toSend=max(0, sender.buffer.end - max(sender.next, 1)),
        toRead=receiver.unread,
        outOfOrder=sum(end - start for start, end in receiver.ranges),
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
        options=half.options,
    )


def recordOfTimeWait(waiting: TimeWait) -> ConnectionRecord:
    """
    Make the record of a connection in TIME-WAIT.
    """
    return ConnectionRecord("TIME-WAIT", *_ends(waiting.path), receiveWindow=waiting.window)


def _ends(path: Path) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    return endAddress(path.source, path.sourcePort), endAddress(path.dest, path.destPort)


def _end(address: IPv4Address | IPv6Address) -> str:
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
