"""
SYNs to ports without a listener: a function of the application decides about each SYN, at once or later by a Deferred
or a coroutine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import Enum
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.life import FailureLog
from txtuntap.layer.timer import GRAIN, Timer
from txtuntap.tcp.transport import endpointAddress
from txtuntap.wire.tcp import CWR, ECE, Options

if TYPE_CHECKING:
    from txtuntap.tcp.limits import Limits
    from txtuntap.tcp.path import Path

#: The seconds that the application has for its decision.
PATIENCE = 10.0

_MASK = 0xFFFFFFFF


class Answer(Enum):
    """
    A decision about a SYN that opens no connection.

    @cvar REFUSE: send a reset, as a closed port does.
    @cvar SILENCE: send no answer, as a firewall does.
    """

    REFUSE = "refuse"
    SILENCE = "silence"


@attrs.define(eq=False)
class UnclaimedSYN:
    """
    A SYN to a port without a listener.

    @ivar host: the destination address and port of the SYN.
    @ivar peer: the source address and port of the SYN. They may be forged.
    @ivar options: the TCP options of the SYN.
    @ivar asksECN: whether the SYN asks for explicit congestion notification (RFC 3168).
    @ivar repetitions: how often the SYN was received again while it waited for a decision.
    """

    host: IPv4Address | IPv6Address
    peer: IPv4Address | IPv6Address
    options: Options
    asksECN: bool
    repetitions: int = 0


#: A function that decides about a SYN. It returns a factory, an L{Answer}, or a Deferred or coroutine of one of these.
Ask = Callable[[UnclaimedSYN], Any]


class Waiting:
    """
    A SYN that waits for the application's decision.

    @ivar syn: the object that the application got for the SYN.
    @ivar path: the path to the peer.
    @ivar sequence: the sequence number of the SYN.
    @ivar behind: the sequence number behind the SYN and its payload.
    @ivar flags: the TCP flags of the SYN.
    @ivar until: when the decision is too late, in seconds.
    @ivar answer: the Deferred that the application has returned.
    """

    __slots__ = ("answer", "behind", "flags", "path", "sequence", "syn", "until")

    def __init__(self, syn: UnclaimedSYN, path: Path, sequence: int, behind: int, flags: int, until: float) -> None:
        self.syn = syn
        self.path = path
        self.sequence = sequence
        self.behind = behind
        self.flags = flags
        self.until = until
        self.answer: Deferred[Any] | None = None


class Unclaimed:
    """
    The table of SYNs that wait for the application's decision. It calls the application about each SYN.

    @ivar failures: the log of exceptions that the application, its factories and their protocols raise.
    """

    def __init__(
        self,
        ask: Ask,
        layer: Any,
        limits: Limits,
        claimed: Callable[[bytes, Waiting, Any], None],
        refused: Callable[[bytes, Waiting], None],
    ) -> None:
        """
        @param ask: the application's function, called with each SYN.
        @param layer: the TCP layer.
        @param limits: the bounds of the layer.
        @param claimed: called with the flow, the SYN and the factory, if the application has returned a factory.
        @param refused: called with the flow and the SYN, if the application has refused it.
        """
        self._ask = ask
        self._layer = layer
        self._most = limits.peerUnclaimed
        self._claimed = claimed
        self._refused = refused
        self._waiting: Table[bytes, Waiting] = Table("unclaimed", limits.unclaimed, Policy.REFUSE)
        self._byPeer: Counter[bytes] = Counter()
        self.failures = FailureLog(layer, layer.counters)
        self._timer: Timer | None = None

    def tables(self) -> list[TableState]:
        """
        Return how full the tables are. See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        most = max(self._byPeer.values(), default=0)
        return [self._waiting.state, TableState("unclaimed of a peer", most, self._most, Policy.REFUSE.value)]

    def synReceived(
        self, key: bytes, path: Path, sequence: int, behind: int, flags: int, options: Options, now: float
    ) -> None:
        """
        Call the application about a SYN, unless the flow has a waiting SYN already, the table is full, or too many SYNs
        of this peer wait.

        @param key: the flow of the SYN.
        @param path: the path to the peer.
        @param sequence: the sequence number of the SYN.
        @param behind: the sequence number behind the SYN and its payload.
        @param flags: the TCP flags of the SYN.
        """
        waiting = self._waiting.get(key)
        counters = self._layer.counters
        if waiting is not None:
            if waiting.sequence == sequence:
                waiting.syn.repetitions += 1
                counters["unclaimedRepetitions"] += 1
            return
        if self._waiting.isFull or self._byPeer[path.dest] >= self._most:
            counters["unclaimedOverflows"] += 1
            return
        syn = UnclaimedSYN(
            endpointAddress(path.source, path.sourcePort),
            endpointAddress(path.dest, path.destPort),
            options,
            flags & (ECE | CWR) == ECE | CWR,
        )
        waiting = Waiting(syn, path, sequence, behind, flags, now + PATIENCE)
        try:
            answer = self._ask(syn)
        except Exception:
            self.failures.failed(now, "unclaimed")
            return
        if iscoroutine(answer):
            answer = Deferred.fromCoroutine(answer)
        if not isinstance(answer, Deferred):
            self._decide(key, waiting, answer)
            return
        waiting.answer = answer
        self._waiting.put(key, waiting)
        self._byPeer[path.dest] += 1
        answer.addCallbacks(
            lambda answer: self._answered(key, waiting, answer), lambda reason: self._failed(key, waiting, reason)
        )
        if self._waiting:
            self._armed()

    def resetReceived(self, key: bytes, sequence: int) -> None:
        """
        Remove a SYN that waits, because its peer has reset the connection.

        @param sequence: the sequence number of the reset.
        """
        waiting = self._waiting.get(key)
        if waiting is not None and sequence == (waiting.sequence + 1) & _MASK:
            self._giveUp(key, waiting)

    def stop(self) -> None:
        """
        Cancel and forget all SYNs that wait.
        """
        for key, waiting in list(self._waiting.items()):
            self._giveUp(key, waiting)
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _answered(self, key: bytes, waiting: Waiting, answer: Any) -> None:
        if self._forget(key, waiting):
            self._decide(key, waiting, answer)

    def _failed(self, key: bytes, waiting: Waiting, reason: Failure) -> None:
        if self._forget(key, waiting):
            self._log(reason.raiseException)

    def _decide(self, key: bytes, waiting: Waiting, answer: Any) -> None:
        if answer is Answer.REFUSE:
            self._refused(key, waiting)
        elif answer is Answer.SILENCE:
            self._layer.counters["unclaimedSilences"] += 1
        elif callable(getattr(answer, "buildProtocol", None)):
            self._claimed(key, waiting, answer)
        else:
            self._log(lambda: _complain(answer))

    def _log(self, fail: Callable[[], object]) -> None:
        try:
            fail()
        except Exception:
            self.failures.failed(self._layer.now(), "unclaimed")

    def _forget(self, key: bytes, waiting: Waiting) -> bool:
        """
        Remove a SYN from the table. Return whether it was in the table.
        """
        if self._waiting.get(key) is not waiting:
            return False
        del self._waiting[key]
        peer = waiting.path.dest
        self._byPeer[peer] -= 1
        if not self._byPeer[peer]:
            del self._byPeer[peer]
        return True

    def _giveUp(self, key: bytes, waiting: Waiting) -> None:
        """
        Remove a SYN, and cancel the Deferred of the application.
        """
        self._forget(key, waiting)
        if waiting.answer is not None:
            waiting.answer.cancel()

    def _armed(self) -> None:
        """
        Arm the timer for the oldest SYN that waits.
        """
        if self._timer is None:
            self._timer = Timer(self._layer.clock, self._timerFired)
        if not self._timer.armed:
            self._timer.armAt(next(iter(self._waiting.values())).until)

    def _timerFired(self) -> None:
        now = self._layer.now()
        for key, waiting in list(self._waiting.items()):
            if waiting.until > now + GRAIN:
                break
            self._layer.counters["unclaimedTimeouts"] += 1
            self._giveUp(key, waiting)
        if self._waiting:
            self._armed()


def _complain(answer: Any) -> None:
    raise TypeError(f"unclaimed returns a factory, Answer.REFUSE, Answer.SILENCE or a Deferred of one, not {answer!r}")
