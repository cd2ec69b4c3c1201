"""
C{twistd tuntap tunnel}: a tunnel on a TUN or TAP device.

    twistd -n tuntap tunnel --tun tun0 --kernel-address 10.0.0.1/24 --listen tcp:4000 \\
        --certificate me.pem --trust peer.pem
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults

from txtuntap.device.settings import InterfaceSettings
from txtuntap.service.carriers import Carriers, makeCarriers
from txtuntap.service.interface import InterfaceService

if TYPE_CHECKING:
    from txtuntap.device.linux.device import LinuxDevice


class TunnelService(InterfaceService):
    """
    A L{Tunnel<txtuntap.tunnel.tunnel.Tunnel>} on a TUN or TAP device.

    @ivar tunnel: the tunnel.
    """

    what = "A tunnel"

    def __init__(
        self,
        device: LinuxDevice,
        carriers: Carriers,
        settings: InterfaceSettings | None = None,
        undo: bool = False,
        reactor: Any = None,
        offload: bool | None = None,
        control: bool = True,
    ) -> None:
        """
        @param carriers: how it gets to its peer.
        """
        super().__init__(device, carriers.tunnel, settings, undo, reactor, offload, control)
        self.tunnel = carriers.tunnel
        self._carriers = carriers

    def _opened(self) -> None:
        """
        Listen, while there is the privilege to.
        """
        self._carriers.open()

    def startService(self) -> None:
        """
        Connect, too.
        """
        super().startService()
        self._carriers.start()

    def stopService(self) -> Deferred[None]:
        """
        End the connection first.
        """
        ended = self._carriers.stop()
        stopped: Deferred[Any] = super().stopService()
        return gatherResults([ended, stopped]).addCallback(lambda _: None)

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Those of the tunnel, too.
        """
        return {**super().counters(), "tunnel": self.tunnel.counters}


def makeTunnelService(asked: Any) -> TunnelService:
    """
    The service that the options ask for.
    """
    from twisted.internet import reactor

    carriers, isPlain = makeCarriers(asked, reactor)
    settings = asked["settings"] if asked["helper"] is None else None
    # Where each packet goes by itself whoever the peer is, the kernel cuts them faster.
    offload = False if asked["no-offload"] or isPlain else None
    return TunnelService(
        asked["device"], carriers, settings, bool(asked["undo"]), reactor, offload, not asked["no-control"]
    )
