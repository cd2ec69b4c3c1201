"""
Functions that check arguments. The message of each error says what to give instead.
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
    Suggest what to give in place of an object that is no protocol for a port or a layer.

    @return: the end of an error message; empty if there is no suggestion.
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
    Refuse text and numbers where octets are expected. C{bytes()} would turn a number into that many zeros.

    @raise TypeError: C{data} is not a buffer of octets.
    """
    try:
        memoryview(data)
    except TypeError:
        kind = "text" if isinstance(data, str) else type(data).__name__
        example = f": give {data[:20]!r}.encode()" if isinstance(data, str) else ""
        raise TypeError(f"{what} is bytes, not {kind}{example}") from None


def checkBuffers(buffers: Any) -> None:
    """
    Refuse one packet where a list of buffers is expected.

    @raise TypeError: C{buffers} is one buffer of octets, or text.
    """
    if isinstance(buffers, (str, bytes, bytearray, memoryview)):
        raise TypeError("a packet is a list of buffers: give [packet]")


def checkText(value: Any, what: str, example: str) -> None:
    """
    Refuse octets and numbers where text is expected. Both could be taken for a packed address.

    @raise ValueError: C{value} is not text.
    """
    if isinstance(value, (bytes, bytearray)):
        raise ValueError(f"{what} is text, not bytes: give {example!r}, not {value!r}")
    if not isinstance(value, str):
        raise ValueError(f"{what} is text such as {example!r}, not {value!r}")


def listed(values: Iterable[_T], what: str, example: object) -> list[_T]:
    """
    Make a list of the values of an iterable. Refuse text and octets, whose single characters would become the values.

    @return: a list of the values.

    @raise ValueError: C{values} is not iterable, or is text or octets.
    """
    if isinstance(values, (str, bytes, bytearray)) or not isinstance(values, Iterable):
        raise ValueError(f"{what} is a list: give [{example!r}], not {values!r}")
    return list(values)


def checkFlag(value: Any, what: str) -> None:
    """
    Refuse a value that is not a C{bool}. The text C{"no"} from a configuration file would count as true.

    @raise ValueError: C{value} is not a C{bool}.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{what} is True or False, not {value!r}")


def checkRange(value: Any, what: str, least: int, most: int) -> None:
    """
    Refuse a value that is not a whole number within a range.

    @raise ValueError: C{value} is not an C{int}, or is outside the range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{what} is a number from {least} to {most}, not {value!r}")


def checkPort(value: Any, kind: str) -> None:
    """
    Refuse a value that is not a port number to listen on.

    @param kind: C{"UDP"} or C{"TCP"}.

    @raise ValueError: C{value} is not a port number.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0xFFFF:
        raise ValueError(f"a {kind} port is a number from 1 to 65535, or 0 for any, not {value!r}")


def checkSeconds(value: Any, what: str, mayBeZero: bool = False) -> None:
    """
    Refuse a value that is not a duration in seconds, such as text, infinity or a negative number.

    @param mayBeZero: whether 0 is accepted.

    @raise ValueError: C{value} is not a duration.
    """
    isNumber = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not isNumber or not 0 <= value < inf or (value == 0 and not mayBeZero):
        least = "0 or more" if mayBeZero else "more than 0"
        raise ValueError(f"{what} is a number of seconds, {least}, not {value!r}")


def checkFactory(value: Any) -> None:
    """
    Refuse an object that cannot build protocols for connections.

    @raise TypeError: C{value} has no C{buildProtocol}, or is a class.
    """
    if isinstance(value, type) and callable(getattr(value, "buildProtocol", None)):
        raise TypeError(f"a factory builds protocols: that is a class, give {value.__name__}()")
    if not callable(getattr(value, "buildProtocol", None)):
        raise TypeError(f"a factory has a method buildProtocol, and {value!r} has none: give Factory.forProtocol(...)")


def checkProducer(value: Any, isStreaming: bool) -> None:
    """
    Refuse a producer that a transport cannot resume or pause. C{stopProducing} is not required, as in Twisted.

    @param isStreaming: whether the producer writes until it is paused (C{IPushProducer}). If not, it writes once for
        each call (C{IPullProducer}).

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
    Refuse a value that is no MTU: below the 68 octets that RFC 791 requires, or above the 65,535 that IP allows.

    @raise ValueError: C{value} is not an MTU.
    """
    checkRange(value, "an MTU", 68, 65535)


def checkClock(value: Any, what: str = "the clock") -> None:
    """
    Refuse an object that does not have the methods of C{IReactorTime}.

    @raise TypeError: C{value} is neither a reactor nor a clock.
    """
    if isinstance(value, type):
        raise TypeError(f"{what} is a reactor or a clock: that is a class, give {value.__name__}()")
    if not callable(getattr(value, "callLater", None)) or not callable(getattr(value, "seconds", None)):
        raise TypeError(f"{what} is a reactor or a clock (IReactorTime), not {value!r}")


def checkCallable(value: Any, what: str) -> None:
    """
    Refuse an object that cannot be called.

    @raise TypeError: C{value} cannot be called.
    """
    if not callable(value):
        raise TypeError(f"{what} is a callback: give a function, not {value!r}")


def checkRandom(value: Any, what: str = "random") -> None:
    """
    Refuse an object that is not a random number generator, such as a seed.

    @raise TypeError: C{value} is not a C{random.Random}.
    """
    if not isinstance(value, Random):
        raise TypeError(f"{what} is a random number generator: give random.Random({value!r})")


def checkKind(value: Any, kind: type, what: str, example: str) -> None:
    """
    Refuse an object that is not an instance of a class.

    @raise TypeError: C{value} is not an instance of C{kind}.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{what} is one of {kind.__name__}: give {example}, not {value!r}")
