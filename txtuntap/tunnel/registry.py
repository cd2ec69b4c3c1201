"""
Framings by name, as C{--framing} has them: C{NAME}, or C{NAME:argument=value:...}.
"""

from __future__ import annotations

from collections.abc import Callable

from txtuntap.tunnel.frames import Frames
from txtuntap.tunnel.framing import IDatagramFraming, IStreamFraming

#: By name, what makes one of a mode, for each connection, of what goes over streams (C{tcp:}, C{unix:}).
STREAM_FRAMINGS: dict[str, Callable[..., IStreamFraming]] = {"txtuntap": Frames}

#: The same, for each tunnel, of what goes over datagrams (C{udp:}).
DATAGRAM_FRAMINGS: dict[str, Callable[..., IDatagramFraming]] = {}
