"""
The timers of a connection: for retransmissions and all probes, reordering, pacing, delayed acknowledgments, the user
timeout, keepalive and FIN-WAIT-2.
"""

from __future__ import annotations

from math import inf

from txtuntap.tcp.output import SYN_PAUSES, Output
from txtuntap.tcp.sender import MAX_TIMEOUTS, ORPHAN_PATIENCE
from txtuntap.tcp.state import OPENING, End


class Timers(Output):
    """
    The part of a L{Connection<txtuntap.tcp.connection.Connection>} that computes deadlines and acts on them.
    """

    __slots__ = ()

    @property
    def deadline(self) -> float:
        """
        The time at which to call L{timeout}, in seconds. It may be in the past. Infinity: no timer is needed.
        """
        sender = self.sender
        at = min(sender.retransmitAt, sender.reorderAt, sender.resumeAt, self.receiver.acknowledgeAt, self._finWaitAt)
        if self.userTimeout is not None:
            at = min(at, self._userTimeoutAt)
        if self.keepAlive and self.state not in OPENING and self.ended is None:
            at = min(at, self._keepAliveAt)
        return at

    @property
    def _keepAliveAt(self) -> float:
        sender = self.sender
        if sender.next > sender.acknowledged or sender.isProbing:
            return inf
        idleSince = max(self._heardAt, sender.latestAt)
        if not self._probes:
            return idleSince + self.keepAliveIdle
        return self._probedAt + self.keepAlivePause

    def timeout(self, now: float) -> None:
        """
        Act on all deadlines that are past.
        """
        sender, receiver = self.sender, self.receiver
        if self._finWaitAt <= now:
            # The peer has not closed its side in time. The layer answers a later FIN by a reset.
            return self._end(End.DONE)
        if receiver.acknowledgeAt <= now:
            receiver.delayExpired()
        if sender.reorderAt <= now:
            sender.reorderAt = inf
            sender.reorderingOver(now)
        if sender.resumeAt <= now:
            sender.resumeAt = inf
        if sender.retransmitAt <= now or self._userTimeoutAt <= now:
            self._retransmit(now)
            if self.ended is not None:
                return
        if self.keepAlive and self.state not in OPENING and self._keepAliveAt <= now:
            self._probePeer(now)
            if self.ended is not None:
                return
        self.flush(now)

    def _retransmit(self, now: float) -> None:
        sender = self.sender
        if self.state in OPENING:
            if self._syns >= len(SYN_PAUSES):
                return self._end(End.TIMED_OUT)
            return self._sendSyn(now)
        if self._shouldGiveUp(now):
            return self._end(End.TIMED_OUT)
        found = sender.probeWindow(now) if sender.isProbing else sender.timedOut(now)
        if found is None:
            self._sendProbe(now)
        else:
            self._sendRange(*found, now)

    def _shouldGiveUp(self, now: float) -> bool:
        """
        Return whether to give the peer up, because it has not acknowledged anything for too long.
        """
        sender = self.sender
        if self._userTimeoutAt <= now:
            return True
        if self.hasReader:
            return sender.unanswered >= MAX_TIMEOUTS
        # An orphan is given up even if the peer keeps its window closed and answers every probe. The comparison uses
        # the time at which the timer was due, because a suspended machine has not retransmitted meanwhile.
        return sender.retransmitAt - sender.progressAt >= ORPHAN_PATIENCE

    def _probePeer(self, now: float) -> None:
        """
        Send a keepalive probe to a silent peer. Reset the connection after too many probes, or after the user timeout.
        """
        if self._probes >= self.keepAliveProbes or (
            self.userTimeout is not None and self._probes and now - self._heardAt >= self.userTimeout
        ):
            self._reset(End.TIMED_OUT, now)
            return
        self._probes += 1
        self._probedAt = now
        self._sendProbe(now)

    @property
    def _userTimeoutAt(self) -> float:
        """
        The time at which the user timeout (RFC 5482) is over, in seconds. Infinity: none runs. L{deadline} and
        L{timeout} both use this sum, because two sums with different rounding could make the timer fire without end.
        """
        sender = self.sender
        if self.userTimeout is None or sender.retransmitAt == inf or self.state in OPENING:
            return inf
        return sender.progressAt + self.userTimeout
