"""
The connecting end of a tunnel, which reconnects when the connection is lost.
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
    Make a service that connects to a tunnel's listening end. After a failed attempt or a lost connection it connects
    again, with longer and longer pauses.
    """
    clock: Any = _RetryClock(factory.clock)
    return ClientService(_EstablishedEndpoint(endpoint, factory), Factory.forProtocol(Protocol), clock=clock)


class _RetryClock:
    """
    A clock for C{ClientService} whose delays do not depend on the wall clock. With the reactor itself, an attempt would
    come late by as much as the wall clock is set back.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock

    def callLater(self, delay: float, callable: Callable[..., object], *arguments: object) -> IDelayedCall:
        """
        Call a function after a delay in seconds, as C{IReactorTime} describes.
        """
        return callLater(self._clock, delay, callable, *arguments)


@implementer(IStreamClientEndpoint)
class _EstablishedEndpoint:
    """
    An endpoint whose C{connect} succeeds only once the carrier is up: the peer has identified itself, or the framing
    has no greeting. With a plain endpoint, C{ClientService} would reset its back-off at each TCP connection, even if
    the peer then closes the connection. This endpoint also logs why the peer cannot be reached.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, factory: StreamFactory) -> None:
        self._endpoint = endpoint
        self._factory = factory

    def __repr__(self) -> str:
        # ClientService logs this text as the name of the endpoint.
        return "the peer"

    def connect(self, protocolFactory: Any) -> Any:
        """
        Connect, and wait until the carrier is up: see C{IStreamClientEndpoint}.

        @param protocolFactory: makes the protocol whose C{connectionLost} is called when the connection has ended.
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
