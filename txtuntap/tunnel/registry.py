"""
Framings by name, as C{--framing} has them: C{NAME}, or C{NAME:argument=value:...}.
"""

from __future__ import annotations

from collections.abc import Callable

from txtuntap.tunnel.bare import Bare
from txtuntap.tunnel.frames import Frames
from txtuntap.tunnel.framing import IDatagramFraming, IStreamFraming
from txtuntap.tunnel.qemu import QEMUStream
from txtuntap.tunnel.socat import SocatStream
from txtuntap.tunnel.vxlan import VXLAN

#: By name, what makes one of a mode, for each connection, of what goes over streams (C{tcp:}, C{unix:}).
STREAM_FRAMINGS: dict[str, Callable[..., IStreamFraming]] = {
    "txtuntap": Frames,
    "qemu": QEMUStream,
    "socat": SocatStream,
}

#: The same, for each tunnel, of what goes over datagrams (C{udp:}).
DATAGRAM_FRAMINGS: dict[str, Callable[..., IDatagramFraming]] = {
    "bare": Bare,
    "qemu": Bare,
    "socat": Bare,
    "vxlan": VXLAN,
}
