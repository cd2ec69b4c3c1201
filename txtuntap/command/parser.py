"""
The command line of C{txtuntap}: its subcommands and their options.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Protocol, TextIO

from txtuntap.version import addVersion

#: The type of functions that run a subcommand.
_Do = Callable[[Any, TextIO], None]


class _Command(Protocol):
    """
    The type of functions that add a subcommand to the parser.

    The arguments are the name of the subcommand, C{MODULE.FUNCTION} for the function in this package that runs it, and
    a sentence for its help.
    """

    def __call__(self, name: str, do: str, about: str) -> argparse.ArgumentParser: ...


class _Address(argparse.Action):
    """
    An action that collects C{--address} options in a list of dicts. C{--peer} and C{--broadcast} are added to the dict
    of the C{--address} before them.
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
            parser.error(f"{option} belongs to an --address: give it after one")
        else:
            addresses[-1] = {**addresses[-1], self.dest: values}
        namespace.address = addresses


def commandParser() -> argparse.ArgumentParser:
    """
    Make the parser of the command line. Parsed options have an attribute C{do}: the function that runs the subcommand,
    with the options and an output stream as its arguments.
    """
    parser = argparse.ArgumentParser(
        prog="txtuntap",
        description="Make, configure, show, monitor and capture TUN and TAP interfaces, and show their connections.",
    )
    addVersion(parser)
    parser.add_argument("-n", "--netns", help="the network namespace of the interface: a name or a path")
    parser.add_argument("--json", action="store_true", help="print JSON in place of text")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, do: str, about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(do=_later(*do.split(".")))
        # A default here would override a --json before the subcommand.
        made.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON in place of text")
        return made

    _interfaceCommands(command)
    _captureCommand(command)
    _extcapCommand(command)
    _connectionsCommand(command)
    _completionCommand(command)
    _wireguardCommand(command)
    command(
        "monitor", "monitor.monitor", "Print each event of the network interfaces as it happens, until interrupted."
    )
    for each in parser, *eachParser(parser):
        each.usage = shortUsage(each)
    return parser


def eachParser(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """
    Yield the parsers of the subcommands of a parser, and of their subcommands.
    """
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield each
                yield from eachParser(each)


def shortUsage(parser: argparse.ArgumentParser) -> str:
    """
    Return the way to call a command in one line, without the options that can be left out. C{argparse} would list them
    all in front of each error.
    """
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    required = [action for action in shown if action.option_strings and action.required]
    words = [parser.prog, *(f"{action.option_strings[-1]} {valueName(action)}" for action in required), "[options]"]
    for action in shown:
        if not action.option_strings:
            name = str(action.metavar or action.dest)
            name = f"{name} ..." if isinstance(action, argparse._SubParsersAction) else name
            words.append(name if action.required else f"[{name}]")
    return " ".join(words)


def valueName(action: argparse.Action) -> str:
    """
    Return the name of an option's value: its choices, or a word in capitals.
    """
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    return str(action.metavar or action.dest.upper())


def _later(module: str, name: str) -> _Do:
    """
    Return a stand-in for a function of this package. The module is imported when the stand-in is called, so that no
    subcommand waits for the imports of another one.
    """

    def do(options: Any, out: TextIO) -> None:
        getattr(import_module(f"txtuntap.command.{module}"), name)(options, out)

    return do


def _interfaceCommands(command: _Command) -> None:
    making = command("add", "interfaces.add", "Make a persistent TUN or TAP device, and print its name.")
    making.add_argument("name", help="the name of the interface; 'tun%%d' takes the next free number")
    making.add_argument("--mode", required=True, choices=("tun", "tap"), help="tun: IP packets; tap: Ethernet frames")
    making.add_argument("--multi-queue", action="store_true", help="allow several open descriptors (IFF_MULTI_QUEUE)")
    making.add_argument("--pi", action="store_true", help="put protocol information before each packet")
    making.add_argument("--down", dest="up", action="store_false", help="leave the interface down")
    setting = command(
        "set", "interfaces.configure", "Configure an interface. Settings without an option do not change."
    )
    setting.add_argument("name", help="the name of the interface")
    link, device = setting.add_argument_group("link"), setting.add_argument_group("device")
    state = link.add_mutually_exclusive_group()
    state.add_argument("--up", dest="up", action="store_true", default=None, help="set the interface up")
    state.add_argument("--down", dest="up", action="store_false", default=None, help="set the interface down")
    stay = device.add_mutually_exclusive_group()
    stay.add_argument(
        "--persistent", action="store_true", default=None, help="keep the device when no program has it open"
    )
    stay.add_argument(
        "--no-persistent", dest="persistent", action="store_false", help="delete the device once it is closed"
    )
    link.add_argument("--carrier", choices=("on", "off"), help="switch the carrier of a device that is open")
    setting.add_argument(
        "--netns", dest="to", help="move the interface to this network namespace, and apply the other settings there"
    )
    _addSettings(setting, link, device)
    _addSettings(making, making.add_argument_group("link"), making.add_argument_group("device"))
    command("delete", "interfaces.delete", "Delete a TUN or TAP device, even if a program has it open.").add_argument(
        "name", help="the name of the interface"
    )
    showing = command("show", "interfaces.show", "Show the state and the settings of an interface.")
    showing.add_argument("name", help="the name of the interface")
    listing = command("list", "interfaces.listAll", "List TUN and TAP interfaces.")
    listing.add_argument("--all", action="store_true", help="list interfaces of every kind")


def _addSettings(parser: argparse.ArgumentParser, link: Any, device: Any) -> None:
    """
    Add the options of C{add} and C{set} that are settings of an interface.

    @param link: the group of the options about the link.
    @param device: the group of the options about the device.
    """
    addresses = parser.add_argument_group("addresses and routes")
    addresses.add_argument(
        "--address", action=_Address, metavar="CIDR", help="an address such as 10.0.0.1/24; may be repeated"
    )
    addresses.add_argument("--peer", action=_Address, help="the peer's address, for the --address before")
    addresses.add_argument("--broadcast", action=_Address, help="the broadcast address, for the --address before")
    addresses.add_argument(
        "--route",
        action="append",
        default=[],
        help="a route, 'NETWORK [via GATEWAY] [metric N] [src ADDRESS] [table N]'; may be repeated",
    )
    addresses.add_argument(
        "--neighbour",
        action="append",
        default=[],
        metavar="ADDRESS=LLADDR",
        help="a permanent neighbour on a tap, which is never resolved by ARP or NDP; may be repeated",
    )
    link.add_argument("--mtu", type=int, help="the MTU in octets")
    link.add_argument("--lladdr", help="the link address of the kernel's end of a tap")
    link.add_argument("--txqueuelen", type=int, help="the most packets that wait for the program to read them")
    device.add_argument("--user", help="the user who may open the device without privilege")
    device.add_argument("--group", help="the group whose members may open the device without privilege")
    link.add_argument(
        "--hardened",
        action="store_true",
        default=None,
        help="ignore router advertisements, redirects and source routes from this interface",
    )


def _captureCommand(command: _Command) -> None:
    capturing = command(
        "capture",
        "capture.capture",
        "Capture the packets of a TUN or TAP interface, as pcapng, until interrupted.",
    )
    capturing.add_argument("name", help="the name of the interface")
    capturing.add_argument("-w", "--write", metavar="FILE", help="the file to write; by default, standard output")
    capturing.add_argument("-c", "--count", type=_positive, help="stop after this number of packets")
    capturing.add_argument(
        "-s", "--snaplen", type=_positive, default=0, help="the most octets to record of each packet; by default, all"
    )
    capturing.add_argument(
        "--direction",
        choices=("in", "out", "both"),
        default="both",
        help="in: to the program that has the interface open; out: from that program; by default, both",
    )
    capturing.add_argument("--comment", action="append", metavar="TEXT", help="a comment on the file; may be repeated")


def _extcapCommand(command: _Command) -> None:
    about = "Put the interfaces into Wireshark's own list, from which it captures them."
    asking = command("extcap", "extcap.extcap", about)
    # Wireshark gives these options, and no user has to.
    for flag in "--extcap-interfaces", "--extcap-dlts", "--extcap-config", "--capture":
        asking.add_argument(flag, action="store_true", help=argparse.SUPPRESS)
    for option in "--extcap-interface", "--extcap-capture-filter", "--fifo":
        asking.add_argument(option, help=argparse.SUPPRESS)
    for ignored in "--extcap-version", "--extcap-reload-option":
        asking.add_argument(ignored, nargs="?", help=argparse.SUPPRESS)
    asking.add_argument("--direction", choices=("in", "out", "both"), default="both", help=argparse.SUPPRESS)
    doing = asking.add_subparsers(metavar="WHAT")
    for name, does in (
        ("install", "Install a program into Wireshark's personal folder of extcap programs, and print its path."),
        ("uninstall", "Delete the installed program."),
    ):
        each = doing.add_parser(name, help=does, description=does)
        each.add_argument("--folder", help="the folder; by default, the one that tshark or wireshark names")
        each.set_defaults(do=_later("extcap", name))


def _connectionsCommand(command: _Command) -> None:
    showing = command(
        "connections",
        "connections.connections",
        "Show the TCP connections of a service's host on an interface, as 'ss -ti' shows the kernel's.",
    )
    showing.add_argument("name", help="the name of the interface")
    which = showing.add_mutually_exclusive_group()
    which.add_argument("-l", "--listening", action="store_true", help="show listening ports instead")
    which.add_argument("-a", "--all", action="store_true", help="show both connections and listening ports")


def _wireguardCommand(command: _Command) -> None:
    about = "Make keys of WireGuard, and show the WireGuard of a service."
    making = command("wireguard", "wireguard.genkey", about).add_subparsers(metavar="WHAT", required=True)
    does = "Show the WireGuard of a service as 'wg show' shows that of the kernel."
    showing = making.add_parser("show", help=does, description=does)
    showing.add_argument("name", nargs="?", help="the name of the interface, or of a host's file; by default, all")
    showing.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON in place of text")
    showing.set_defaults(do=_later("wireguardshow", "show"))
    for name, does in (
        ("genkey", "Print a new private key."),
        ("pubkey", "Print the public key of the private key on standard input."),
        ("genpsk", "Print a new preshared key."),
    ):
        making.add_parser(name, help=does, description=does).set_defaults(do=_later("wireguard", name))


def _completionCommand(command: _Command) -> None:
    about = "Print the completion of this command for a shell, which runs it by eval."
    command("completion", "completion.completion", about).add_argument(
        "shell", choices=("bash", "zsh"), help="the shell"
    )


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 32):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to 4294967295")
    return int(text)
