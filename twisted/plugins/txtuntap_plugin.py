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
    "A host, a tunnel or a switch on network interfaces of one's own (TUN, TAP).",
    "tuntap",
)


@implementer(IPlugin, IStreamServerEndpointStringParser, IStreamClientEndpointStringParserWithReactor)
class TuntapEndpointStrings:
    """
    C{tuntap:} strings. Their parser is imported with the first of them: every program that has a string for any plugin
    imports this module.
    """

    prefix = "tuntap"

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> IStreamServerEndpoint:
        """
        See L{txtuntap.service.endpoints.TuntapEndpoints.parseStreamServer}.
        """
        from txtuntap.service.endpoints import endpoints

        return endpoints.parseStreamServer(reactor, *args, **kwargs)

    def parseStreamClient(self, reactor: Any, *args: Any, **kwargs: Any) -> IStreamClientEndpoint:
        """
        See L{txtuntap.service.endpoints.TuntapEndpoints.parseStreamClient}.
        """
        from txtuntap.service.endpoints import endpoints

        return endpoints.parseStreamClient(reactor, *args, **kwargs)


endpointStrings = TuntapEndpointStrings()
