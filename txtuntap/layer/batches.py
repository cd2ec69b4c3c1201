"""
The batches of a port, which collect datagrams of one flow into one superpacket.
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

    @ivar epoch: a number that changes at each read, each batch outside of others, and each route change: see
        L{IBatches}.
    @ivar train: the datagrams that wait; C{None} if none do. The port L{release}s the train before it writes another
        packet, so that packets leave in the order of writing.
    @ivar answering: whether the datagrams of a superpacket are being delivered. The application is likely to answer
        many of them, so that even the first answer waits.
    """

    def __init__(self, clock: IReactorTime, failures: FailureLog) -> None:
        """
        @param clock: the clock that calls L{endTurn} at the end of the reactor's turn.
        @param failures: the log for exceptions that the device raises when datagrams leave in L{endTurn}.
        """
        self.epoch = 0
        self.train: ITrain | None = None
        self.answering = False
        self._now = steadySeconds(clock)
        self._failures = failures
        self._reading = False
        # The flow of the latest datagram in this epoch.
        self._latestFlow = b""
        # Whether the latest train consisted of one datagram.
        self._leftAlone = False
        self._entered: set[_Batch] = set()
        self._turnEnd = Timer(clock, self.endTurn)

    def batch(self) -> AbstractContextManager[None]:
        """
        Return a context manager, within which datagrams to one destination may leave as one: see L{IBatches.batch}.
        """
        return _Batch(self)

    def collects(self, flow: bytes) -> bool:
        """
        Whether a datagram may wait: see L{IBatches.collects}. The first datagram of a read waits only if it answers a
        superpacket, or is written within a batch.
        """
        before, self._latestFlow = self._latestFlow, flow
        if self.answering or self._entered:
            # If the latest train held only one datagram, the next one is likely to hold only one, too. Waiting would
            # then be useless.
            return before == flow or not self._leftAlone
        return before == flow and self._reading

    def hold(self, train: ITrain) -> None:
        """
        Hold a train, after the one before has been sent: see L{IBatches.hold}.
        """
        self.release()
        self.train = train

    def release(self) -> None:
        """
        Send the train that is held, if there is one: see L{IBatches.release}.
        """
        train, self.train = self.train, None
        if train is not None:
            self._leftAlone = train.leave() == 1

    def routesChanged(self) -> None:
        """
        Begin another epoch, in which routes are looked up again: see L{IBatches.routesChanged}.
        """
        self.release()
        self.epoch += 1

    def beginRead(self) -> None:
        """
        Begin a read of the port. During a read, an answer waits if the answer before it was of
        the same flow.
        """
        self._reading = True
        self.epoch += 1
        self._latestFlow = b""
        self._leftAlone = False

    def endRead(self) -> None:
        """
        End the read of the port, and send the datagrams that wait.
        """
        self._reading = False
        if self.train is not None or self._entered:
            # A batch that a coroutine has left open ends here, too.
            self.endTurn()

    def endTurn(self) -> None:
        """
        End every batch and send the datagrams that wait, because none may wait for a later turn of the reactor.
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
            # A coroutine may wait for later turns within the batch. The datagrams that it has written must not.
            self._turnEnd.arm(0)
        self._entered.add(batch)

    def _leave(self, batch: _Batch) -> None:
        self._entered.discard(batch)
        if not self._entered and not self._reading:
            self.endTurn()


class _Batch:
    """
    The context manager of one batch. It is not a C{contextlib.contextmanager}, because a generator is closed
    with its last reference, which may be before the end of the reactor's turn.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __enter__(self) -> None:
        self._batches._enter(self)

    def __exit__(self, *ignored: object) -> None:
        self._batches._leave(self)
