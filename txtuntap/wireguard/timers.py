"""
The five timers of a peer, as deadlines: nothing is called here.

Read the whitepaper, sections 6.1 to 6.5, first; rules that it leaves open are those of Linux.
"""

from __future__ import annotations

from math import inf
from typing import Final

#: Seconds until an initiation that has no answer is sent again, up to C{MAX_JITTER} more; and between two of them.
REKEY_TIMEOUT: Final = 5.0
MAX_JITTER: Final = 0.333

#: Initiations that are sent again at most: 90 s long.
MAX_RETRIES: Final = 18

#: Seconds after data has come until a keepalive answers it, if nothing else was sent.
KEEPALIVE_TIMEOUT: Final = 10.0

#: Seconds after data was sent until a new handshake begins, if nothing has come.
NEW_HANDSHAKE_TIMEOUT: Final = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT

#: Seconds after a session began until all keys are erased, if no other one has begun.
ERASE_TIMEOUT: Final = 540.0


class Timers:
    """
    When each thing is due with one peer, in steady seconds; infinity: not at all.

    @ivar retransmit: the initiation is sent again.
    @ivar keepalive: the peer has a keepalive, because it has sent data and had nothing in return.
    @ivar newHandshake: a handshake begins, because data was sent and nothing has come in return.
    @ivar erase: all keys are erased.
    @ivar persistent: the peer has a keepalive, because nothing has passed for its C{keepalive} interval.
    @ivar needsAnother: whether data has come while a keepalive was due: another one follows.
    @ivar attempts: initiations that were sent again and again.
    """

    __slots__ = ("attempts", "erase", "keepalive", "needsAnother", "newHandshake", "persistent", "retransmit")

    def __init__(self) -> None:
        self.stop()

    def stop(self) -> None:
        """
        Stop all timers of the peer.
        """
        self.retransmit = self.keepalive = self.newHandshake = self.erase = self.persistent = inf
        self.needsAnother = False
        self.attempts = 0

    @property
    def deadline(self) -> float:
        """
        When the first of them is due.
        """
        return min(self.retransmit, self.keepalive, self.newHandshake, self.erase, self.persistent)

    def dataReceived(self, now: float) -> None:
        """
        A packet that is no keepalive has come.
        """
        if self.keepalive == inf:
            self.keepalive = now + KEEPALIVE_TIMEOUT
        else:
            self.needsAnother = True

    def handshakeComplete(self) -> None:
        """
        Both ends are known to have the keys of a new session.
        """
        self.retransmit = inf
        self.attempts = 0
