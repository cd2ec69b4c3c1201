"""
The framings by name, and the parser of the option C{--framing}, whose value is C{NAME} or C{NAME:argument=value:...}.
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

#: The framings over streams (C{tcp:}, C{unix:}) by name. Each is made by a call with the mode, one for each connection.
STREAM_FRAMINGS: dict[str, Callable[..., IStreamFraming]] = {
    "txtuntap": Frames,
    "qemu": QEMUStream,
    "socat": SocatStream,
}

#: The framings over datagrams (C{udp:}) by name. Each is made by a call with the mode, one for each tunnel.
DATAGRAM_FRAMINGS: dict[str, Callable[..., IDatagramFraming]] = {
    "bare": Bare,
    "qemu": QEMUDatagrams,
    "socat": Bare,
    "vxlan": VXLAN,
}


def framingOf(text: str, framings: Mapping[str, Callable[..., _F]]) -> Callable[[int], _F]:
    """
    Parse the name and the arguments of a framing, such as C{qemu}, C{socat:pi=yes}, C{vxlan:vni=42}.

    @param framings: L{STREAM_FRAMINGS} or L{DATAGRAM_FRAMINGS}.

    @return: a function that makes the framing for a mode. The function raises C{ValueError} if the framing cannot carry
        packets of that mode. The text of the error says why.

    @raise ValueError: no framing has that name, or its arguments are wrong.
    """
    name, *parts = text.split(":")
    if name not in framings:
        raise ValueError(f"there is no framing {name!r} for this kind of connection, but {', '.join(framings)}")
    make = framings[name]
    _, *takes = signature(make).parameters.values()
    kinds = {each.name: _PARSERS[each.annotation] for each in takes if each.annotation in _PARSERS}
    arguments = {}
    for part in parts:
        key, _, value = part.partition("=")
        if key not in kinds:
            raise ValueError(f"{text}: {name} takes no argument {key!r}{', but ' * bool(kinds)}{', '.join(kinds)}")
        try:
            arguments[key] = kinds[key](value)
        except (KeyError, ValueError) as e:
            raise ValueError(f"{text}: {key} is {_DESCRIPTIONS[kinds[key]]}, not {value!r}") from e
    for each in takes:
        if each.default is Parameter.empty and each.name not in arguments:
            example = f"{name}:{each.name}={_DESCRIPTIONS[kinds[each.name]]}"
            raise ValueError(f"{text}: the argument {each.name} is missing: give {example}")
    return partial(make, **arguments)


def _yesOrNo(text: str) -> bool:
    return {"yes": True, "no": False}[text]


#: The parsers of arguments by annotation, and the description of the values that each parser accepts.
_PARSERS: dict[object, Callable[[str], object]] = {"int": int, "bool": _yesOrNo}
_DESCRIPTIONS: dict[object, str] = {int: "a number", _yesOrNo: "yes or no"}
