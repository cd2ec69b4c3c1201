"""
The service of C{twistd tuntap tunnel}: a tunnel on a TUN or TAP device::

    twistd -n tuntap tunnel --tun tun0 --kernel-address 10.0.0.1/24 --listen tcp:4000 \\
        --certificate me.pem --trust peer.pem
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults

from txtuntap.layer.bounded import TableState
from txtuntap.service.carriers import makeCarriers, peerText
from txtuntap.service.interface import InterfaceService
from txtuntap.service.observe.page.subject import Subject
from txtuntap.service.options.tunnel import TunnelServiceSettings


class TunnelService(InterfaceService):
    """
    A service that runs a L{Tunnel<txtuntap.tunnel.tunnel.Tunnel>} on a TUN or TAP device.

    @ivar tunnel: the tunnel.
    """

    what = "A tunnel"

    def __init__(self, settings: TunnelServiceSettings, reactor: Any = None) -> None:
        """
        @param settings: the settings of the interface, and of the peer.
        """
        if reactor is None:
            from twisted.internet import reactor
        self._peer = settings.peer
        self._carriers = makeCarriers(settings.peer, reactor)
        self.tunnel = self._carriers.tunnel
        interface = settings.interface
        if self._carriers.cutsPackets:
            # The carrier cannot carry superpackets, and the kernel segments them faster than this process.
            if self._carriers.receivesTogether:
                self.tunnel.sendsOffload = True
            else:
                interface = attrs.evolve(interface, offload=False)
        super().__init__(interface, self.tunnel, reactor)

    def _opened(self) -> None:
        """
        Listen, if this end listens, before the process drops its privileges.
        """
        self._carriers.open()

    def _ends(self) -> dict[str, object]:
        """
        Return the addresses of the kernel's end of the interface, and the peer.
        """
        return {**super()._ends(), "peer": peerText(self._peer)}

    def _started(self) -> None:
        """
        Connect, if this end connects.
        """
        self._carriers.start()

    def stopService(self) -> Deferred[None]:
        """
        Close the connections, and stop the interface.
        """
        ended = self._carriers.stop()
        stopped: Deferred[Any] = super().stopService()
        return gatherResults([ended, stopped]).addCallback(lambda _: None)

    def subject(self) -> Subject:
        """
        Describe the interface and the tunnel for a live page.
        """
        return attrs.evolve(super().subject(), tunnel=self.tunnel)

    def tables(self) -> list[TableState]:
        """
        List the tables of the carriers, and of the servers for clients on this machine: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [*super().tables(), *self._carriers.tables()]

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """
        Return the counters of the interface, and of the tunnel.
        """
        return {**super().counters(), "tunnel": self.tunnel.counters}
