"""
The process of L{benchmarks.wireguard} that measures TCP through WireGuard between its network namespace and another.

    python -m benchmarks.children.wireguarder ROUNDS

The process prints a JSON list of rounds. A round maps the name of each measurement to octets per CPU second.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.children.tunneler import HERE, SECONDS, THERE, Namespaces, untilDone
from benchmarks.measure import cpuSeconds
from benchmarks.receive import ROOT
from txtuntap.wireguard.keys import PrivateKey, keyText

_TWISTD = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "tuntap", "wireguard"]

#: The programs here, by name. The end there is always txtuntap.
PROGRAMS = {
    "txtuntap": [*_TWISTD, "--tun", "wg0", "--config", "{}"],
    "wireguard-go": ["wireguard-go", "-f", "wg0"],
}


class Networks(Namespaces):
    """
    Two network namespaces, and WireGuard between them.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        keys = PrivateKey.generate(), PrivateKey.generate()
        self._files = []
        for end, (own, other) in enumerate((keys, keys[::-1])):
            file = directory / f"wg{end}.conf"
            file.touch(0o600)
            address, otherAddress = ((HERE, THERE), (THERE, HERE))[end]
            lines = (
                "[Interface]",
                f"PrivateKey = {keyText(own.secret())}",
                "ListenPort = 51820",
                f"Address = {address}/24",
                "[Peer]",
                f"PublicKey = {keyText(other.public)}",
                f"AllowedIPs = {otherAddress}/32",
                f"Endpoint = 192.0.2.{2 - end}:51820",
            )
            file.write_text("\n".join(lines))
            self._files.append(str(file))
        self._plain = directory / "plain.conf"
        self._plain.touch(0o600)
        text = Path(self._files[0]).read_text()
        self._plain.write_text("\n".join(line for line in text.split("\n") if not line.startswith("Address")))

    @contextmanager
    def up(self, name: str) -> Iterator[int]:
        """
        Run a program at each end while the block is entered.

        @param name: one of L{PROGRAMS}, for this end.

        @return: the identifier of this end's process.
        """
        here = [each.format(self._files[0]) for each in PROGRAMS[name]]
        there = [each.format(self._files[1]) for each in PROGRAMS["txtuntap"]]
        with self.running(f"of {name}", here, there, ROOT, None if name == "txtuntap" else self._configure) as ends:
            yield ends[0]

    def _configure(self) -> None:
        """
        Configure an interface whose program reads no file.
        """
        untilDone(["wg", "setconf", "wg0", str(self._plain)], "wireguard-go does not listen to wg")
        for command in f"address add {HERE}/24 dev wg0", "link set wg0 up mtu 1420":
            subprocess.run(["ip", *command.split()], check=True)


def main(arguments: Sequence[str]) -> None:
    """
    Measure all programs in both directions, and print the results.
    """
    found = []
    with TemporaryDirectory() as directory:
        networks = Networks(Path(directory))
        try:
            for _ in range(int(arguments[0])):
                rates = {}
                for name in PROGRAMS:
                    with networks.up(name) as process:
                        # The server of iperf3 is here, so its client sends "in".
                        for direction, options in ("in", []), ("out", ["-R"]):
                            before = cpuSeconds(process)
                            octets = networks.measured(*options) * 1e6 / 8 * SECONDS
                            rates[f"{name}, {direction}"] = octets / (cpuSeconds(process) - before)
                found.append(rates)
        finally:
            networks.close()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
