"""
The base class of all protocols of this package: a clock, counters and drops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import AbstractDatagramProtocol

from txtuntap.layer.bounded import TableState
from txtuntap.layer.counters import Counters
from txtuntap.layer.drops import Dropping
from txtuntap.layer.timer import steadySeconds


class PacketProtocol(Dropping, AbstractDatagramProtocol):
    """
    A protocol that counts packets and drops. It has no protocols above it; the subclass
    L{Layer<txtuntap.layer.layer.Layer>} adds these.

    @ivar counters: the number of events of each kind, by name. The names are those of the RFCs' MIBs where they exist.
    """

    noisy = False

    def __init__(self) -> None:
        # AbstractDatagramProtocol has the first two only in its class. An object that gets attributes after __init__
        # takes twice the memory, and a simulation has very many protocols.
        self.numPorts = 0
        self.transport = None
        self.counters = Counters()
        # The clock that now() used last, and the function that returns the steady time of that clock.
        self._timed: IReactorTime | None = None
        self._steady: Callable[[], float] | None = None

    @property
    def clock(self) -> IReactorTime | None:
        """
        The clock of the port below; C{None} if there is none. (C{twisted.pair}'s port calls it C{reactor}.)
        """
        below = self.transport
        return cast("IReactorTime | None", getattr(below, "clock", None) or getattr(below, "reactor", None))

    def now(self) -> float:
        """
        The steady time by the C{clock}, in seconds; 0 if there is none.
        """
        clock = self.clock
        if clock is not self._timed or self._steady is None:
            if clock is None:
                return 0.0
            self._timed, self._steady = clock, steadySeconds(clock)
        return self._steady()

    def tables(self) -> list[TableState]:
        """
        List the present sizes of the bounded tables of this layer. Every method C{tables} has this result.

        @return: one record for each table: its name, its size, its bound and its policy. Several tables may have the
            same name.
        """
        return []

    def doStart(self) -> None:
        """
        Start this protocol on one more transport. The first call calls C{startProtocol}.
        """
        super().doStart()  # type: ignore[no-untyped-call]

    def doStop(self) -> None:
        """
        Stop this protocol on one transport. The last call calls C{stopProtocol}.
        """
        super().doStop()  # type: ignore[no-untyped-call]
