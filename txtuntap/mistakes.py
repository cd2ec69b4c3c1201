"""
Checks of arguments that cannot work: each message names what to give instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from random import Random
from typing import Any, TypeVar

from twisted.internet.interfaces import IReactorUDP
from twisted.internet.protocol import DatagramProtocol

_T = TypeVar("_T")


def instead(proto: Any) -> str:
    """
    Name what to give in place of something that is no protocol for a port or a layer.

    @return: the end of a message; empty where there is nothing to name.
    """
    if isinstance(proto, type):
        return f": that is a class, give an instance, {proto.__name__}()"
    if IReactorUDP.providedBy(proto) and hasattr(proto, "ethernet") and hasattr(proto, "ip"):
        return ": that is a host, give host.ethernet for a tap, host.ip for a tun"
    if callable(getattr(proto, "addPort", None)):
        return ": that is a switch, give switch.addPort()"
    if isinstance(proto, DatagramProtocol):
        return ": give it to host.listenUDP, or add it to a RawUDPProtocol, and that to an IPProtocol (addProto)"
    if callable(getattr(proto, "buildProtocol", None)):
        return ": that is a factory of protocols for streams"
    return ""


def checkOctets(data: Any, what: str = "a packet") -> None:
    """
    Refuse text, and numbers, which C{bytes()} would make zeros of.

    @raise TypeError: C{data} is no octets.
    """
    try:
        memoryview(data)
    except TypeError:
        kind = "text" if isinstance(data, str) else type(data).__name__
        example = f": give {data[:20]!r}.encode()" if isinstance(data, str) else ""
        raise TypeError(f"{what} is bytes, not {kind}{example}") from None


def checkBuffers(buffers: Any) -> None:
    """
    Refuse one packet in place of the list of buffers that it is in.

    @raise TypeError: C{buffers} is octets, or text.
    """
    if isinstance(buffers, (str, bytes, bytearray, memoryview)):
        raise TypeError("a packet is a list of buffers: give [packet]")


def checkText(value: Any, what: str, example: str) -> None:
    """
    Refuse what is no text: octets, which could be an address that is packed, and numbers, which could be one, too.

    @raise ValueError: C{value} is no text.
    """
    if isinstance(value, (bytes, bytearray)):
        raise ValueError(f"{what} is text, not bytes: give {example!r}, not {value!r}")
    if not isinstance(value, str):
        raise ValueError(f"{what} is text such as {example!r}, not {value!r}")


def listed(values: Iterable[_T], what: str, example: object) -> list[_T]:
    """
    Refuse text and octets, which would be iterated over by character, in place of a list.

    @return: a list of the values.

    @raise ValueError: C{values} is no list.
    """
    if isinstance(values, (str, bytes, bytearray)) or not isinstance(values, Iterable):
        raise ValueError(f"{what} is a list: give [{example!r}], not {values!r}")
    return list(values)


def checkFlag(value: Any, what: str) -> None:
    """
    Refuse what is neither true nor false: the text of a configuration file, C{"no"}, would be true.

    @raise ValueError: C{value} is no flag.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{what} is True or False, not {value!r}")


def checkRange(value: Any, what: str, least: int, most: int) -> None:
    """
    Refuse what is no whole number in a range.

    @raise ValueError: C{value} is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{what} is a number from {least} to {most}, not {value!r}")


def checkPort(value: Any, kind: str) -> None:
    """
    Refuse what is no number of a port to listen on.

    @param kind: C{"UDP"} or C{"TCP"}.

    @raise ValueError: C{value} is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0xFFFF:
        raise ValueError(f"a {kind} port is a number from 1 to 65535, or 0 for any, not {value!r}")


def checkSeconds(value: Any, what: str, mayBeZero: bool = False) -> None:
    """
    Refuse what is no length of time: text, infinity, and what is below 0.

    @param mayBeZero: whether no time at all is one.

    @raise ValueError: C{value} is none.
    """
    isNumber = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not isNumber or not 0 <= value < inf or (value == 0 and not mayBeZero):
        least = "0 or more" if mayBeZero else "more than 0"
        raise ValueError(f"{what} is a number of seconds, {least}, not {value!r}")


def checkFactory(value: Any) -> None:
    """
    Refuse what builds no protocols for connections.

    @raise TypeError: C{value} has no C{buildProtocol}, or is a class.
    """
    if isinstance(value, type) and callable(getattr(value, "buildProtocol", None)):
        raise TypeError(f"a factory builds protocols: that is a class, give {value.__name__}()")
    if not callable(getattr(value, "buildProtocol", None)):
        raise TypeError(f"a factory has buildProtocol, {value!r} has not: give Factory.forProtocol(...)")


def checkProducer(value: Any, isStreaming: bool) -> None:
    """
    Refuse what a transport cannot resume, or pause. (Twisted takes producers that have no C{stopProducing}.)

    @param isStreaming: whether it writes until it is paused (C{IPushProducer}), or once for each call
        (C{IPullProducer}).

    @raise TypeError: C{value} lacks a method, or is a class.
    """
    if isinstance(value, type):
        raise TypeError(f"a producer writes to a transport: that is a class, give {value.__name__}()")
    names = ("resumeProducing", "pauseProducing") if isStreaming else ("resumeProducing",)
    missing = [name for name in names if not callable(getattr(value, name, None))]
    if missing:
        kind = "push producer (streaming=True)" if isStreaming else "pull producer (streaming=False)"
        raise TypeError(f"a {kind} has {' and '.join(names)}: {value!r} has no {' and no '.join(missing)}")


def checkMTU(value: Any) -> None:
    """
    Refuse what is no MTU of IP: less than RFC 791 requires of a link, or more than IP has.

    @raise ValueError: C{value} is none.
    """
    checkRange(value, "an MTU", 68, 65535)


def checkClock(value: Any, what: str = "the clock") -> None:
    """
    Refuse what does not tell the time and make calls later.

    @raise TypeError: C{value} is neither a reactor nor a clock.
    """
    if isinstance(value, type):
        raise TypeError(f"{what} is a reactor or a clock: that is a class, give {value.__name__}()")
    if not callable(getattr(value, "callLater", None)) or not callable(getattr(value, "seconds", None)):
        raise TypeError(f"{what} is a reactor or a clock (IReactorTime), not {value!r}")


def checkCallable(value: Any, what: str) -> None:
    """
    Refuse what is no function.

    @raise TypeError: C{value} cannot be called.
    """
    if not callable(value):
        raise TypeError(f"{what} is called: give a function, not {value!r}")


def checkRandom(value: Any, what: str = "random") -> None:
    """
    Refuse a seed in place of a source.

    @raise TypeError: C{value} is no source of chance.
    """
    if not isinstance(value, Random):
        raise TypeError(f"{what} is where chance comes from: give random.Random({value!r})")


def checkKind(value: Any, kind: type, what: str, example: str) -> None:
    """
    Refuse an object of another class.

    @raise TypeError: C{value} is no C{kind}.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{what} is one of {kind.__name__}: give {example}, not {value!r}")
