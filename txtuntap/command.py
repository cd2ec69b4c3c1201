"""
The C{txtuntap} command: TUN and TAP interfaces made, set, shown and watched, and what passes them captured.

    txtuntap add tun0 --mode tun --user alice --address 10.0.0.1/24
    txtuntap list
    txtuntap monitor --json
    txtuntap capture tap0 | wireshark -k -i -
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import attrs

from txtuntap.device import TAP, TUN, printable
from txtuntap.device.settings import InterfaceAddress, InterfaceSettings, InterfaceState
from txtuntap.wire.address import linkAddressText

MODES = {"tun": TUN, "tap": TAP}

Command = Callable[[Any, TextIO], None]


class _Address(argparse.Action):
    """
    An address; and what says more of the one before.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        addresses = list(namespace.address or ())
        if self.dest == "address":
            addresses.append({"address": values})
        elif not addresses:
            parser.error(f"{option} goes after the --address it is about")
        else:
            addresses[-1] = {**addresses[-1], self.dest: values}
        namespace.address = addresses


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="txtuntap", description="Make, set, show, watch and capture TUN and TAP interfaces."
    )
    parser.add_argument("-n", "--netns", help="the network namespace to do it in: a name or a path")
    parser.add_argument("--json", action="store_true", help="say what there is to say as JSON")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, do: Command, about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(do=do)
        # What was said before the command stays.
        made.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="as JSON")
        return made

    making = command("add", add, "Make a device that stays until it is deleted, and say its name.")
    making.add_argument("name", help="its name; 'tun%%d' takes the next free number")
    making.add_argument("--mode", required=True, choices=MODES, help="tun: IP packets; tap: Ethernet frames")
    making.add_argument("--multi-queue", action="store_true", help="let several descriptors be on it")
    making.add_argument("--pi", action="store_true", help="have protocol information before each packet")
    making.add_argument("--down", dest="up", action="store_false", help="do not set it up")
    setting = command("set", change, "Change settings of an interface. What is not named stays as it is.")
    setting.add_argument("name", help="its name")
    state = setting.add_mutually_exclusive_group()
    state.add_argument("--up", dest="up", action="store_true", default=None, help="set it up")
    state.add_argument("--down", dest="up", action="store_false", default=None, help="set it down")
    stay = setting.add_mutually_exclusive_group()
    stay.add_argument("--persistent", action="store_true", default=None, help="have it stay when nobody has it open")
    stay.add_argument("--no-persistent", dest="persistent", action="store_false", help="have it go then")
    setting.add_argument("--carrier", choices=("on", "off"), help="whether the link of an open device has its carrier")
    setting.add_argument(
        "--netns", dest="to", help="move it to another network namespace first; what else is named is set there"
    )
    for each in making, setting:
        each.add_argument(
            "--address", action=_Address, metavar="CIDR", help="an address, 10.0.0.1/24; as often as needed"
        )
        each.add_argument("--peer", action=_Address, help="the other end's address, for the --address before")
        each.add_argument("--broadcast", action=_Address, help="the broadcast address, for the --address before")
        each.add_argument(
            "--route",
            action="append",
            default=[],
            help="'NETWORK [via GATEWAY] [metric N] [src ADDRESS]'; as often as needed",
        )
        each.add_argument(
            "--neighbour",
            action="append",
            default=[],
            metavar="ADDRESS=LLADDR",
            help="one that need not be asked for on a tap; as often as needed",
        )
        each.add_argument("--mtu", type=int, help="in octets")
        each.add_argument("--lladdr", help="link address of the kernel's end of a tap")
        each.add_argument("--txqueuelen", type=int, help="packets that wait for the program to read them")
        each.add_argument("--user", help="who may open the device without privilege")
        each.add_argument("--group", help="whose members may")
        each.add_argument(
            "--hardened",
            action="store_true",
            default=None,
            help="believe no router advertisement, redirect or source route that comes in by the interface",
        )
    command("delete", delete, "Delete a TUN or TAP device, whether a program has it open or not.").add_argument("name")
    showing = command("show", show, "Show all there is to know of an interface.")
    showing.add_argument("name")
    listing = command("list", listAll, "List TUN and TAP interfaces.")
    listing.add_argument("--all", action="store_true", help="interfaces of every kind")
    capturing = command("capture", capture, "Capture what passes a TUN or TAP interface, as pcapng, until interrupted.")
    capturing.add_argument("name", help="its name")
    capturing.add_argument("-w", "--write", metavar="FILE", help="where to; by default, standard output")
    capturing.add_argument("-c", "--count", type=_positive, help="end after so many packets")
    capturing.add_argument(
        "-s", "--snaplen", type=_positive, default=0, help="the most octets to record of each packet; by default, all"
    )
    capturing.add_argument(
        "--direction",
        choices=("in", "out", "both"),
        default="both",
        help="in: to the program that holds the interface; out: from it",
    )
    capturing.add_argument(
        "--comment", action="append", metavar="TEXT", help="a comment for the file; as often as needed"
    )
    command("monitor", monitor, "Say what happens to interfaces as it happens, until interrupted.")
    return parser


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 32):
        raise argparse.ArgumentTypeError(f"{text!r} is no number over 0")
    return int(text)


def _settings(options: argparse.Namespace, **more: Any) -> InterfaceSettings:
    try:
        return _unnamedSettings(options, **more)
    except ValueError as e:
        raise ValueError(f"{options.name}: {e}") from e


def _unnamedSettings(options: argparse.Namespace, **more: Any) -> InterfaceSettings:
    addresses = []
    for each in options.address or ():
        words = (f" {name} {value}" for name, value in each.items() if name != "address")
        addresses.append(InterfaceAddress.of(each["address"] + "".join(words)))
    neighbours = {}
    for pair in options.neighbour:
        address, equals, station = pair.partition("=")
        if not equals:
            raise ValueError(f"--neighbour takes ADDRESS=LLADDR, not {pair!r}")
        neighbours[address] = station
    return InterfaceSettings(
        addresses=addresses,
        routes=options.route,
        mtu=options.mtu,
        linkAddress=options.lladdr,
        txqueuelen=options.txqueuelen,
        owner=options.user,
        group=options.group,
        up=options.up,
        hardened=options.hardened,
        neighbours=neighbours,
        **more,
    )


def add(options: Any, out: TextIO) -> None:
    """
    Make a device; say its name.
    """
    from txtuntap.device.configure import configureNow
    from txtuntap.device.linux import LinuxDevice

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
    # What is not persistent goes with its descriptor: of what fails, nothing is left.
    with device:
        configureNow(device.name, settings, device)
        device.setPersistent(True)
    if options.json:
        _printRecord(device.name, options.netns, out)
    else:
        print(printable(device.name), file=out)


def delete(options: Any, out: TextIO) -> None:
    """
    Delete a device.
    """
    from txtuntap.device.netlink import Conversation, askNow
    from txtuntap.device.netlink import delete as request
    from txtuntap.device.state import reading

    def deleting(name: str) -> Conversation[InterfaceState]:
        state = yield from reading(name)
        if state.kind not in MODES:
            raise ValueError(f"{name} is no TUN or TAP device: it is not deleted")
        yield request("link", f"delete {name}", index=state.index)
        return state

    deleted = askNow(deleting(options.name), options.netns)
    if options.json:
        print(json.dumps(plain(deleted)), file=out)


def change(options: Any, out: TextIO) -> None:
    """
    Change settings; say which.
    """
    from txtuntap.device.configure import configureNow, moveInterface
    from txtuntap.device.namespace import openNamespace
    from txtuntap.device.state import readInterface

    named = {name: value for name, value in vars(options).items() if name not in ("do", "json", "name", "netns")}
    if not any(value not in (None, []) for value in named.values()):
        # A wrong name is the greater mistake.
        readInterface(options.name, options.netns)
        raise ValueError(f"{options.name}: name what is to be changed, such as --up or --mtu")
    carrier = None if options.carrier is None else options.carrier == "on"
    settings = _settings(options, carrier=carrier, persistent=options.persistent)
    if options.to is None:
        done = configureNow(options.name, settings, namespace=options.netns).changes
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
        done = [f"move {options.name} to the network namespace {options.to}", *configured.changes]
    if options.json:
        _printRecord(options.name, options.to or options.netns, out)
        return
    for each in done:
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
    Show an interface.
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
    List interfaces.
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


def capture(options: Any, out: TextIO) -> None:
    """
    Capture what passes an interface.
    """
    from txtuntap.capturecommand import capture

    capture(options, out)


def monitor(options: Any, out: TextIO) -> None:
    """
    Say what happens, until interrupted.
    """
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    from txtuntap.device.monitor import InterfaceEvent, InterfaceMonitor

    def happened(event: InterfaceEvent) -> None:
        address = None if event.address is None else str(event.address)
        if options.json:
            fields = {"event": event.kind, "address": address, "interface": plain(event.state)}
            say(json.dumps(fields))
            return
        now: dict[str, Any] = {
            "MTU": event.state.mtu,
            "link address": event.state.linkAddress,
            "renamed": event.before and f"from {printable(event.before.name)}",
        }
        detail = address or now.get(event.kind)
        text = linkAddressText(detail) if isinstance(detail, bytes) else str(detail or "")
        say(f"{printable(event.name):15}  {event.kind:15}  {text}".rstrip())

    def say(line: str) -> None:
        try:
            print(line, file=out, flush=True)
        except OSError as e:
            if not ended.called:
                ended.errback(e)

    async def main(reactor: Any) -> None:
        watching = InterfaceMonitor(reactor, options.netns)
        watching.subscribe(happened)
        try:
            await watching.start()
            await ended
        except OSError as e:
            errors.append(e)

    ended: Deferred[None] = Deferred()
    errors: list[OSError] = []
    try:
        react(main)
    except SystemExit:
        if not errors:
            raise
    if isinstance(errors[0], BrokenPipeError):
        # Nobody reads on. What is left would be written when Python ends, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return
    raise errors[0]


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


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    """
    Do what a command line asks for.

    @return: the exit status.
    """
    try:
        options = _parser().parse_args(arguments)
        options.do(options, out)
    except (OSError, ValueError) as e:
        print(f"txtuntap: {printable(getattr(e, 'strerror', None) or str(e))}", file=sys.stderr)
        return 1
    return 0
