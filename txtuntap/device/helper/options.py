"""
The options of the helper's command line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from txtuntap.device.helper.device import PATH
from txtuntap.device.helper.permission import Rule
from txtuntap.output import endingSilently
from txtuntap.version import addVersion


def helperParser() -> argparse.ArgumentParser:
    """
    Make the parser of the helper's command line.
    """
    parser = argparse.ArgumentParser(
        prog="python -I -m txtuntap.device.helper",
        description="Open TUN and TAP devices for programs without privilege, and configure their interfaces.",
    )
    addVersion(parser)
    parser.add_argument(
        "--allow",
        action="append",
        required=True,
        type=_rule,
        metavar="WHO:NAMES[:NETWORKS]",
        help="let a user, or the members of @GROUP, have interfaces. NAMES are patterns of interface names, separated"
        " by commas. NETWORKS, also separated by commas, must contain all addresses, routes and neighbours of the"
        " interface. The option can be given several times",
    )
    parser.add_argument(
        "--listen",
        default=f"unix:{PATH}:mode=666",
        help="the socket to listen on, as a Twisted server endpoint (%(default)s)",
    )
    parser.add_argument(
        "--netns",
        help="the network namespace of the interfaces (needs CAP_SYS_ADMIN); the helper's own if this is not given",
    )
    parser.add_argument("--node", help="the path of the device node of Linux (/dev/net/tun)")
    return parser


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """
    Parse the helper's command line. If it has a mistake, the process ends with a message that says what to give.

    @param arguments: the words after the command; C{None}: the arguments of this process.
    """
    with endingSilently(sys.stdout):
        return helperParser().parse_args(arguments)


def _rule(text: str) -> Rule:
    try:
        return Rule.of(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from e
