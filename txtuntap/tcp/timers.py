"""
The timers of a connection: retransmission, probes of a closed window, delayed acknowledgments, keepalive.
"""

from __future__ import annotations

from math import inf

from txtuntap.tcp.output import SYN_PAUSES, Output
from txtuntap.tcp.sender import MAX_TIMEOUTS, ORPHAN_PATIENCE
from txtuntap.tcp.state import OPENING, End


class Timers(Output):
    """
    The part of a L{Connection<txtuntap.tcp.connection.Connection>} that acts when time has passed.
    """

    __slots__ = ()

    @property
    def deadline(self) -> float:
        """
        When L{timeout} is to be called, in seconds; infinity: not at all. It may be past.
        """
        sender = self.sender
        at = min(sender.retransmitAt, sender.reorderAt, sender.resumeAt, self.receiver.acknowledgeAt, self._finWaitAt)
        if self.userTimeout is not None:
            at = min(at, self._forsakenAt)
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
        return self._stuckSince + self.keepAlivePause

    def timeout(self, now: float) -> None:
        """
        The deadline has come, or is past.
        """
        sender, receiver = self.sender, self.receiver
        if self._finWaitAt <= now:
            # The peer never closes its side. Its FIN, if it comes, is answered by a reset.
            return self._ends(End.DONE)
        if receiver.acknowledgeAt <= now:
            receiver.waited()
        if sender.reorderAt <= now:
            sender.reorderAt = inf
            sender.reorderingOver(now)
        if sender.resumeAt <= now:
            sender.resumeAt = inf
        if sender.retransmitAt <= now or self._forsakenAt <= now:
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
                return self._ends(End.TIMED_OUT)
            return self._sendSyn(now)
        if self._isHopeless(now):
            return self._ends(End.TIMED_OUT)
        found = sender.probed(now) if sender.isProbing else sender.timedOut(now)
        if found is None:
            self._sendProbe(now)
        else:
            self._sendRange(*found, now)

    def _isHopeless(self, now: float) -> bool:
        """
        Whether the peer was asked long enough.
        """
        sender = self.sender
        if self._forsakenAt <= now:
            return True
        if self.hasReader:
            return sender.unanswered >= MAX_TIMEOUTS
        # Neither a window that stays closed, nor a peer that says so again and again, keeps what nobody owns any more.
        # The time counts at which the timer was due, because a machine that was suspended has not tried meanwhile.
        return sender.retransmitAt - sender.progressAt >= ORPHAN_PATIENCE

    def _probePeer(self, now: float) -> None:
        """
        The peer was silent for long: ask whether it is there.
        """
        if self._probes >= self.keepAliveProbes or (
            self.userTimeout is not None and self._probes and now - self._heardAt >= self.userTimeout
        ):
            self._reset(End.TIMED_OUT, now)
            return
        self._probes += 1
        self._stuckSince = now
        self._sendProbe(now)

    @property
    def _forsakenAt(self) -> float:
        """
        When the peer has taken nothing for as long as the user waits (RFC 5482), in seconds. The deadline and the look
        at it compare this one sum: two that round otherwise would have the timer run out for ever.
        """
        sender = self.sender
        if self.userTimeout is None or sender.retransmitAt == inf or self.state in OPENING:
            return inf
        return sender.progressAt + self.userTimeout
