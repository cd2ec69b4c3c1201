"""
Closing a connection: the FINs of both sides, the step to TIME-WAIT, and resets by the application.

Read RFC 9293 sections 3.6 and 3.10.4 first.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from txtuntap.tcp.state import ESTABLISHED, OPENING, End, State
from txtuntap.tcp.timers import Timers
from txtuntap.tcp.timewait import TimeWait

if TYPE_CHECKING:
    from txtuntap.tcp.path import Path

#: The seconds in FIN-WAIT-2 after which a connection without a reader ends (tcp_fin_timeout).
FIN_TIMEOUT: Final = 60.0

_MASK: Final = 0xFFFFFFFF

_ESTABLISHED = State.ESTABLISHED


class Closing(Timers):
    """
    The part of a L{Connection<txtuntap.tcp.connection.Connection>} that closes it.
    """

    __slots__ = ()

    def timeWait(self, path: Path, now: float) -> TimeWait:
        """
        Make the small record that stands for this connection in TIME-WAIT.
        """
        receiver = self.receiver
        return TimeWait(
            path,
            (self._peerInitial + receiver.next) & _MASK,
            (self._initial + self.sender.next) & _MASK,
            receiver.edge - receiver.next,
            self._agreement.ownScale,
            self._recent if self._agreement.timestamps else None,
            self._offset,
            now,
        )

    def _finReceived(self) -> None:
        state = self.state
        if state is _ESTABLISHED:
            self.state = State.CLOSE_WAIT
        elif state is State.FIN_WAIT_1:
            self.state = State.CLOSING
        elif state is State.FIN_WAIT_2:
            self._timeWait()

    def _finAcknowledged(self, now: float) -> None:
        """
        Change the state if the peer has acknowledged our FIN.
        """
        if not self.sender.isFinished:
            return
        state = self.state
        if state is State.FIN_WAIT_1:
            self.state = State.FIN_WAIT_2
            if not self.hasReader:
                self._finWaitAt = now + FIN_TIMEOUT
        elif state is State.CLOSING:
            self._timeWait()
        elif state is State.LAST_ACK:
            self.state = State.CLOSED
            self.ended = End.DONE

    def _timeWait(self) -> None:
        self.state = State.TIME_WAIT
        self.sender.retransmitAt = self.sender.reorderAt = self._finWaitAt = inf

    def write(self, data: bytes) -> None:
        """
        Append data to the send buffer. C{flush} sends it.
        """
        self.sender.buffer.append(data)

    def shutdown(self) -> None:
        """
        Send a FIN behind all data that was written. During the handshake, end the connection instead. The application
        cannot write after this call.
        """
        if self.sender.isClosing:
            return
        if self.state in OPENING:
            self._end(End.ABORTED)
            return
        self.sender.isClosing = True
        if self.state in ESTABLISHED:
            self._wire.counters.currEstab -= 1
        if self.state is _ESTABLISHED:
            self.state = State.FIN_WAIT_1
        elif self.state is State.CLOSE_WAIT:
            self.state = State.LAST_ACK

    def close(self, now: float) -> None:
        """
        Send a FIN behind all data that was written, and stop reading. If data is unread or is received later, reset the
        connection (RFC 2525 section 2.17).
        """
        unread = bool(self.receiver.unread)
        self.hasReader = False
        self.shutdown()
        if self.state is State.FIN_WAIT_2:
            self._finWaitAt = now + FIN_TIMEOUT
        if unread and self.ended is None:
            self.flush(now)
            self._reset(End.ABORTED, now)

    def abort(self, now: float) -> None:
        """
        Reset the connection at once. Data that was not sent is lost. In SYN-SENT, no reset is sent. In TIME-WAIT, this
        method does nothing.
        """
        if self.state in OPENING:
            if self.state is State.SYN_RECEIVED:
                self._reset(End.ABORTED, now)
            self._end(End.ABORTED)
        elif self.ended is None and self.state is not State.TIME_WAIT:
            self._reset(End.ABORTED, now)
