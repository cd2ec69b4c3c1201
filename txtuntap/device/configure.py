"""
An interface made what it is to be: by rtnetlink and, where it is about the device, by the device's ioctls.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from itertools import chain, compress
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred

from txtuntap.device import TAP, TUN
from txtuntap.device.linux.hardening import beliefs
from txtuntap.device.linux.ioctl import TUNGETIFF
from txtuntap.device.linux.namespace import Namespace, openNamespace
from txtuntap.device.linux.netlink import (
    AT_ONCE,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    Conversation,
    Message,
    Request,
    ask,
    askNow,
    delete,
    dump,
    get,
    inPieces,
    new,
)
from txtuntap.device.settings import MIN_MTU_6, InterfaceAddress, InterfaceRoute, InterfaceSettings, InterfaceState
from txtuntap.device.state import IFF_UP, attributes, finding, stating
from txtuntap.mistakes import checkKind
from txtuntap.wire.address import linkAddressText

if TYPE_CHECKING:
    from txtuntap.device.linux.device import LinuxDevice

#: C{IFA_F_NODAD}: nobody but us is behind the interface, so nobody else can have the address.
_NO_DUPLICATE_DETECTION = 0x02

#: C{linux/neighbour.h}: NUD_PERMANENT.
_PERMANENT = 0x80

#: C{linux/rtnetlink.h}: RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST, RT_SCOPE_UNIVERSE, RT_SCOPE_LINK.
_MAIN, _STATIC, _UNICAST, _UNIVERSE, _ON_LINK = 254, 4, 1, 0, 253

#: What a route has that leads elsewhere than to a gateway of its IP version, or not there alone. pyroute2 does not know
#: the name of RTA_NH_ID.
_OTHER_WAYS = {"RTA_VIA", "RTA_MULTIPATH", "RTA_NH_ID", "RTA_ENCAP", "UNKNOWN"}

#: C{IFA_F_PERMANENT}: not by a router's advertisement. C{RTPROT_BOOT}: the first that is neither the kernel's nor of a
#: redirect; C{RTPROT_RA}.
_PERMANENT_ADDRESS, _BY_HAND, _ADVERTISED = 0x80, 3, 9

#: What makes an address, a route or a neighbour of a link that was down what it was: of the header, and attributes.
_RESTORED = {
    "address": (("family", "prefixlen", "scope", "index"), ("IFA_ADDRESS", "IFA_LOCAL")),
    "route": (
        ("family", "dst_len", "tos", "proto", "type", "scope"),
        ("RTA_DST", "RTA_GATEWAY", "RTA_OIF", "RTA_PRIORITY", "RTA_PREFSRC", "RTA_TABLE"),
    ),
    "neighbour": (("family", "ifindex", "state", "flags"), ("NDA_DST", "NDA_LLADDR")),
}

#: Address families, by IP version.
_FAMILY = {4: 2, 6: 10}

#: Of what is to be taken away, the kernel says that it is not there.
_GONE = {errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL}

#: Something to ask the kernel: by rtnetlink, or by a call that raises C{OSError}.
_Step = Request | Callable[[], object]

#: The network of a route, its gateway, metric and source.
_RouteKey = tuple[str, str | None, int | None, str | None]


@attrs.frozen
class _Change:
    """
    @ivar isThere: of what the kernel says that it exists already, whether that is as asked.
    @ivar advice: what may be wrong where it says that it is not permitted.
    @ivar hardens: whether packets were believed before, and are not after.
    """

    what: str
    do: _Step
    undo: _Step | tuple[_Step, ...]
    isThere: Callable[[], Conversation[bool]] | None = None
    advice: str = ""
    hardens: bool = False


@attrs.frozen
class Configured:
    """
    What was changed of an interface, so that it can be undone.

    @ivar name: of the interface.
    @ivar index: its number.
    @ivar namespace: the network namespace that it is in; L{None}: this one.
    """

    name: str
    index: int
    namespace: Namespace | None
    _changes: tuple[_Change, ...]

    @property
    def changes(self) -> list[str]:
        """
        What was changed, in words and in order.
        """
        return [change.what for change in self._changes]

    def undo(self, reactor: Any = None, staysHardened: bool = False) -> Deferred[None]:
        """
        Take away what was added, and put back what was changed, as far as it is still there. Of an interface that was
        set down, IPv6 addresses, routes and neighbours come back, but for those that it had learnt or that lead to
        several gateways.

        @param staysHardened: leave it hardened, because a program may still write packets into it.

        @return: fires when that is done; fails with what L{undoNow} raises.
        """
        changes = tuple(each for each in self._changes if not (staysHardened and each.hardens))
        return ask(reactor, _undoing(self.index, changes), self.namespace)

    def undoNow(self) -> None:
        """
        As L{undo}. Waits for the kernel's answers.

        @raise OSError: the kernel refused some of it, because privileges have been dropped, say; the text has all that
            was left as it is. The rest is undone.
        """
        askNow(_undoing(self.index, self._changes), self.namespace)


def configureInterface(
    name: str,
    addresses: Iterable[str | InterfaceAddress] = (),
    neighbours: Mapping[str, str | bytes] | None = None,
    device: LinuxDevice | None = None,
    namespace: Namespace | None = None,
    **settings: Any,
) -> Configured:
    """
    L{configureNow}, with the fields of an L{InterfaceSettings} for arguments.

    @raise ValueError: a setting cannot be.
    @raise OSError: the kernel refused.
    """
    try:
        asked = InterfaceSettings(addresses=addresses, neighbours=neighbours or {}, **settings)
    except ValueError as e:
        raise ValueError(f"{name}: {e}") from e
    return configureNow(name, asked, device, namespace)


def configureNow(
    name: str, settings: InterfaceSettings, device: LinuxDevice | None = None, namespace: Namespace | None = None
) -> Configured:
    """
    Make an interface what it is to be. What is so already is left alone, and takes no privilege. If something is
    refused, what was changed before is undone.

    Waits for the kernel's answers: for where no reactor runs yet (C{privilegedStartService}). L{configure} does not.

    @param device: the device, where it is open here: owner, group, persistence and carrier are set by its descriptor,
        and nobody else can open one that was not made with C{multiQueue}. Its interface counts, whatever that is called
        now.
    @param namespace: the network namespace that the interface is in; L{None}: that of the device, or else this one.

    @raise ValueError: a setting does not go with the interface.
    @raise OSError: the kernel refused; the text names the interface, the setting and the reason.
    """
    checkKind(settings, InterfaceSettings, "settings", "InterfaceSettings(addresses=['10.0.0.1/24'])")
    namespace = _where(device, namespace)
    return askNow(configuring(name, settings, device, namespace), namespace)


def configure(
    name: str,
    settings: InterfaceSettings,
    device: LinuxDevice | None = None,
    reactor: Any = None,
    namespace: Namespace | None = None,
) -> Deferred[Configured]:
    """
    As L{configureNow}, without waiting, on every reactor.

    @return: fires with a L{Configured}; fails with what L{configureNow} raises.
    """
    checkKind(settings, InterfaceSettings, "settings", "InterfaceSettings(addresses=['10.0.0.1/24'])")
    namespace = _where(device, namespace)
    return ask(reactor, configuring(name, settings, device, namespace), namespace)


def moveInterface(name: str, to: Namespace, namespace: Namespace | None = None) -> None:
    """
    Move an interface to another network namespace. There it is down, and without addresses and routes; whoever has the
    device open goes on with it.

    @param to: where to.
    @param namespace: where it is; L{None}: here.

    @raise OSError: the kernel refused, or there is no such interface or namespace.
    """
    askNow(moving(name, to), namespace)


def move(name: str, to: Namespace, reactor: Any = None, namespace: Namespace | None = None) -> Deferred[None]:
    """
    As L{moveInterface}, without waiting.
    """
    return ask(reactor, moving(name, to), namespace)


def _where(device: LinuxDevice | None, namespace: Namespace | None) -> Namespace | None:
    return device.namespace if namespace is None and device is not None else namespace


def moving(name: str, to: Namespace) -> Conversation[None]:
    """
    The conversation of L{moveInterface}.
    """
    link = yield from finding(name)
    descriptor = openNamespace(to)
    try:
        what = f"move {name} to the network namespace {to}"
        yield new("link", what, 0, index=link["index"], IFLA_NET_NS_FD=descriptor)
    finally:
        os.close(descriptor)


def configuring(
    name: str, settings: InterfaceSettings, device: LinuxDevice | None = None, namespace: Namespace | None = None
) -> Conversation[Configured]:
    """
    The conversation of L{configureNow}.
    """
    if device is not None and device.fileno() >= 0:
        name = _nameOf(device)
    link = yield from finding(name)
    index = link["index"]
    addresses = yield dump("address", f"read the addresses of {name}", index=index)
    state = yield from stating(link, addresses)
    goesDown = settings.up is False and state.up
    routes = (yield from _readRoutes(state)) if goesDown else []
    neighbours = []
    if settings.neighbours or goesDown:
        neighbours = yield dump("neighbour", f"read the neighbours of {name}", NDA_IFINDEX=index)
    yield from _checking(state, settings)
    # What is not to stay any more may be gone with the descriptor that says so.
    first, last = (["persistent"], []) if settings.persistent else ([], ["persistent"])
    done: list[_Change] = []
    try:
        changes = chain(
            _deviceChanges(state, settings, device, namespace, [*first, "owner", "group", "carrier"]),
            _linkChanges(state, settings),
            # A larger MTU may bring IPv6, which believes what its defaults say, and a link that is up brings packets.
            _hardeningChanges(state, settings, namespace),
            _addressChanges(state, settings),
            # What follows needs a link that is up.
            _upOrDown(state, settings, [*addresses, *routes, *neighbours]),
        )
        yield from _making(changes, done)
        # The kernel has made some by itself by now, for the addresses.
        present = (yield from _presentRoutes(state)) if settings.routes else set()
        changes = chain(
            _routeChanges(state, settings, present),
            _neighbourChanges(state, settings, neighbours),
            _deviceChanges(state, settings, device, namespace, last),
        )
        yield from _making(changes, done)
        # To be given up even now.
        yield None
    except (Exception, KeyboardInterrupt):
        with suppress(OSError):
            yield from _undoing(index, tuple(done))
        raise
    if device is not None:
        # It has read these when it was opened.
        device.mtu = settings.mtu or device.mtu
        device.linkAddress = settings.linkAddress or device.linkAddress
    return Configured(name, index, namespace, tuple(done))


def _making(changes: Iterable[_Change | None], done: list[_Change]) -> Conversation[None]:
    """
    Make changes.

    @param changes: they, and L{None} for each thing that was looked at and is left as it is.
    @param done: where each goes that was made.
    """
    left = 0
    for change in changes:
        if change is None:
            left += 1
            if left % AT_ONCE == 0:
                yield None
            continue
        if isinstance(change.do, Request):
            try:
                yield change.do
            except FileExistsError:
                if change.isThere is None or not (yield from change.isThere()):
                    raise
                continue
            except PermissionError as e:
                raise PermissionError(e.errno, f"{e.strerror}{change.advice}") from e
        else:
            _call(change.do, change.what)
        done.append(change)


def _undoing(index: int, changes: tuple[_Change, ...]) -> Conversation[None]:
    try:
        yield get("link", "find the interface", index=index)
    except OSError:
        # With it, all has gone.
        return
    errors: list[OSError] = []
    for change in reversed(changes):
        what = f"undo this: {change.what}"
        for step in change.undo if isinstance(change.undo, tuple) else (change.undo,):
            try:
                if isinstance(step, Request):
                    yield attrs.evolve(step, what=what)
                else:
                    _call(step, what)
            except FileExistsError:
                # What is to come back has come back by itself.
                continue
            except OSError as e:
                if e.errno not in _GONE:
                    errors.append(e)
    if errors:
        raise OSError(errors[0].errno, "; ".join(str(e.strerror) for e in errors))


def _call(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except OSError as e:
        raise OSError(e.errno, f"cannot {what}: {e.strerror}") from e


def _checking(state: InterfaceState, settings: InterfaceSettings) -> Conversation[None]:
    """
    @raise ValueError: the settings do not go with the interface.
    """
    mtu = state.mtu if settings.mtu is None else settings.mtu
    if mtu < MIN_MTU_6:
        wanted = yield from inPieces(str, (*settings.addresses, *settings.routes))
        six = next((each for each in wanted if ":" in each), None)
        if six is not None:
            raise ValueError(f"{state.name}: an MTU under {MIN_MTU_6} leaves no IPv6: {mtu} does not go with {six}")
    if mtu < MIN_MTU_6 and settings.mtu is not None:
        lost = yield from inPieces(_isLost, state.addresses)
        present = next(compress(state.addresses, lost), None)
        if present is not None:
            raise ValueError(
                f"{state.name}: an MTU under {MIN_MTU_6} leaves no IPv6: with {mtu}, it would lose {present}"
            )
    if settings.linkAddress is not None and state.linkAddress is None:
        raise ValueError(f"{state.name} is a {state.kind or 'link'} without link addresses: it cannot have one")
    if settings.neighbours and state.kind == "tun":
        raise ValueError(f"{state.name} is a tun, on which nobody is asked for: it has no neighbours")
    device = [name for name in ("owner", "group", "persistent", "carrier") if getattr(settings, name) is not None]
    if device and state.kind not in ("tun", "tap"):
        raise ValueError(f"{state.name} is no TUN/TAP device: it has no {device[0]}")


def _isLost(address: InterfaceAddress) -> bool:
    """
    Whether an interface has an address no more when its MTU leaves no IPv6. One on the link comes back by itself.
    """
    return address.interface.version == 6 and not address.interface.is_link_local


def _nameOf(device: LinuxDevice) -> str:
    """
    What the interface of an open device is called now. It may have been renamed, and another have its name.
    """
    try:
        answer = fcntl.ioctl(device.fileno(), TUNGETIFF, bytes(40))
    except OSError as e:
        raise OSError(e.errno, f"cannot find {device.name}: the device has gone, or is attached to none") from e
    return os.fsdecode(answer[:16].rstrip(b"\0"))


def _deviceChanges(
    state: InterfaceState,
    settings: InterfaceSettings,
    device: LinuxDevice | None,
    namespace: Namespace | None,
    names: list[str],
) -> Iterator[_Change]:
    for name in names:
        wanted, before = getattr(settings, name), getattr(state, name)
        if wanted is not None and wanted != before:
            what = f"set the {name} setting of {state.name} to {wanted}"
            if name == "carrier" and (device is None or device.fileno() < 0):
                # Who has no descriptor asks the kernel: it would go again with one that is opened for just that.
                carrier = _linkChange(state, what, {"IFLA_CARRIER": wanted}, {"IFLA_CARRIER": before})
                yield attrs.evolve(carrier, advice=": it takes privilege, and a program that has the device open")
                continue
            method = f"set{name.capitalize()}"
            # An owner can be changed, but not taken away again: then the first stays.
            do, undo = (
                _onDevice(state, device, namespace, method, value)
                for value in (wanted, wanted if before is None else before)
            )
            yield _Change(what, do, undo)


def _onDevice(
    state: InterfaceState, device: LinuxDevice | None, namespace: Namespace | None, method: str, value: Any
) -> Callable[[], None]:
    """
    A call of a method of the device: of one that is open, or else one opened for just that.
    """

    def call() -> None:
        from txtuntap.device.linux.device import LinuxDevice

        if device is not None and device.fileno() >= 0:
            getattr(device, method)(value)
            return
        opened = LinuxDevice(state.name, TAP if state.kind == "tap" else TUN, namespace=namespace)
        opened.openAsItIs(state)
        with opened:
            getattr(opened, method)(value)

    return call


def _linkChanges(state: InterfaceState, settings: InterfaceSettings) -> Iterator[_Change]:
    link = None if settings.linkAddress is None else linkAddressText(settings.linkAddress)
    before = None if state.linkAddress is None else linkAddressText(state.linkAddress)
    for attribute, word, old, wanted in (
        ("IFLA_MTU", "MTU", state.mtu, settings.mtu),
        ("IFLA_ADDRESS", "link address", before, link),
        ("IFLA_TXQLEN", "txqueuelen", state.txqueuelen, settings.txqueuelen),
    ):
        if wanted is not None and wanted != old:
            yield _linkChange(
                state, f"set the {word} of {state.name} to {wanted}", {attribute: wanted}, {attribute: old}
            )


def _hardeningChanges(
    state: InterfaceState, settings: InterfaceSettings, namespace: Namespace | None
) -> Iterator[_Change]:
    for each in beliefs(state.index, namespace) if settings.hardened else ():
        yield _Change(f"set {each} from {each.value} to 0", each.end, each.restore, hardens=True)


def _upOrDown(state: InterfaceState, settings: InterfaceSettings, messages: list[Message]) -> Iterator[_Change | None]:
    if settings.up is not None and settings.up != state.up:
        to, back = ({"flags": IFF_UP * up, "change": IFF_UP} for up in (settings.up, state.up))
        what = f"set {state.name} {'up' if settings.up else 'down'}"
        # What is set down, here or when this is undone, loses these.
        restored = []
        for each in messages:
            again = _restored(each, what)
            if again is not None:
                restored.append(again)
            yield None
        do, undo = (new("link", what, 0, index=state.index, **fields) for fields in (to, back))
        yield _Change(what, do, (undo, *restored))


def _restored(message: Message, what: str) -> Request | None:
    """
    What puts an address, a route or a neighbour back that somebody has set. L{None}: it was learnt, or the kernel makes
    it by itself.
    """
    fields = attributes(message)
    if message["event"] == "RTM_NEWADDR":
        # IPv4 addresses stay.
        kind, isSet = "address", message["family"] == _FAMILY[6] and message["flags"] & _PERMANENT_ADDRESS
    elif message["event"] == "RTM_NEWROUTE":
        isPlain = message["type"] == _UNICAST and not fields.keys() & _OTHER_WAYS
        kind, isSet = "route", isPlain and message["proto"] >= _BY_HAND and message["proto"] != _ADVERTISED
    else:
        kind, isSet = "neighbour", message["state"] & _PERMANENT and "NDA_LLADDR" in fields
    if not isSet:
        return None
    header, names = _RESTORED[kind]
    again = {name: message[name] for name in header}
    again.update((name, fields[name]) for name in names if name in fields)
    if kind == "address":
        again["flags"] = _NO_DUPLICATE_DETECTION
    return new(kind, what, **again)


def _linkChange(state: InterfaceState, what: str, to: dict[str, Any], back: dict[str, Any]) -> _Change:
    def change(fields: dict[str, Any]) -> Request:
        return new("link", what, 0, index=state.index, **fields)

    return _Change(what, change(to), change(back))


def _addressChanges(state: InterfaceState, settings: InterfaceSettings) -> Iterator[_Change | None]:
    # With the broadcast addresses of each, which others set as a matter of course: one counts where it is asked for.
    present: dict[tuple[str, str], set[str | None]] = {}
    for each in state.addresses if settings.addresses else ():
        present.setdefault(_ends(each), set()).add(each.broadcast)
        yield None
    for address in settings.addresses:
        broadcasts = present.setdefault(_ends(address), set())
        if broadcasts and (address.broadcast is None or address.broadcast in broadcasts):
            yield None
            continue
        fields = _addressFields(state.index, address)
        what = f"add the address {address} to {state.name}"
        yield _Change(what, new("address", what, **fields), delete("address", what, **fields))
        broadcasts.add(address.broadcast)


def _ends(address: InterfaceAddress) -> tuple[str, str]:
    """
    An address with its prefix, and the other end's: its own, where there is none.
    """
    return address.address, address.peer or address.address.partition("/")[0]


def _addressFields(index: int, address: InterfaceAddress) -> dict[str, Any]:
    interface = address.interface
    fields: dict[str, Any] = {
        "family": _FAMILY[interface.version],
        "prefixlen": address.prefixLength,
        "flags": _NO_DUPLICATE_DETECTION if interface.version == 6 else 0,
        "index": index,
        "IFA_LOCAL": str(interface.ip),
        "IFA_ADDRESS": address.peer or str(interface.ip),
    }
    if address.broadcast is not None:
        fields["IFA_BROADCAST"] = address.broadcast
    return fields


def _routeChanges(
    state: InterfaceState, settings: InterfaceSettings, present: set[_RouteKey]
) -> Iterator[_Change | None]:
    """
    @param present: what L{_presentRoutes} has found.
    """
    asked = set()
    for route in settings.routes:
        key = route.network, route.gateway, route.metric, route.source
        if key in present or key in asked:
            yield None
            continue
        asked.add(key)

        def isThere(key: _RouteKey = key) -> Conversation[bool]:
            # Another program has made it, or the kernel, a moment ago; and perhaps more of them.
            present.update((yield from _presentRoutes(state)))
            return key in present

        fields = _routeFields(state.index, route)
        what = f"add the route {route} by way of {state.name}"
        yield _Change(what, new("route", what, **fields), delete("route", what, **fields), isThere)


def _readRoutes(state: InterfaceState) -> Conversation[list[Message]]:
    routes = []
    for family in _FAMILY.values():
        routes += yield dump("route", f"read the routes of {state.name}", family=family, RTA_OIF=state.index)
    return routes


def _presentRoutes(state: InterfaceState) -> Conversation[set[_RouteKey]]:
    """
    The routes that are there, as they may be asked for: each with its metric and source, and without one or both.
    """
    found: set[_RouteKey] = set()

    def add(message: Message) -> None:
        route = _routeOf(message, state.index)
        if route is not None:
            for metric in None, route.metric:
                for source in None, route.source:
                    found.add((route.network, route.gateway, metric, source))

    yield from inPieces(add, (yield from _readRoutes(state)))
    return found


def _routeOf(message: Message, index: int) -> InterfaceRoute | None:
    """
    The route that a message is about, if it is in the main table and by way of the interface, and one such as can be
    asked for.
    """
    fields = attributes(message)
    if fields.get("RTA_OIF") != index or message["type"] != _UNICAST or fields.get("RTA_TABLE") != _MAIN:
        return None
    if fields.keys() & _OTHER_WAYS or message["tos"] or message["src_len"]:
        return None
    everywhere = "::" if message["family"] == _FAMILY[6] else "0.0.0.0"
    return InterfaceRoute(
        f"{fields.get('RTA_DST', everywhere)}/{message['dst_len']}",
        fields.get("RTA_GATEWAY"),
        fields.get("RTA_PRIORITY"),
        fields.get("RTA_PREFSRC"),
    )


def _routeFields(index: int, route: InterfaceRoute) -> dict[str, Any]:
    network = ip_network(route.network)
    fields: dict[str, Any] = {
        "family": _FAMILY[network.version],
        "dst_len": network.prefixlen,
        "table": _MAIN,
        "proto": _STATIC,
        "type": _UNICAST,
        "scope": _ON_LINK if route.gateway is None and network.version == 4 else _UNIVERSE,
        "RTA_OIF": index,
    }
    if network.prefixlen:
        fields["RTA_DST"] = str(network.network_address)
    for name, value in ("RTA_GATEWAY", route.gateway), ("RTA_PRIORITY", route.metric), ("RTA_PREFSRC", route.source):
        if value is not None:
            fields[name] = value
    return fields


def _neighbourChanges(
    state: InterfaceState, settings: InterfaceSettings, messages: list[Message]
) -> Iterator[_Change | None]:
    present = {}
    for each in messages if settings.neighbours else ():
        if each["ifindex"] == state.index and each["state"] & _PERMANENT:
            told = attributes(each)
            present[told.get("NDA_DST")] = told.get("NDA_LLADDR")
        yield None
    for ip, station in settings.neighbours.items():
        link, before = linkAddressText(station), present.get(ip)
        if before == link:
            yield None
            continue
        fields: dict[str, Any] = {
            "family": _FAMILY[ip_address(ip).version],
            "ifindex": state.index,
            "state": _PERMANENT,
            "NDA_DST": ip,
        }
        what = f"add the neighbour {ip} to {state.name}"
        do, back = (
            new("neighbour", what, NLM_F_CREATE | NLM_F_REPLACE, **fields, NDA_LLADDR=each) for each in (link, before)
        )
        yield _Change(what, do, delete("neighbour", what, **fields) if before is None else back)
