"""
The name servers of an interface, which C{resolvconf(8)} tells the machine.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    from txtuntap.wireguard.configuration import Configuration

#: The seconds that C{resolvconf} may take.
PATIENCE = 10

#: The file of Debian's C{resolvconf} with the order of interfaces. As with C{wg-quick}, its first pattern is the prefix
#: of our interface, so that our name servers are asked first.
ORDER = "/etc/resolvconf/interface-order"

_PATTERN = re.compile(r"^([A-Za-z0-9-]+)\*$", re.MULTILINE)


class NameServers:
    """
    The name servers of one interface.
    """

    _log = Logger()

    def __init__(self) -> None:
        # The name under which resolvconf knows the interface, which may be renamed later; None: it knows none.
        self._name: str | None = None

    def set(self, interface: str, configuration: Configuration) -> None:
        """
        Have the machine ask the name servers of a configuration. If that fails, log a warning.
        """
        if not configuration.nameServers:
            if configuration.searchDomains:
                self._log.warn("DNS is left as it is, because the file has search domains but no name server")
            return
        lines = [f"nameserver {each}\n" for each in configuration.nameServers]
        if configuration.searchDomains:
            lines.append(f"search {' '.join(configuration.searchDomains)}\n")
        name = f"{_prefix()}{interface}"
        if self._run("-a", name, "-m", "0", "-x", text="".join(lines)):
            self._name = name

    def unset(self) -> None:
        """
        Have the machine ask the name servers that it asked before.
        """
        name, self._name = self._name, None
        if name is not None:
            self._run("-d", name, "-f")

    def _run(self, *arguments: str, text: str = "") -> bool:
        """
        Run C{resolvconf} with some input.

        @return: whether it has succeeded.
        """
        program = shutil.which("resolvconf")
        if program is None:
            advice = "use Set-DnsClientServerAddress" if sys.platform == "win32" else "install openresolv, for instance"
            self._log.warn("DNS is left as it is, because there is no resolvconf: {advice}", advice=advice)
            return False
        try:
            subprocess.run(
                [program, *arguments], input=text, text=True, check=True, timeout=PATIENCE, capture_output=True
            )
        except subprocess.CalledProcessError as e:
            self._log.warn("DNS is left as it is: {reason}", reason=e.stderr.strip() or e)
            return False
        except (OSError, subprocess.SubprocessError) as e:
            self._log.warn("DNS is left as it is: {reason}", reason=e)
            return False
        return True


def _prefix() -> str:
    with suppress(OSError), open(ORDER) as file:
        found = _PATTERN.search(file.read())
        if found is not None:
            return f"{found[1]}."
    return ""
