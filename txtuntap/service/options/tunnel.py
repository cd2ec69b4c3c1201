"""
The options of the command C{twistd tuntap tunnel}.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from txtuntap.service.options.interface import InterfaceOptions, InterfaceServiceSettings
from txtuntap.service.options.peer import PeerOptions, PeerSettings
from txtuntap.service.options.service import PageSettings


@attrs.frozen(kw_only=True)
class TunnelServiceSettings:
    """
    The settings of a L{TunnelService<txtuntap.service.tunnel.TunnelService>}.

    @ivar interface: the settings of the interface whose packets are carried.
    @ivar peer: the settings of the peer and of the carrier.
    @ivar prometheus: the endpoint at which metrics are served; C{None}: metrics are not served.
    @ivar page: the settings of the live page; C{None}: there is none.
    """

    interface: InterfaceServiceSettings
    peer: PeerSettings
    prometheus: str | None = None
    page: PageSettings | None = None


class TunnelOptions(InterfaceOptions, PeerOptions):
    """
    The options of the command C{twistd tuntap tunnel}.

    @ivar settings: once parsed, the settings of the service.
    """

    settings: TunnelServiceSettings

    synopsis = "--tun NAME|--tap NAME --listen ENDPOINT|--connect ENDPOINT [options]"
    longdesc = (
        "Carry the packets of a TUN or TAP device to a peer and back. One end listens, and the other connects. Each end"
        " has a certificate by which the other end authenticates it. ENDPOINT is a Twisted endpoint string, such as"
        " tcp:4000 or unix:/run/tunnel for --listen and tcp:192.0.2.1:4000 for --connect. With the --framing of another"
        " program, it can also be udp:4000 and udp:192.0.2.1:4000."
    )

    #: The peer is listed before the interface.
    optGroups: ClassVar = PeerOptions.optGroups

    def postOptions(self) -> None:
        """
        Check the options together, and make settings from them.
        """
        super().postOptions()
        self.settings = TunnelServiceSettings(
            interface=self.interface, peer=self.peerSettings(self.mode), prometheus=self.prometheus, page=self.page
        )
