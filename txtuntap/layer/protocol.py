"""
The base class of all protocols here, with or without others above them: a clock, counters, drops.
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
    A protocol that counts what happens to packets. By itself, it has no protocols above it.

    @ivar counters: how often each thing happened, by name. Names are those of the RFCs' MIBs where they have one.
    """

    noisy = False

    def __init__(self) -> None:
        # AbstractDatagramProtocol has these in its class. An object that gets attributes after it was made takes twice
        # the memory, and a simulation has very many protocols.
        self.numPorts = 0
        self.transport = None
        self.counters = Counters()
        # The clock that was asked last for the time, and the function that tells its steady time.
        self._timed: IReactorTime | None = None
        self._steady: Callable[[], float] | None = None

    @property
    def clock(self) -> IReactorTime | None:
        """
        The clock of the port below; L{None} if there is none. (C{twisted.pair}'s port calls it C{reactor}.)
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
        How full each bounded table of this layer is now.

        @return: one record for each: its name (which several may share), its size now, its bound, and what happens at
            the bound. See L{TableState}. This is the shape of every C{tables()}.
        """
        return []

    def doStart(self) -> None:
        """
        Start this protocol: the first time, C{startProtocol} is called.
        """
        super().doStart()  # type: ignore[no-untyped-call]

    def doStop(self) -> None:
        """
        Stop this protocol: the last time, C{stopProtocol} is called.
        """
        super().doStop()  # type: ignore[no-untyped-call]
