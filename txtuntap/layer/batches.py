"""
The batches of a port: datagrams that wait there for more of their flow, to leave as one superpacket.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from txtuntap.layer.life import FailureLog
from txtuntap.layer.timer import Timer, steadySeconds
from txtuntap.transports import IBatches, ITrain


@implementer(IBatches)
class Batches:
    """
    The datagrams that wait on a port. They leave at the end of the batch, of the read, or of the reactor's turn.

    @ivar epoch: see L{IBatches}.
    @ivar train: the datagrams that wait; L{None} if none do. Whoever writes a packet has it L{release}d before, so that
        packets leave in the order of writing.
    @ivar answering: whether the datagrams of a superpacket are being delivered. Answers to them are likely to be many.
    """

    def __init__(self, clock: IReactorTime, failures: FailureLog) -> None:
        """
        @param clock: calls the end of the reactor's turn.
        @param failures: the log for what a device raises when datagrams leave at that end.
        """
        self.epoch = 0
        self.train: ITrain | None = None
        self.answering = False
        self._now = steadySeconds(clock)
        self._failures = failures
        self._reading = False
        # The flow of the latest datagram in this epoch.
        self._latestFlow = b""
        # Whether the latest train was of one datagram.
        self._leftAlone = False
        self._entered: set[_Batch] = set()
        self._turnEnd = Timer(clock, self.endTurn)

    def batch(self) -> AbstractContextManager[None]:
        """
        Within it, datagrams to one destination may leave as one: see L{IBatches.batch}.
        """
        return _Batch(self)

    def collects(self, flow: bytes) -> bool:
        """
        Whether a datagram may wait: see L{IBatches.collects}. The first one of a read does not, except for answers to a
        superpacket.
        """
        before, self._latestFlow = self._latestFlow, flow
        if self.answering or self._entered:
            # Where one leaves alone, others are likely to.
            return before == flow or not self._leftAlone
        return before == flow and self._reading

    def hold(self, train: ITrain) -> None:
        """
        Have datagrams wait: see L{IBatches.hold}.
        """
        self.release()
        self.train = train

    def release(self) -> None:
        """
        Have what waits leave: see L{IBatches.release}.
        """
        train, self.train = self.train, None
        if train is not None:
            self._leftAlone = train.leave() == 1

    def routesChanged(self) -> None:
        """
        Begin an epoch in which routes are looked up again: see L{IBatches.routesChanged}.
        """
        self.release()
        self.epoch += 1

    def beginRead(self) -> None:
        """
        The port begins to read: from the second answer of a flow on, answers wait.
        """
        self._reading = True
        self.epoch += 1
        self._latestFlow = b""
        self._leftAlone = False

    def endRead(self) -> None:
        """
        The port has read enough for this turn of the reactor.
        """
        self._reading = False
        if self.train is not None or self._entered:
            # A batch that was left open ends here, too.
            self.endTurn()

    def endTurn(self) -> None:
        """
        End every batch, and have what waits leave: nothing waits for a later turn of the reactor.
        """
        self._entered.clear()
        self._turnEnd.stop()
        try:
            self.release()
        except Exception:
            self._failures.failed(self._now(), "write")

    def _enter(self, batch: _Batch) -> None:
        if not self._entered and not self._reading:
            self.epoch += 1
            self._latestFlow = b""
            self._leftAlone = False
            # A coroutine may wait within the batch. The datagrams that it has written do not.
            self._turnEnd.arm(0)
        self._entered.add(batch)

    def _leave(self, batch: _Batch) -> None:
        self._entered.discard(batch)
        if not self._entered and not self._reading:
            self.endTurn()


class _Batch:
    """
    A batch, while it is entered. (A generator's context would end once nobody holds it, and so before its turn does.)
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __enter__(self) -> None:
        self._batches._enter(self)

    def __exit__(self, *ignored: object) -> None:
        self._batches._leave(self)
