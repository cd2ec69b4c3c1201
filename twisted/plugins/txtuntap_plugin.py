from typing import Any

from twisted.application.service import ServiceMaker
from twisted.internet.interfaces import (
    IStreamClientEndpoint,
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

tuntap = ServiceMaker(
    "txtuntap",
    "txtuntap.service",
    "A host, a switch, a tunnel or a WireGuard peer on TUN and TAP interfaces.",
    "tuntap",
)


@implementer(IPlugin, IStreamServerEndpointStringParser, IStreamClientEndpointStringParserWithReactor)
class TuntapEndpointStrings:
    """
    The parser of C{tuntap:} endpoint strings. L{txtuntap.service.endpoints} is imported only when such a string is
    parsed, because each program that parses any endpoint string imports this module.
    """

    prefix = "tuntap"

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> IStreamServerEndpoint:
        """
        Parse a string for a server: see L{txtuntap.service.endpoints.TuntapEndpoints.parseStreamServer}.
        """
        from txtuntap.service.endpoints import endpoints

        return endpoints.parseStreamServer(reactor, *args, **kwargs)

    def parseStreamClient(self, reactor: Any, *args: Any, **kwargs: Any) -> IStreamClientEndpoint:
        """
        Parse a string for a client: see L{txtuntap.service.endpoints.TuntapEndpoints.parseStreamClient}.
        """
        from txtuntap.service.endpoints import endpoints

        return endpoints.parseStreamClient(reactor, *args, **kwargs)


endpointStrings = TuntapEndpointStrings()
