"""
The options of C{twistd tuntap tunnel}.
"""

from __future__ import annotations

import attrs

from txtuntap.service.options.interface import InterfaceOptions, InterfaceServiceSettings
from txtuntap.service.options.peer import PeerOptions, PeerSettings


@attrs.frozen(kw_only=True)
class TunnelServiceSettings:
    """
    Settings of a L{TunnelService<txtuntap.service.tunnel.TunnelService>}.

    @ivar interface: the interface that is carried.
    @ivar peer: the peer, and how packets get there.
    @ivar prometheus: the endpoint at which metrics are served; L{None}: they are not.
    """

    interface: InterfaceServiceSettings
    peer: PeerSettings
    prometheus: str | None = None


class TunnelOptions(InterfaceOptions, PeerOptions):
    """
    Options of C{twistd tuntap tunnel}.

    @ivar settings: once parsed, what they ask for.
    """

    settings: TunnelServiceSettings

    synopsis = "[options]"
    longdesc = (
        "Carry a TUN or TAP device to another place: one end listens, the other connects, each with a certificate that"
        " the other knows. ENDPOINT is a Twisted endpoint string, such as tcp:4000 or unix:/run/tunnel for --listen and"
        " tcp:192.0.2.1:4000 for --connect; or, with a --framing of others, udp:4000 and udp:192.0.2.1:4000."
    )

    def postOptions(self) -> None:
        """
        Check the options together, and make settings of them.
        """
        super().postOptions()
        self.settings = TunnelServiceSettings(
            interface=self.interface, peer=self.peerSettings(self.mode), prometheus=self.prometheus
        )
