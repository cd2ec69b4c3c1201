"""
The subcommand C{extcap}, by which Wireshark lists TUN and TAP interfaces, and captures their packets::

    txtuntap extcap install

Wireshark runs each program in its folders of extcap programs, and reads the answers from standard output: see
C{doc/README.extcap} of Wireshark. The installed program runs this subcommand.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import socket
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from txtuntap.device import printable
from txtuntap.device.platform import requireUNIX
from txtuntap.version import version

#: The beginning of the names of interfaces in Wireshark's list, which also has the kernel's interfaces by their names.
PREFIX = "txtuntap-"

#: The link-layer types of L{txtuntap.wire.pcapng} by the kind of interface: the number, the name in libpcap, the text.
_LINK_TYPES = {"tun": (101, "RAW", "Raw IP"), "tap": (1, "EN10MB", "Ethernet")}

#: The error of a capture filter.
_NO_FILTER = "txtuntap has no capture filters: leave it out, and use a display filter"

#: The directions of a capture, and their texts in Wireshark's dialog.
_DIRECTIONS = {
    "both": "both",
    "in": "to the program that has the interface open",
    "out": "from the program that has the interface open",
}

#: The installed program. It is a program of sh and of Python in one, because the path of an interpreter behind C{#!}
#: must be short, and have no blanks.
_PROGRAM = """\
#!/bin/sh
''':'
trap '' INT
exec {python} "$0" "$@"
'''
# Made by "txtuntap extcap install".
import signal
import sys

# Ctrl-C at tshark reaches this program, too, and must not print a traceback. So it was ignored until here.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from txtuntap.command import main

sys.exit(main(["extcap", *sys.argv[1:]]))
"""


def extcap(options: Any, out: TextIO) -> None:
    """
    Answer a question of Wireshark, or capture packets for it.

    @raise OSError: the packets cannot be captured.
    @raise ValueError: there is no question, or one with a mistake.
    """
    if options.extcap_interfaces:
        print(f"extcap {{version={version()}}}{{display=txtuntap}}", file=out)
        for name, text in _interfaces():
            print(f"interface {{value={PREFIX}{name}}}{{display={text}}}", file=out)
        return
    if options.extcap_interface is None:
        raise ValueError("give 'install' to put the interfaces into Wireshark's list; Wireshark gives the options")
    name = options.extcap_interface.removeprefix(PREFIX)
    if options.extcap_dlts:
        number, libpcap, text = _LINK_TYPES[_kind(name)]
        print(f"dlt {{number={number}}}{{name={libpcap}}}{{display={text}}}", file=out)
    elif options.extcap_config:
        print("arg {number=0}{call=--direction}{display=Direction}{type=selector}", file=out)
        for value, text in _DIRECTIONS.items():
            isDefault = str(value == "both").lower()
            print(f"value {{arg=0}}{{value={value}}}{{display={text}}}{{default={isDefault}}}", file=out)
    elif options.capture:
        _capture(name, options, out)
    elif options.extcap_capture_filter:
        # Wireshark takes any text here for the description of a mistake in the filter.
        print(_NO_FILTER, file=out)


def _capture(name: str, options: Any, out: TextIO) -> None:
    """
    Capture packets until Wireshark closes the pipe or sends SIGTERM.

    @raise OSError: the packets cannot be captured.
    @raise ValueError: there is no pipe, or a filter.
    """
    if options.fifo is None:
        raise ValueError("--capture: give --fifo, the pipe that the packets are written to")
    if options.extcap_capture_filter:
        raise ValueError(f"--extcap-capture-filter: {_NO_FILTER}")
    from txtuntap.command.capture import record

    settings = {"name": name, "netns": None, "write": options.fifo, "direction": options.direction}
    # Wireshark shows what is written to standard error as an error, so the numbers of packets are not reported.
    record(Namespace(**settings, count=None, snaplen=0, comment=None), out, lambda text: None)


def _kind(name: str) -> str:
    """
    Return the kind of an interface: C{"tun"} or C{"tap"}.

    @raise OSError: there is no such interface.
    @raise ValueError: the interface is of another kind.
    """
    from txtuntap.device.state import readInterface

    kind = readInterface(name).kind
    if kind not in _LINK_TYPES:
        raise ValueError(f"{name} is no TUN or TAP device")
    return kind


def _interfaces() -> Iterator[tuple[str, str]]:
    """
    Yield the name of each interface that can be captured, and a text about it. An interface can be captured through its
    service, or by a packet socket.
    """
    from txtuntap.command.service import connectTo, names
    from txtuntap.device.controlname import namespaceNumber
    from txtuntap.device.state import readInterfaces

    number = namespaceNumber()
    served = set()
    for name in names(number):
        connection = connectTo(name, number)
        if connection is not None:
            connection.close()
            served.add(name)
    isPrivileged = _mayOpenPacketSocket()
    for state in readInterfaces():
        # The format of the answer has no way to escape characters.
        isPlain = printable(state.name) == state.name and not set("{}") & set(state.name)
        if state.kind in _LINK_TYPES and isPlain and (isPrivileged or state.name in served):
            how = "its service" if state.name in served else "a packet socket"
            yield state.name, f"{state.name}, {state.kind.upper()} interface, by {how}"


def _mayOpenPacketSocket() -> bool:
    """
    Whether this process may open a packet socket, which only Linux has.
    """
    family = getattr(socket, "AF_PACKET", None)
    if family is None:
        return False
    try:
        socket.socket(family, socket.SOCK_RAW, 0).close()
    except OSError:
        return False
    return True


def install(options: Any, out: TextIO) -> None:
    """
    Install the program for Wireshark, and print its path.

    @raise OSError: the folder is not known, the file cannot be written, or it is another program's.
    """
    path = _path(options.folder)
    if path.exists() and not _isOurs(path):
        raise OSError(errno.EEXIST, f"{path} is another program: delete it, or give another --folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    new.write_text(_PROGRAM.format(python=shlex.quote(sys.executable)))
    new.chmod(0o755)
    new.replace(path)
    print(path, file=out)


def uninstall(options: Any, out: TextIO) -> None:
    """
    Delete the program for Wireshark, and print its path.

    @raise OSError: the folder is not known, or the program is not there.
    """
    path = _path(options.folder)
    if not path.exists() or not _isOurs(path):
        raise OSError(errno.ENOENT, f"there is no {path} of 'txtuntap extcap install'")
    path.unlink()
    print(path, file=out)


def _path(folder: str | None) -> Path:
    """
    Return the path of the installed program.

    @param folder: the folder that the user has given; C{None}: find Wireshark's personal folder.

    @raise OSError: Wireshark's personal folder is not known, or this is Windows.
    """
    requireUNIX("txtuntap extcap", "use Wireshark with Npcap, which lists the interfaces of this program, too")
    if folder is not None:
        return Path(folder) / "txtuntap"
    program = shutil.which("tshark") or shutil.which("wireshark")
    if program is None:
        raise OSError(errno.ENOENT, "neither tshark nor wireshark is installed: install one, or give --folder")
    asked = subprocess.run([program, "-G", "folders"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    lines = (line.partition(":") for line in os.fsdecode(asked.stdout).splitlines())
    folders = {name: value.strip() for name, _, value in lines}
    if "Personal Extcap path" in folders:
        return Path(folders["Personal Extcap path"]) / "txtuntap"
    if "Personal configuration" in folders:
        # Wireshark before 4.2 reads this folder, and does not name it.
        return Path(folders["Personal configuration"]) / "extcap" / "txtuntap"
    raise OSError(errno.ENOENT, f"'{program} -G folders' names no folder for extcap programs: give --folder")


def _isOurs(path: Path) -> bool:
    """
    Whether a file is a program that L{install} has written.
    """
    return b"txtuntap extcap install" in path.read_bytes()
