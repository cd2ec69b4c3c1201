"""
The subcommands C{add}, C{set}, C{delete}, C{show} and C{list}: interfaces made, configured, deleted and
shown.
"""

from __future__ import annotations

import errno
import json
import os
from typing import Any, TextIO

import attrs

from txtuntap.device import TAP, TUN, printable
from txtuntap.device.settings import InterfaceAddress, InterfaceSettings, InterfaceState
from txtuntap.wire.address import linkAddressText

MODES = {"tun": TUN, "tap": TAP}


def add(options: Any, out: TextIO) -> None:
    """
    Make a device; say its name.
    """
    from txtuntap.device.configure import configureNow
    from txtuntap.device.linux.device import LinuxDevice

    settings = _settings(options)
    mode = MODES[options.mode]
    device = LinuxDevice(
        options.name, mode, options.pi, multiQueue=options.multi_queue, exclusive=True, namespace=options.netns
    )
    try:
        device.open()
    except OSError as e:
        if e.errno != errno.EBUSY:
            raise
        text = f"{options.name} exists already: 'txtuntap set' changes it, 'txtuntap delete' deletes it"
        raise OSError(e.errno, text) from e
    # Persistence comes last, so that nothing is left when a step fails: the device goes with its descriptor.
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
    """
    from txtuntap.device.linux.netlink import Conversation, askNow
    from txtuntap.device.linux.netlink import delete as request
    from txtuntap.device.linux.state import reading

    def deleting(name: str) -> Conversation[InterfaceState]:
        state = yield from reading(name)
        if state.kind not in MODES:
            raise ValueError(f"{name} is no TUN or TAP device: it is not deleted")
        yield request("link", f"delete {name}", index=state.index)
        return state

    deleted = askNow(deleting(options.name), options.netns)
    if options.json:
        print(json.dumps(plain(deleted)), file=out)


def configure(options: Any, out: TextIO) -> None:
    """
    Configure an interface; say what was changed.
    """
    from txtuntap.device.configure import configureNow, moveInterface
    from txtuntap.device.linux.namespace import openNamespace
    from txtuntap.device.state import readInterface

    named = {name: value for name, value in vars(options).items() if name not in ("do", "json", "name", "netns")}
    if not any(value not in (None, []) for value in named.values()):
        # A wrong name is the greater mistake.
        readInterface(options.name, options.netns)
        raise ValueError(f"{options.name}: name what is to be changed, such as --up or --mtu")
    carrier = None if options.carrier is None else options.carrier == "on"
    settings = _settings(options, carrier=carrier, persistent=options.persistent)
    if options.to is None:
        changes = configureNow(options.name, settings, namespace=options.netns).changes
    else:
        back = openNamespace(options.netns)
        try:
            # Move it first, because it would lose its settings on the way.
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
    Print what an interface is now, as JSON: C{null}, if it went with its persistence.
    """
    from txtuntap.device.state import readInterface

    try:
        record = plain(readInterface(name, namespace))
    except OSError as e:
        if e.errno != errno.ENODEV:
            raise
        record = None
    print(json.dumps(record), file=out)


def show(options: Any, out: TextIO) -> None:
    """
    Show the state of an interface.
    """
    from txtuntap.device.state import readInterface

    state = readInterface(options.name, options.netns)
    fields = plain(state)
    if options.json:
        print(json.dumps(fields), file=out)
        return
    statistics = fields.pop("statistics")
    fields["addresses"] = ", ".join(map(str, state.addresses))
    width = max(map(len, fields))
    for name, value in fields.items():
        print(f"{name:{width}}  {_text(value)}", file=out)
    counts = ", ".join(f"{name} {count}" for name, count in statistics.items() if count)
    print(f"{'statistics':{width}}  {counts or 'nothing'}", file=out)


def listAll(options: Any, out: TextIO) -> None:
    """
    List interfaces, one a line.
    """
    from txtuntap.device.state import readInterfaces

    states = [state for state in readInterfaces(options.netns) if options.all or state.kind in MODES]
    if options.json:
        print(json.dumps([plain(state) for state in states]), file=out)
        return
    rows = [("NAME", "KIND", "STATE", "MTU", "OWNER", "ADDRESSES")]
    for state in states:
        up = ("up" if state.carrier else "no carrier") if state.up else "down"
        owner = "-" if state.owner is None else str(state.owner)
        rows.append(
            (
                printable(state.name),
                state.kind or "-",
                up,
                str(state.mtu),
                owner,
                " ".join(map(str, state.addresses)) or "-",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), file=out)


def plain(state: InterfaceState) -> dict[str, Any]:
    """
    An interface's state as JSON has it: addresses as text, names as C{ip} has them where it has some. A name that is no
    text is escaped: C{index} is the interface's own.
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
    The settings that the options ask for.

    @raise ValueError: there can be none such; the text begins with the interface's name.
    """
    try:
        return InterfaceSettings(
            addresses=[_address(**each) for each in options.address or ()],
            routes=options.route,
            mtu=options.mtu,
            linkAddress=options.lladdr,
            txqueuelen=options.txqueuelen,
            owner=options.user,
            group=options.group,
            up=options.up,
            hardened=options.hardened,
            neighbours=dict(map(_neighbour, options.neighbour)),
            carrier=carrier,
            persistent=persistent,
        )
    except ValueError as e:
        raise ValueError(f"{options.name}: {e}") from e


def _address(address: str, **more: str) -> InterfaceAddress:
    """
    @param more: C{peer}, C{broadcast}, both or none.
    """
    return InterfaceAddress.of(" ".join([address, *(word for pair in more.items() for word in pair)]))


def _neighbour(pair: str) -> tuple[str, str]:
    address, equals, station = pair.partition("=")
    if not equals:
        raise ValueError(f"--neighbour takes ADDRESS=LLADDR, not {pair!r}")
    return address, station
