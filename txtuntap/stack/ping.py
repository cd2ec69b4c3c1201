"""
Asking others for an echo.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost, TimeoutError
from twisted.internet.interfaces import IReactorTime

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.timer import Timer, steadySeconds
from txtuntap.packet import Packet

#: The most echo requests that wait for their answers at once.
MAX_PENDING = 1024


@attrs.frozen
class Pong:
    """
    An answer to an echo request.

    @ivar source: the address it came from, as text.
    @ivar seconds: how long it took.
    @ivar hopLimit: how many hops it had left.
    @ivar size: octets of payload.
    """

    source: str
    seconds: float
    hopLimit: int
    size: int


@attrs.define
class _Pending:
    dest: bytes
    payload: bytes
    sent: float
    done: Deferred[Pong]
    timeout: Timer


class Pinger:
    """
    Sends echo requests, and knows the answers.
    """

    def __init__(self, clock: IReactorTime, random: Random) -> None:
        """
        @param random: makes identifiers, which nobody else may guess.
        """
        self._clock = clock
        self._now = steadySeconds(clock)
        self._random = random
        # By identifier and sequence number, as they stand in the header's second word.
        self._pending: Table[int, _Pending] = Table("pings", MAX_PENDING, Policy.REFUSE)

    def ping(self, dest: bytes, payload: bytes, timeout: float, send: Callable[[int, bytes], None]) -> Deferred[Pong]:
        """
        Ask for an echo.

        @param dest: a packed address.
        @param timeout: seconds to wait.
        @param send: called with the second word of the header and the payload.

        @return: fires with a L{Pong}; fails with C{TimeoutError}, or as L{stop} says.

        @raise RuntimeError: L{MAX_PENDING} requests are under way already.
        """
        if self._pending.isFull:
            raise RuntimeError(f"{MAX_PENDING} echo requests are under way: wait for some of them")
        word = self._random.getrandbits(32)
        while word in self._pending:
            word = self._random.getrandbits(32)
        send(word, payload)
        done: Deferred[Pong] = Deferred(lambda _: self._forget(word))
        timer = Timer(self._clock, self._timedOut, word)
        timer.arm(timeout)
        # There is room, as has been seen.
        self._pending[word] = _Pending(dest, payload, self._now(), done, timer)
        return done

    def asked(self, dest: bytes, word: int) -> bool:
        """
        Whether a request to a packed address, with this second word in its header, is under way.
        """
        pending = self._pending.get(word)
        return pending is not None and pending.dest == dest

    def answered(self, packet: Packet, word: int, payload: bytes) -> bool:
        """
        An echo reply has come.

        @return: whether it answers a request of ours, octet for octet.
        """
        pending = self._pending.get(word)
        if pending is None or pending.dest != packet.sourceAddress or pending.payload != payload:
            return False
        self._forget(word)
        seconds = max(0.0, self._now() - pending.sent)
        pending.done.callback(Pong(packet.source, seconds, packet.hopLimit, len(payload)))
        return True

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self._pending.state]

    def stop(self) -> None:
        """
        Wait for no answer any more: what L{ping} returned fails with C{ConnectionLost}.
        """
        pending = list(self._pending.values())
        self._pending.clear()
        for each in pending:
            each.timeout.stop()
        for each in pending:
            each.done.errback(ConnectionLost("the host was stopped before an answer came"))

    def _timedOut(self, word: int) -> None:
        self._pending.pop(word).done.errback(TimeoutError("no answer"))

    def _forget(self, word: int) -> None:
        pending = self._pending.pop(word, None)
        if pending is not None:
            pending.timeout.stop()
