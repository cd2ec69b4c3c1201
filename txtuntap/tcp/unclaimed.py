"""
SYNs to ports that nobody listens on: the application says what to do with each, at once or a little later.
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
from txtuntap.tcp.transport import endAddress
from txtuntap.wire.tcp import CWR, ECE, Options

if TYPE_CHECKING:
    from txtuntap.tcp.limits import Limits
    from txtuntap.tcp.path import Path

#: Seconds that the application has for an answer.
PATIENCE = 10.0

_MASK = 0xFFFFFFFF


class Answer(Enum):
    """
    An answer to a SYN that makes no connection of it.

    @cvar REFUSE: the peer gets a reset, as of a closed port.
    @cvar SILENCE: the peer gets nothing, as of a firewall.
    """

    REFUSE = "refuse"
    SILENCE = "silence"


@attrs.define(eq=False)
class UnclaimedSYN:
    """
    A SYN that no port listens for.

    @ivar host: the address and port that it is to.
    @ivar peer: the address and port that it is from. Nothing proves that it is.
    @ivar options: its options.
    @ivar asksECN: whether it asks for explicit congestion notification (RFC 3168).
    @ivar repetitions: how often it came again while it waited for an answer.
    """

    host: IPv4Address | IPv6Address
    peer: IPv4Address | IPv6Address
    options: Options
    asksECN: bool
    repetitions: int = 0


#: A function that decides about a SYN: it gives a factory, an L{Answer}, or a Deferred or coroutine of one.
Ask = Callable[[UnclaimedSYN], Any]


class Waiting:
    """
    A SYN that is not answered yet.

    @ivar syn: what the application knows of it.
    @ivar path: the path to the peer.
    @ivar sequence: its sequence number; C{behind}: that behind all it has, payload included.
    @ivar flags: its flags.
    @ivar until: when there is no answer any more, in seconds.
    @ivar answer: what the application has given.
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
    Asks the application about SYNs, and keeps those that wait for it.

    @ivar failures: the log of what the application, its factories and their protocols raise.
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
        @param ask: called with each SYN.
        @param layer: the TCP layer.
        @param claimed: called with the flow, the SYN and the factory that is to have the connection.
        @param refused: called with the flow and a SYN that is to be reset.
        """
        self._ask = ask
        self._layer = layer
        self._most = limits.peerUnclaimed
        self._claimed = claimed
        self._refused = refused
        self._waiting: Table[bytes, Waiting] = Table("unclaimed", limits.unclaimed, Policy.REFUSE)
        self._ofPeer: Counter[bytes] = Counter()
        self.failures = FailureLog(layer, layer.counters)
        self._timer: Timer | None = None

    def tables(self) -> list[TableState]:
        """
        How full the tables are: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        most = max(self._ofPeer.values(), default=0)
        return [self._waiting.state, TableState("unclaimed of a peer", most, self._most, Policy.REFUSE.value)]

    def synReceived(
        self, key: bytes, path: Path, sequence: int, behind: int, flags: int, options: Options, now: float
    ) -> None:
        """
        Ask about a SYN.

        @param key: its flow.
        @param path: the path back.
        @param behind: the sequence number behind all it has.
        """
        waiting = self._waiting.get(key)
        counters = self._layer.counters
        if waiting is not None:
            if waiting.sequence == sequence:
                waiting.syn.repetitions += 1
                counters["unclaimedRepetitions"] += 1
            return
        if self._waiting.isFull or self._ofPeer[path.dest] >= self._most:
            counters["unclaimedOverflows"] += 1
            return
        syn = UnclaimedSYN(
            endAddress(path.source, path.sourcePort),
            endAddress(path.dest, path.destPort),
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
        self._ofPeer[path.dest] += 1
        answer.addCallbacks(
            lambda answer: self._answered(key, waiting, answer), lambda reason: self._failed(key, waiting, reason)
        )
        if self._waiting:
            self._armed()

    def resetReceived(self, key: bytes, sequence: int) -> None:
        """
        A peer has reset what it began: if its SYN waits, there is nothing to answer any more.
        """
        waiting = self._waiting.get(key)
        if waiting is not None and sequence == (waiting.sequence + 1) & _MASK:
            self._giveUp(key, waiting)

    def stop(self) -> None:
        """
        Forget all that wait.
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
        @return: whether it has waited until now.
        """
        if self._waiting.get(key) is not waiting:
            return False
        del self._waiting[key]
        peer = waiting.path.dest
        self._ofPeer[peer] -= 1
        if not self._ofPeer[peer]:
            del self._ofPeer[peer]
        return True

    def _giveUp(self, key: bytes, waiting: Waiting) -> None:
        """
        Have no answer any more. The application notices by its Deferred being cancelled.
        """
        self._forget(key, waiting)
        if waiting.answer is not None:
            waiting.answer.cancel()

    def _armed(self) -> None:
        """
        Have the timer wait for the one that came first.
        """
        if self._timer is None:
            self._timer = Timer(self._layer.clock, self._due)
        if not self._timer.armed:
            self._timer.armAt(next(iter(self._waiting.values())).until)

    def _due(self) -> None:
        now = self._layer.now()
        for key, waiting in list(self._waiting.items()):
            if waiting.until > now + GRAIN:
                break
            self._layer.counters["unclaimedTimeouts"] += 1
            self._giveUp(key, waiting)
        if self._waiting:
            self._armed()


def _complain(answer: Any) -> None:
    raise TypeError(f"unclaimed gives a factory, Answer.REFUSE, Answer.SILENCE or a Deferred of one, not {answer!r}")
