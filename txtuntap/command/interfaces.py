"""
The subcommands C{add}, C{set}, C{delete}, C{show} and C{list}, which make, configure, delete and show interfaces.
"""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any, TextIO

import attrs

from txtuntap.device import TAP, TUN, printable
from txtuntap.device.platform import platformModule, requireLinux
from txtuntap.device.settings import (
    InterfaceSettings,
    InterfaceState,
    groupName,
    settingsOf,
    userName,
)
from txtuntap.wire.address import linkAddressText

if TYPE_CHECKING:
    from txtuntap.device.linux.netlink import Conversation

#: The modes of devices by their names on the command line.
MODES = {"tun": TUN, "tap": TAP}

#: The option for each setting that has a value.
_SETTINGS = {
    "addresses": "--address",
    "routes": "--route",
    "neighbours": "--neighbour",
    "mtu": "--mtu",
    "linkAddress": "--lladdr",
    "txqueuelen": "--txqueuelen",
    "owner": "--user",
    "group": "--group",
}


def add(options: Any, out: TextIO) -> None:
    """
    Make a persistent TUN or TAP device, and print its name.

    @raise OSError: the device exists already, or cannot be made or configured.
    @raise ValueError: the settings are wrong.
    """
    requireLinux(
        "a persistent device of 'txtuntap add'",
        "start the program, which makes the interface itself, or on a BSD use 'ifconfig NAME create'",
    )
    from txtuntap.device.choice import makeDevice
    from txtuntap.device.configure import configureNow

    settings = _settings(options)
    device: Any = makeDevice(
        options.name,
        MODES[options.mode],
        protocolInformation=options.pi,
        multiQueue=options.multi_queue,
        exclusive=True,
        namespace=options.netns,
    )
    try:
        device.open()
    except OSError as e:
        if e.errno != errno.EBUSY:
            raise
        text = f"{options.name} exists already: 'txtuntap set' changes it, 'txtuntap delete' deletes it"
        raise OSError(e.errno, text) from e
    # The device is made persistent last, so that the kernel deletes it with its descriptor if an earlier step fails.
    with device:
        configureNow(device.name, settings, device)
        device.setPersistent(True)
    if options.json:
        _printRecord(device.name, options.netns, out)
    else:
        print(printable(device.name), file=out)


def delete(options: Any, out: TextIO) -> None:
    """
    Delete a TUN or TAP device.

    @raise OSError: there is no such interface, or it cannot be deleted.
    @raise ValueError: the interface is of another kind.
    """
    requireLinux(
        "'txtuntap delete'", "end the program that has the interface open, or on a BSD use 'ifconfig NAME destroy'"
    )
    netlink = platformModule("netlink")

    def deleting(name: str) -> Conversation[InterfaceState]:
        state: InterfaceState = yield from platformModule("state").reading(name)
        if state.kind not in MODES:
            raise ValueError(f"{name} is no TUN or TAP device: 'ip link delete' deletes it")
        yield netlink.delete("link", f"delete {name}", index=state.index)
        return state

    deleted = netlink.askNow(deleting(options.name), options.netns)
    if options.json:
        print(json.dumps(stateRecord(deleted)), file=out)


def configure(options: Any, out: TextIO) -> None:
    """
    Configure an interface, and print each change.

    @raise OSError: the interface cannot be configured, or moved to another namespace.
    @raise ValueError: the options name no setting, or a wrong one.
    """
    from txtuntap.device.configure import configureNow, moveInterface
    from txtuntap.device.state import readInterface

    named = {name: value for name, value in vars(options).items() if name not in ("do", "json", "name", "netns")}
    if not any(value not in (None, []) for value in named.values()):
        # Check the interface's name first, so that a wrong name is reported rather than the missing options.
        readInterface(options.name, options.netns)
        raise ValueError(f"{options.name}: name the settings to change, such as --up or --mtu")
    carrier = None if options.carrier is None else options.carrier == "on"
    settings = _settings(options, carrier=carrier, persistent=options.persistent)
    if options.to is None:
        changes = configureNow(options.name, settings, namespace=options.netns).changes
    else:
        requireLinux("a network namespace", "leave out --netns")
        back = platformModule("namespace").openNamespace(options.netns)
        try:
            # Move the interface before it is configured, because a move loses addresses and routes.
            moveInterface(options.name, options.to, options.netns)
            try:
                configured = configureNow(options.name, settings, namespace=options.to)
            except (OSError, ValueError):
                moveInterface(options.name, back, options.to)
                raise
        finally:
            os.close(back)
        changes = [f"move {options.name} to the network namespace {options.to}", *configured.changes]
    if options.json:
        _printRecord(options.name, options.to or options.netns, out)
        return
    for each in changes:
        print(printable(each), file=out)


def _printRecord(name: str, namespace: str | None, out: TextIO) -> None:
    """
    Print the state of an interface as JSON. C{null} means that the interface no longer exists: without persistence the
    kernel deletes a device that no program has open.
    """
    from txtuntap.device.state import readInterface

    try:
        record = stateRecord(readInterface(name, namespace))
    except OSError as e:
        if e.errno != errno.ENODEV:
            raise
        record = None
    print(json.dumps(record), file=out)


def show(options: Any, out: TextIO) -> None:
    """
    Print the state of an interface, one field a line. Text has the names of users, groups and flags; JSON has numbers.
    """
    from txtuntap.device.state import flagNames, readInterface

    state = readInterface(options.name, options.netns)
    fields = stateRecord(state)
    if options.json:
        print(json.dumps(fields), file=out)
        return
    statistics = fields.pop("statistics")
    fields["addresses"] = ", ".join(map(str, state.addresses))
    fields["flags"] = ", ".join(flagNames(state.flags))
    fields["owner"] = None if state.owner is None else userName(state.owner)
    fields["group"] = None if state.group is None else groupName(state.group)
    width = max(map(len, fields))
    for name, value in fields.items():
        print(f"{name:{width}}  {_text(value)}", file=out)
    counts = ", ".join(f"{name} {count}" for name, count in statistics.items() if count)
    print(f"{'statistics':{width}}  {counts or 'nothing'}", file=out)


def listAll(options: Any, out: TextIO) -> None:
    """
    Print the TUN and TAP interfaces, or with C{--all} all interfaces, one a line.
    """
    from txtuntap.device.state import readInterfaces

    states = [state for state in readInterfaces(options.netns) if options.all or state.kind in MODES]
    if options.json:
        print(json.dumps([stateRecord(state) for state in states]), file=out)
        return
    rows = [("NAME", "KIND", "STATE", "MTU", "OWNER", "ADDRESSES")]
    for state in states:
        up = ("up" if state.carrier else "no carrier") if state.up else "down"
        rows.append(
            (
                printable(state.name),
                state.kind or "-",
                up,
                str(state.mtu),
                _owners(state),
                " ".join(map(str, state.addresses)) or "-",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), file=out)


def _owners(state: InterfaceState) -> str:
    """
    Name the user and the group of a device in the form of C{chown(1)}, such as C{"alice:staff"} or C{":staff"}.
    """
    user = "" if state.owner is None else userName(state.owner)
    return user + ("" if state.group is None else f":{groupName(state.group)}") or "-"


def stateRecord(state: InterfaceState) -> dict[str, Any]:
    """
    Convert the state of an interface to values for JSON. Addresses become text. A name that is not UTF-8 is escaped, so
    C{index} identifies the interface better than C{name}.
    """
    fields = attrs.asdict(state, recurse=False)
    fields["name"] = printable(state.name)
    fields["linkAddress"] = state.linkAddress and linkAddressText(state.linkAddress)
    fields["addresses"] = [attrs.asdict(address) for address in state.addresses]
    return fields


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None or value == "" else str(value)


def _settings(options: Any, carrier: bool | None = None, persistent: bool | None = None) -> InterfaceSettings:
    """
    Convert options to the settings of an interface.

    @raise ValueError: an option is wrong. The text begins with the interface's name.
    """
    values = {
        "addresses": [_address(**each) for each in options.address or ()],
        "routes": options.route,
        "mtu": options.mtu,
        "linkAddress": options.lladdr,
        "txqueuelen": options.txqueuelen,
        "owner": options.user,
        "group": options.group,
        "up": options.up,
        "hardened": options.hardened,
        "carrier": carrier,
        "persistent": persistent,
    }
    try:
        values["neighbours"] = dict(map(_neighbour, options.neighbour))
        return settingsOf(_SETTINGS, values)
    except ValueError as e:
        raise ValueError(f"{options.name}: {e}") from e


def _address(address: str, **more: str) -> str:
    """
    Join an address and its options to the text of one setting.

    @param address: the address in CIDR notation.
    @param more: the addresses of C{--peer} and C{--broadcast} by the option's name.
    """
    return " ".join([address, *(word for pair in more.items() for word in pair)])


def _neighbour(pair: str) -> tuple[str, str]:
    address, equals, linkAddress = pair.partition("=")
    if not equals:
        raise ValueError(f"--neighbour takes ADDRESS=LLADDR, not {pair!r}")
    return address, linkAddress
