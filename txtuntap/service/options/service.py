"""
Options that every service has, and how options are explained, read and refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from inspect import cleandoc
from typing import ClassVar, TypeVar

from twisted.internet.endpoints import serverFromString
from twisted.python import usage
from twisted.python.usage import UsageError

_Method = TypeVar("_Method", bound=Callable[..., None])


def about(text: str) -> Callable[[_Method], _Method]:
    """
    Have the help show a text for an option, the decorated method. A docstring would not do: with C{python -OO} there is
    none, and Twisted shows it with the white space that it is indented by.
    """

    def decorated(method: _Method) -> _Method:
        method.__doc__ = cleandoc(text)
        return method

    return decorated


def repeatable(text: str) -> Callable[[_Method], _Method]:
    """
    Have the help show a text for an option that may be repeated: see L{about}.
    """
    return about(f"{cleandoc(text)} May be repeated.")


@contextmanager
def naming(option: str) -> Iterator[None]:
    """
    Refuse an option whose value is wrong: a C{ValueError} or C{UsageError} within becomes a C{UsageError} that begins
    with the option.

    @param option: the option as the user has written it, such as C{--address}.
    """
    try:
        yield
    except (ValueError, UsageError) as e:
        raise UsageError(f"{option}: {e}") from e


class PlainOptions(usage.Options):
    """
    Options without arguments beside them.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def parseArgs(self, *surplus: str) -> None:
        """
        Refuse arguments: there are options, and nothing else.
        """
        if surplus:
            raise UsageError(f"{surplus[0]!r} is none of the options")

    def valueOf(self, option: str) -> str | None:
        """
        The value of one of C{optParameters}; L{None}: it was not given, and has no default.
        """
        value: str | None = self[option]
        return value

    def isGiven(self, flag: str) -> bool:
        """
        Whether one of C{optFlags} was given.
        """
        return bool(self[flag])


class ServiceOptions(PlainOptions):
    """
    Options that every service has.
    """

    optFlags: ClassVar = [
        ["no-offload", None, "Have every packet come and go by itself, with its checksums, as captures show best."],
        ["no-control", None, "Have no control socket, by which 'txtuntap capture' hears what passes."],
    ]
    optParameters: ClassVar = [
        ["prometheus", None, None, "Serve /metrics there: an endpoint such as tcp:9100:interface=127.0.0.1."],
    ]

    @property
    def offload(self) -> bool | None:
        """
        Whether packets come and go as few large ones: see L{TuntapPort<txtuntap.tuntap.TuntapPort>}.
        """
        return False if self.isGiven("no-offload") else None

    @property
    def control(self) -> bool:
        """
        Whether each interface has a control socket.
        """
        return not self.isGiven("no-control")

    @property
    def prometheus(self) -> str | None:
        """
        The endpoint at which metrics are served; L{None}: they are not.
        """
        return self.valueOf("prometheus")

    def checkPrometheus(self) -> None:
        """
        Check that metrics can be served, where that is asked for.

        @raise UsageError: they cannot.
        """
        endpoint = self.prometheus
        if endpoint is None:
            return
        if find_spec("prometheus_client") is None:
            raise UsageError("--prometheus: that takes prometheus_client: pip install 'txtuntap[prometheus]'")
        try:
            # The reactor is used only once the endpoint listens.
            serverFromString(None, endpoint)
        except Exception as e:
            example = "tcp:9100:interface=127.0.0.1"
            raise UsageError(f"--prometheus: {endpoint!r} is no server endpoint, such as {example}: {e}") from e
