"""
Framings by name, as C{--framing} has them: C{NAME}, or C{NAME:argument=value:...}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter, signature
from typing import TypeVar

from txtuntap.tunnel.bare import Bare
from txtuntap.tunnel.frames import Frames
from txtuntap.tunnel.framing import IDatagramFraming, IStreamFraming
from txtuntap.tunnel.qemu import QEMUDatagrams, QEMUStream
from txtuntap.tunnel.socat import SocatStream
from txtuntap.tunnel.vxlan import VXLAN

_F = TypeVar("_F", IStreamFraming, IDatagramFraming)

#: By name, what makes one of a mode, for each connection, of what goes over streams (C{tcp:}, C{unix:}).
STREAM_FRAMINGS: dict[str, Callable[..., IStreamFraming]] = {
    "txtuntap": Frames,
    "qemu": QEMUStream,
    "socat": SocatStream,
}

#: The same, for each tunnel, of what goes over datagrams (C{udp:}).
DATAGRAM_FRAMINGS: dict[str, Callable[..., IDatagramFraming]] = {
    "bare": Bare,
    "qemu": QEMUDatagrams,
    "socat": Bare,
    "vxlan": VXLAN,
}


def framingOf(text: str, framings: Mapping[str, Callable[..., _F]]) -> Callable[[int], _F]:
    """
    Read a name and arguments, such as C{qemu}, C{socat:pi=yes}, C{vxlan:vni=42}.

    @param framings: L{STREAM_FRAMINGS} or L{DATAGRAM_FRAMINGS}.

    @return: what makes one of a mode; it raises C{ValueError}, and says why, if that one cannot be.

    @raise ValueError: there is none of that name, or it takes other arguments.
    """
    name, *parts = text.split(":")
    if name not in framings:
        raise ValueError(f"there is no framing {name!r} for this kind of connection, but {', '.join(framings)}")
    make = framings[name]
    _, *takes = signature(make).parameters.values()
    kinds = {each.name: _KINDS[each.annotation] for each in takes if each.annotation in _KINDS}
    arguments = {}
    for part in parts:
        key, _, value = part.partition("=")
        if key not in kinds:
            raise ValueError(f"{text}: {name} takes no argument {key!r}{', but ' * bool(kinds)}{', '.join(kinds)}")
        try:
            arguments[key] = kinds[key](value)
        except (KeyError, ValueError) as e:
            raise ValueError(f"{text}: {key} is {_WHAT[kinds[key]]}, not {value!r}") from e
    for each in takes:
        if each.default is Parameter.empty and each.name not in arguments:
            raise ValueError(f"{text}: say which, as in {name}:{each.name}={_WHAT[kinds[each.name]]}")
    return partial(make, **arguments)


def _yesOrNo(text: str) -> bool:
    return {"yes": True, "no": False}[text]


#: How the text of an argument is read, by what it is; and what it should be.
_KINDS: dict[object, Callable[[str], object]] = {"int": int, "bool": _yesOrNo}
_WHAT: dict[object, str] = {int: "a number", _yesOrNo: "yes or no"}
