"""
The end of a tunnel that connects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.internet import ClientService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from txtuntap.layer.timer import callLater
from txtuntap.tunnel.stream import StreamCarrier, StreamFactory


def connecting(endpoint: IStreamClientEndpoint, factory: StreamFactory) -> ClientService:
    """
    A service that connects, and does so again, later and later, when it was in vain or the connection has ended.
    """
    clock: Any = _Retries(factory.clock)
    return ClientService(_Establishing(endpoint, factory), Factory.forProtocol(Protocol), clock=clock)


class _Retries:
    """
    The part of a clock that C{ClientService} uses. With the reactor itself, the next try would sleep through what the
    wall clock is set back by.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock

    def callLater(self, delay: float, callable: Callable[..., object], *arguments: object) -> IDelayedCall:
        """
        See C{IReactorTime}.
        """
        return callLater(self._clock, delay, callable, *arguments)


@implementer(IStreamClientEndpoint)
class _Establishing:
    """
    An endpoint that is connected once the peer has said who it is: before, C{ClientService} would take it for a success
    that needs no back-off, and could not bear that the connection ends. And one that says why it cannot connect.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, factory: StreamFactory) -> None:
        self._endpoint = endpoint
        self._factory = factory

    def __repr__(self) -> str:
        # ClientService says when it tries again to connect what.
        return "the peer"

    def connect(self, protocolFactory: Any) -> Any:
        """
        See C{IStreamClientEndpoint}.

        @param protocolFactory: makes what is told when the connection has ended.
        """

        def established(carrier: StreamCarrier) -> Any:
            watching = protocolFactory.buildProtocol(None)
            watching.makeConnection(carrier)
            carrier.whenLost().addErrback(watching.connectionLost)
            return watching

        connecting: Deferred[Any] = self._endpoint.connect(self._factory)
        connecting.addErrback(self._failed).addCallback(StreamCarrier.whenEstablished)
        return connecting.addCallback(established)

    def _failed(self, reason: Failure) -> Failure:
        if not reason.check(CancelledError):
            text = reason.getErrorMessage()
            self._factory.log.say(text, "The peer cannot be reached: {reason}")
        return reason
