"""
The sender's part of ping: echo requests under way, and the replies to them (RFC 792, RFC 4443 section 4).
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

#: The most echo requests under way at once. A further one is refused.
MAX_PENDING = 1024


@attrs.frozen
class Pong:
    """
    The reply to an echo request.

    @ivar source: the address of the replying host, as text.
    @ivar seconds: the round-trip time.
    @ivar hopLimit: the hop limit (over IPv4, the TTL) with which the reply arrived.
    @ivar size: the number of octets of payload.
    """

    source: str
    seconds: float
    hopLimit: int
    size: int


@attrs.define
class _Pending:
    """
    An echo request under way.

    @ivar dest: the packed destination address.
    @ivar payload: the octets that the reply must have, too.
    @ivar sent: the time at which it was sent, in seconds.
    @ivar done: fires with the reply.
    @ivar timeout: runs until the request fails.
    """

    dest: bytes
    payload: bytes
    sent: float
    done: Deferred[Pong]
    timeout: Timer


class Pinger:
    """
    Sends echo requests, and matches the replies to them.
    """

    __slots__ = ("_clock", "_now", "_pending", "_random")

    def __init__(self, clock: IReactorTime, random: Random) -> None:
        """
        @param clock: the reactor of the host.
        @param random: chooses the unpredictable identifiers and sequence numbers, so that replies are hard to forge.
        """
        self._clock = clock
        self._now = steadySeconds(clock)
        self._random = random
        # The key is the second word of the header: the identifier and the sequence number.
        self._pending: Table[int, _Pending] = Table("pings", MAX_PENDING, Policy.REFUSE)

    def ping(self, dest: bytes, payload: bytes, timeout: float, send: Callable[[int, bytes], None]) -> Deferred[Pong]:
        """
        Send an echo request.

        @param dest: the packed destination address.
        @param payload: the octets to be sent back.
        @param timeout: the seconds to wait for the reply.
        @param send: called with the second word of the header and the payload, to send the request.

        @return: a Deferred that fires with a L{Pong}. It fails with C{TimeoutError}, or with C{ConnectionLost} after
            L{stop}. Cancelling it ends the wait.

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
        # The table has room, because it was not full above.
        self._pending[word] = _Pending(dest, payload, self._now(), done, timer)
        return done

    def isPending(self, dest: bytes, word: int) -> bool:
        """
        Whether a request is under way to a packed address, with this second word in its header.
        """
        pending = self._pending.get(word)
        return pending is not None and pending.dest == dest

    def answered(self, packet: Packet, word: int, payload: bytes) -> bool:
        """
        Process an echo reply.

        @param packet: the packet with the reply.
        @param word: the second word of its header.
        @param payload: the octets behind its header.

        @return: whether it is the reply to a request under way: from its destination, with its word and its payload.
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
        List the bounded tables: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self._pending.state]

    def stop(self) -> None:
        """
        End all requests under way: their Deferreds fail with C{ConnectionLost}.
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
