"""
The Twisted endpoints C{tuntap:}, which give every program that accepts endpoint strings an address of its own::

    twistd -n web --listen 'tuntap:tap0:address=10.0.0.2/24:port=80:kernel=10.0.0.1/24' --path .

All endpoints of a process that name the same interface share one host. The first of these endpoints describes the host,
and later ones may omit the description. The first C{listen} or C{connect} opens the host. The host is closed when its
last port has stopped and its last connection has ended.
"""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast
from weakref import WeakValueDictionary

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import CannotListenError, ConnectError, ConnectionDone
from twisted.internet.interfaces import IAddress, IListeningPort, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.python.failure import Failure
from twisted.python.usage import UsageError
from zope.interface import implementer

from txtuntap.device import printable
from txtuntap.layer.bound import interfaceAddress
from txtuntap.service.host import HostService
from txtuntap.service.options.host import HostOptions, HostServiceSettings
from txtuntap.tcp.client import clientBinding, literal
from txtuntap.tcp.ports import BACKLOG, TCPPort
from txtuntap.wire.address import packLinkAddress

#: The keys that describe the host of an interface, with the option of C{twistd tuntap host} that each stands for.
_OPTIONS = {
    "address": "--address",
    "gateway": "--gateway",
    "mac": "--mac",
    "kernel": "--kernel-address",
    "netns": "--netns",
    "helper": "--helper",
}
_KEYS = ("address", "mode", *(key for key in _OPTIONS if key != "address"))

#: The keys that accept several values, joined by C{+}.
_LISTS = ("address", "gateway", "kernel")

#: The key for each option. Error texts that name an option are rewritten to name its key.
_KEY_OF_OPTION = {**{option: key for key, option in _OPTIONS.items()}, "--tun": "name", "--tap": "name"}

#: The seconds after which an attempt to connect fails. Twisted's endpoints have the same default.
_TIMEOUT = 30

_SERVER = "tuntap:tap0:address=10.0.0.2/24:port=80"
_CLIENT = "tuntap:tap0:address=10.0.0.2/24:host=10.0.0.1:port=80"

#: A function that makes the service of a host from its settings and the reactor.
MakeService = Callable[[HostServiceSettings, Any], "EndpointHost"]


class EndpointHost(HostService):
    """
    The service of a host that endpoints have opened.

    @ivar uses: how many ports listen on the host, plus how many attempts to connect are in progress.
    @ivar onLost: called when the interface is lost.
    """

    def __init__(self, settings: HostServiceSettings, reactor: Any = None) -> None:
        super().__init__(settings, reactor)
        self.uses = 0
        self.onLost: Callable[[], object] | None = None

    def open(self) -> None:
        """
        Open the device, configure the interface, and open its monitor and control socket.

        @raise CannotListenError: the device cannot be opened or configured. The text says why, and what to do.
        """
        try:
            super().open()
        except (OSError, ValueError) as e:
            raise CannotListenError("tap" if self.port.ethernet else "tun", self.interface(), e) from e

    def _lost(self, reason: Failure) -> None:
        if reason.check(ConnectionDone):
            return
        # Other endpoints of the process may be on other interfaces, so the process continues.
        text = "The endpoints on {name} are lost: {reason} Call listen or connect again."
        self._log.critical(text, name=self.interface(), reason=reason.value)
        if self.onLost is not None:
            self.onLost()


class SharedHost:
    """
    The host that all endpoints of one interface share. The first use opens it.
    """

    def __init__(self, name: str, given: Mapping[str, str], reactor: Any, makeService: MakeService) -> None:
        """
        @param name: the name of the interface.
        @param given: the values of the keys that describe the host.

        @raise ValueError: the keys describe no valid host.
        """
        # Import these modules here and not at the first use, because the import would block a running reactor.
        import txtuntap.device.configure
        import txtuntap.device.monitor  # noqa: F401

        self.name = name
        self._given = dict(given)
        if "address" not in given:
            text = "the first endpoint of an interface gives the host's address, such as address=10.0.0.2/24"
            raise ValueError(f"{text}; only later ones may leave it out")
        self._meaning = _meaning(name, given)
        self._reactor = reactor
        self._makeService = makeService
        self._service: EndpointHost | None = None
        #: Deferreds that fire when the host has closed; C{None} while the host is not closing.
        self._closing: list[Deferred[None]] | None = None

    def differs(self, given: Mapping[str, str]) -> str | None:
        """
        Compare the description of the host in another endpoint with that in the first.

        @return: the first difference and what to do; C{None} if there is none.
        """
        try:
            meaning: Mapping[str, object] = _meaning(self.name, {**self._given, **given})
        except (UsageError, ValueError):
            # The description is invalid with the new values, so one differs. Find a text that differs, at least.
            meaning = given
        for key, value in given.items():
            first = self._given.get(key)
            if value != first and meaning[key] != self._meaning[key]:
                before = f"{key} is {first}" if first else f"no {key} is given"
                return (
                    f"{key} is {value} here, and {before} in the first endpoint of this interface: leave it out or say"
                    " the same, or give this endpoint an interface of its own"
                )
        return None

    @property
    def settings(self) -> HostServiceSettings:
        """
        The settings of the host, with a device that is not open.
        """
        # Settings without a device have another type, but no key can ask for them.
        return cast(HostServiceSettings, _options(self.name, self._given).settings)

    def whenFree(self) -> Deferred[None]:
        """
        Wait until a host of this interface can be opened.

        @return: a Deferred that fires once no earlier host is still closing.
        """
        if self._closing is None:
            return succeed(None)
        free: Deferred[None] = Deferred()
        self._closing.append(free)
        return free.addCallback(lambda _: self.whenFree())

    def hold(self) -> EndpointHost:
        """
        Count one more use of the host. Open the host if it is not open yet.

        @raise CannotListenError: the host cannot be opened.
        """
        service = self._service
        if service is None:
            service = self._makeService(self.settings, self._reactor)
            try:
                service.open()
            except CannotListenError:
                self._close(service)
                raise
            opened = self._service = service
            service.follow()
            service.onLost = lambda: self._close(opened)
            service.host.tcp.onIdle = lambda: self._closeIfDone(opened)
        service.uses += 1
        return service

    def release(self, service: EndpointHost) -> Deferred[None]:
        """
        Count one use less of the host. Close the host if that was the last use and no connection is left.

        @return: a Deferred that fires once the host is closed, or at once if it stays open or is closing already.
        """
        service.uses -= 1
        return self._closeIfDone(service)

    def _closeIfDone(self, service: EndpointHost) -> Deferred[None]:
        if service is not self._service or service.uses or service.host.tcp.transports:
            return succeed(None)
        return self._close(service)

    def _close(self, service: EndpointHost) -> Deferred[None]:
        self._service = None
        # The callbacks refer to this object, which must not live as long as the closed service.
        service.onLost = service.host.tcp.onIdle = None
        closed: Deferred[None] = Deferred()
        if self._closing is None:
            self._closing = []
        self._closing.append(closed)
        service.stopService().addBoth(lambda _: self._closed())
        return closed

    def _closed(self) -> None:
        waiting, self._closing = self._closing or [], None
        for each in waiting:
            each.callback(None)


@implementer(IListeningPort)
class TuntapListeningPort:
    """
    A port that listens on a shared host and keeps the host open.
    """

    def __init__(self, shared: SharedHost, factory: Any, port: int, backlog: int, interface: str) -> None:
        """
        @param shared: the host. The remaining parameters are arguments of C{Host.listenTCP}, too.
        """
        self._shared = shared
        self._factory = factory
        self._arguments = port, backlog, interface
        self._service: EndpointHost | None = None
        self._port: TCPPort | None = None

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} on {self._shared.name}: {self._port!r}>"

    def startListening(self) -> None:
        """
        Open the host if it is not open yet, and accept connections. This also restarts a port after L{stopListening}.

        @raise CannotListenError: the host cannot be opened, or the port is taken.
        """
        if self._service is not None:
            return
        service = self._shared.hold()
        port, backlog, interface = self._arguments
        try:
            listening: Any = service.host.listenTCP(port, self._factory, backlog, interface)
        except BaseException:
            self._shared.release(service)
            raise
        self._service, self._port = service, listening

    def stopListening(self) -> Deferred[None]:
        """
        Accept no more connections. Established connections continue and keep the host open.

        @return: a Deferred that fires when the port has stopped and, if nothing else uses the host, that is closed.
        """
        service, self._service = self._service, None
        if service is None or self._port is None:
            return succeed(None)
        held = service

        def stopped(result: Any) -> Deferred[Any]:
            return self._shared.release(held).addCallback(lambda _: result)

        return self._port.stopListening().addBoth(stopped)

    def getHost(self) -> IAddress:
        """
        Return the local address and port; C{0.0.0.0} stands for all addresses.
        """
        if self._port is None:
            raise RuntimeError("this port has not listened yet: call startListening first")
        return self._port.getHost()


@implementer(IStreamServerEndpoint)
class TuntapServerEndpoint:
    """
    An endpoint that listens on the shared host of an interface.

    @ivar shared: the host.
    @ivar arguments: the arguments of C{Host.listenTCP}, without the factory.
    """

    def __init__(self, shared: SharedHost, port: int, backlog: int, interface: str) -> None:
        self.shared = shared
        self.arguments = port, backlog, interface

    def listen(self, protocolFactory: Any) -> Deferred[IListeningPort]:
        """
        Listen on the host: see C{IStreamServerEndpoint.listen}. The port's C{stopListening} ends its use of the host.

        @return: a Deferred that fires with the port. It fails with C{CannotListenError}, whose text says why and what
            to do.
        """
        port = TuntapListeningPort(self.shared, protocolFactory, *self.arguments)
        done: Deferred[Any] = self.shared.whenFree().addCallback(lambda _: port.startListening())
        return done.addCallback(lambda _: port)


@implementer(IStreamClientEndpoint)
class TuntapClientEndpoint:
    """
    An endpoint that connects from the shared host of an interface.

    @ivar shared: the host.
    @ivar arguments: the arguments of C{Host.connectTCP}, without the factory.
    """

    def __init__(self, shared: SharedHost, host: str, port: int, timeout: int, bindAddress: str | None) -> None:
        self.shared = shared
        self.arguments = host, port, timeout, bindAddress

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """
        Connect from the host: see C{IStreamClientEndpoint.connect}. The connection keeps the host open until it has
        ended.

        @return: a Deferred that fires with the protocol. It fails if the connection fails. If the device cannot be
            opened, the error is a C{ConnectError}, whose text says why and what to do.
        """
        return self.shared.whenFree().addCallback(lambda _: self._connect(protocolFactory))

    def _connect(self, protocolFactory: Any) -> Deferred[Any]:
        try:
            service = self.shared.hold()
        except CannotListenError as e:
            raise ConnectError(getattr(e.socketError, "errno", None), str(e).rstrip(".")) from e
        connected: Deferred[Any] = TCP4ClientEndpoint(service.host, *self.arguments).connect(protocolFactory)

        def release(result: Any) -> Any:
            self.shared.release(service)
            return result

        return connected.addBoth(release)


class TuntapEndpoints:
    """
    The parser of C{tuntap:} strings, which C{twisted.plugins.txtuntap_plugin} registers.
    """

    def __init__(self, makeService: MakeService = EndpointHost) -> None:
        """
        @param makeService: makes the service of a host. Tests put the service on a device in memory.
        """
        self._makeService = makeService
        #: The shared hosts by reactor and name of the interface, as long as an endpoint or a port refers to them.
        self._shared: WeakValueDictionary[tuple[Any, str], SharedHost] = WeakValueDictionary()

    def parseStreamServer(self, reactor: Any, *args: str, **kwargs: str) -> TuntapServerEndpoint:
        """
        Make an endpoint that listens. The host is not opened yet.

        @raise ValueError: the string is wrong. The text says what to do.
        """
        with _naming(args, kwargs):
            given = _parseKeys(args, kwargs, ("name", "port"), ("backlog", "interface"), _SERVER)
            port = _number(given, "port", 0, 0xFFFF)
            backlog = _number(given, "backlog", 0, sys.maxsize, BACKLOG)
            interface = given.get("interface", "")
            if interface:
                interfaceAddress(interface.partition("%")[0])
            return TuntapServerEndpoint(self._sharedHost(reactor, given), port, backlog, interface)

    def parseStreamClient(self, reactor: Any, *args: str, **kwargs: str) -> TuntapClientEndpoint:
        """
        Make an endpoint that connects. The host is not opened yet.

        @raise ValueError: the string is wrong. The text says what to do.
        """
        with _naming(args, kwargs):
            given = _parseKeys(args, kwargs, ("name", "host", "port"), ("timeout", "bindAddress"), _CLIENT)
            host = given["host"]
            if literal(host) is None:
                raise ValueError(f"host is {host!r}, but names cannot be resolved here: give an IP address")
            port = _number(given, "port", 1, 0xFFFF)
            timeout = _number(given, "timeout", 1, sys.maxsize, _TIMEOUT)
            bindAddress = given.get("bindAddress")
            clientBinding(bindAddress)
            return TuntapClientEndpoint(self._sharedHost(reactor, given), host, port, timeout, bindAddress)

    def _sharedHost(self, reactor: Any, given: Mapping[str, str]) -> SharedHost:
        name = given["name"]
        description = {key: given[key] for key in _KEYS if key in given}
        shared = self._shared.get((reactor, name))
        if shared is not None and shared.differs(description):
            del shared
            # An unused endpoint in a reference cycle may still keep the old host.
            gc.collect()
            shared = self._shared.get((reactor, name))
        if shared is None:
            shared = self._shared[reactor, name] = SharedHost(name, description, reactor, self._makeService)
        elif difference := shared.differs(description):
            raise ValueError(difference)
        return shared


#: The parser that the plugin registers, one for the process.
endpoints = TuntapEndpoints()


@contextmanager
def _naming(args: Sequence[str], kwargs: Mapping[str, str]) -> Iterator[None]:
    """
    Refuse a wrong string with a C{ValueError} that names the interface, and the keys instead of options.
    """
    try:
        yield
    except (UsageError, ValueError) as e:
        text = re.sub(r"--[a-z-]+", lambda option: _KEY_OF_OPTION.get(option[0], option[0]), str(e))
        raise ValueError(f"tuntap:{printable(args[0] if args else kwargs.get('name', ''))}: {text}") from None


def _parseKeys(
    args: Sequence[str], kwargs: Mapping[str, str], needed: Sequence[str], others: Sequence[str], example: str
) -> dict[str, str]:
    """
    Return the values of a string by key.

    @param args: the values without keys; C{kwargs}: the values with keys.
    @param needed: the required keys. Their values may be given without keys, in this order.
    @param others: the optional keys but those that describe the host; C{example}: a valid string, for error texts.

    @raise ValueError: a key is missing or unknown, or has no value.
    """
    known = (*needed, *_KEYS, *others)
    for key in kwargs:
        if key not in known:
            raise ValueError(f"there is no key {key!r}: there are {', '.join(known)}")
    bare = [key for key in needed if key not in kwargs]
    if len(args) > len(bare):
        raise ValueError(
            rf"{args[len(bare)]!r} has no key: give KEY=VALUE, and write a colon within a value as '\:', such as"
            r" address=fd00\:\:2/64"
        )
    given = {**dict(zip(bare, args, strict=False)), **kwargs}
    for key in needed:
        if key not in given:
            raise ValueError(f"there is no {key}: give a string such as {example}")
    for key, value in given.items():
        if not value:
            raise ValueError(f"{key} has no value: give one, in a string such as {example}")
    return given


def _number(given: Mapping[str, str], key: str, least: int, most: int, default: int = 0) -> int:
    """
    Parse the value of a key as a number from C{least} to C{most}. If the key is not given, return C{default}.

    @raise ValueError: the value is no number, or out of range.
    """
    text = given.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        upTo = f" to {most}" if most < sys.maxsize else " on"
        raise ValueError(f"{key} is a number from {least}{upTo}, not {text!r}")
    return int(text)


def _options(name: str, given: Mapping[str, str]) -> HostOptions:
    """
    Parse the keys that describe the host as options of C{twistd tuntap host}, and check them together.

    @raise ValueError: C{mode} is neither C{tun} nor C{tap}.
    @raise UsageError: the options describe no valid host.
    """
    mode = given.get("mode", "tap")
    if mode not in ("tun", "tap"):
        raise ValueError(f"mode is tun or tap, not {mode!r}")
    arguments = [f"--{mode}={name}"]
    for key, option in _OPTIONS.items():
        if key in given:
            values = given[key].split("+") if key in _LISTS else [given[key]]
            arguments += [f"{option}={value}" for value in values]
    options = HostOptions()
    options.parseOptions(arguments)
    return options


def _meaning(name: str, given: Mapping[str, str]) -> dict[str, object]:
    """
    Parse the values that describe the host, so that two spellings of one are equal (but for C{netns} and C{helper}).
    """
    options = _options(name, given)
    settings = options.settings
    return {
        "address": set(settings.addresses),
        "mode": options.mode,
        "gateway": set(settings.gateways),
        "mac": None if settings.linkAddress is None else packLinkAddress(settings.linkAddress),
        "kernel": set(options.kernelAddresses),
        "netns": given.get("netns"),
        "helper": given.get("helper"),
    }
