"""
The command line of C{txtuntap}: its subcommands and their options.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol, TextIO

_Do = Callable[[Any, TextIO], None]


class _Command(Protocol):
    """
    A function that adds a subcommand to the parser.

    @param do: the function that does it: C{MODULE.FUNCTION} of a module beside this one.
    """

    def __call__(self, name: str, do: str, about: str) -> argparse.ArgumentParser: ...


class _Address(argparse.Action):
    """
    Collects addresses, each as a dict with C{"address"}. C{--peer} and C{--broadcast} are added to the address before.
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


def commandParser() -> argparse.ArgumentParser:
    """
    The parser of the whole command line. Parsed options have C{do}, a function of the options and the standard
    output.
    """
    parser = argparse.ArgumentParser(
        prog="txtuntap",
        description="Make, configure, show, watch and capture TUN and TAP interfaces, and show their connections.",
    )
    parser.add_argument("-n", "--netns", help="the network namespace to do it in: a name or a path")
    parser.add_argument("--json", action="store_true", help="say what there is to say as JSON")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, do: str, about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(do=_later(*do.split(".")))
        # Without a default here, --json before the command stays.
        made.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="as JSON")
        return made

    _interfaceCommands(command)
    _captureCommand(command)
    _connectionsCommand(command)
    command("monitor", "monitor.monitor", "Say what happens to interfaces as it happens, until interrupted.")
    return parser


def _later(module: str, name: str) -> _Do:
    """
    A function of one of the modules beside this one, which is imported when the function is called. A command imports
    no more than it needs, since some of that takes long.
    """

    def do(options: Any, out: TextIO) -> None:
        getattr(import_module(f"txtuntap.command.{module}"), name)(options, out)

    return do


def _interfaceCommands(command: _Command) -> None:
    making = command("add", "interfaces.add", "Make a device that stays until it is deleted, and say its name.")
    making.add_argument("name", help="its name; 'tun%%d' takes the next free number")
    making.add_argument("--mode", required=True, choices=("tun", "tap"), help="tun: IP packets; tap: Ethernet frames")
    making.add_argument("--multi-queue", action="store_true", help="let several descriptors be on it")
    making.add_argument("--pi", action="store_true", help="have protocol information before each packet")
    making.add_argument("--down", dest="up", action="store_false", help="do not set it up")
    setting = command("set", "interfaces.configure", "Configure an interface. What is not named stays as it is.")
    setting.add_argument("name", help="its name")
    state = setting.add_mutually_exclusive_group()
    state.add_argument("--up", dest="up", action="store_true", default=None, help="set it up")
    state.add_argument("--down", dest="up", action="store_false", default=None, help="set it down")
    stay = setting.add_mutually_exclusive_group()
    stay.add_argument("--persistent", action="store_true", default=None, help="have it stay when nobody has it open")
    stay.add_argument("--no-persistent", dest="persistent", action="store_false", help="have it go then")
    setting.add_argument("--carrier", choices=("on", "off"), help="whether the link of an open device has its carrier")
    setting.add_argument(
        "--netns", dest="to", help="move it to another network namespace first; what else is named is configured there"
    )
    for each in making, setting:
        _addSettings(each)
    command(
        "delete", "interfaces.delete", "Delete a TUN or TAP device, whether a program has it open or not."
    ).add_argument("name")
    showing = command("show", "interfaces.show", "Show all there is to know of an interface.")
    showing.add_argument("name")
    listing = command("list", "interfaces.listAll", "List TUN and TAP interfaces.")
    listing.add_argument("--all", action="store_true", help="interfaces of every kind")


def _addSettings(parser: argparse.ArgumentParser) -> None:
    """
    Add the options that are settings of an interface.
    """
    parser.add_argument(
        "--address", action=_Address, metavar="CIDR", help="an address, 10.0.0.1/24; as often as needed"
    )
    parser.add_argument("--peer", action=_Address, help="the other end's address, for the --address before")
    parser.add_argument("--broadcast", action=_Address, help="the broadcast address, for the --address before")
    parser.add_argument(
        "--route",
        action="append",
        default=[],
        help="'NETWORK [via GATEWAY] [metric N] [src ADDRESS]'; as often as needed",
    )
    parser.add_argument(
        "--neighbour",
        action="append",
        default=[],
        metavar="ADDRESS=LLADDR",
        help="one that need not be asked for on a tap; as often as needed",
    )
    parser.add_argument("--mtu", type=int, help="in octets")
    parser.add_argument("--lladdr", help="link address of the kernel's end of a tap")
    parser.add_argument("--txqueuelen", type=int, help="packets that wait for the program to read them")
    parser.add_argument("--user", help="who may open the device without privilege")
    parser.add_argument("--group", help="whose members may")
    parser.add_argument(
        "--hardened",
        action="store_true",
        default=None,
        help="believe no router advertisement, redirect or source route that comes in by the interface",
    )


def _captureCommand(command: _Command) -> None:
    capturing = command(
        "capture",
        "capture.capture",
        "Capture what passes a TUN or TAP interface, as pcapng, until interrupted.",
    )
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


def _connectionsCommand(command: _Command) -> None:
    showing = command(
        "connections",
        "connections.connections",
        "Show the TCP connections of the host that a service has on an interface, as 'ss -ti' shows the kernel's.",
    )
    showing.add_argument("name", help="the interface's name")
    which = showing.add_mutually_exclusive_group()
    which.add_argument("-l", "--listening", action="store_true", help="show the ports that listen in their place")
    which.add_argument("-a", "--all", action="store_true", help="show the ports that listen, too")


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 32):
        raise argparse.ArgumentTypeError(f"{text!r} is no number over 0")
    return int(text)
