"""
The process of L{benchmarks.tunnel} that runs tunnels between its network namespace and another one.

    python -m benchmarks.children.tunneler ROUNDS [TREE]

TREE is the directory of another commit of this repository, whose tunnels are measured, too. The process prints a JSON
list of rounds. A round maps the name of each measurement to what L{Tunnels.rates} returns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import cpuSeconds
from benchmarks.receive import ROOT
from tests.certificates import certificate

#: The seconds of each measurement.
SECONDS = 2

#: The seconds after which a transfer that does not end has failed.
PATIENCE = 20

#: The seconds after which a tunnel that does not come up has failed.
START_PATIENCE = 90

#: The word that begins the names of the tunnels of another commit.
BEFORE = "before, "

#: The word that begins the names of the tunnels of L{benchmarks.children.baretunnel}.
BARE = "bare, "

HERE, THERE = "10.9.0.1", "10.9.0.2"
_INTERFACE = "tt0"
_TWISTD = str(Path(sys.executable).with_name("twistd"))


class Namespaces:
    """
    This network namespace and another one, joined by a veth pair: 192.0.2.1 is here, and 192.0.2.2 is there.

    @ivar inThere: the beginning of commands that run there.
    """

    def __init__(self) -> None:
        self._there = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.inThere = ["nsenter", f"--net=/proc/{self._there.pid}/ns/net"]
        own = os.stat("/proc/self/ns/net").st_ino
        while os.stat(f"/proc/{self._there.pid}/ns/net").st_ino == own:
            time.sleep(0.01)
        for command in (
            f"link add tta type veth peer name ttb netns {self._there.pid}",
            "address add 192.0.2.1/24 dev tta",
            "link set tta up",
            "link set lo up",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        for command in "address add 192.0.2.2/24 dev ttb", "link set ttb up", "link set lo up":
            subprocess.run([*self.inThere, "ip", *command.split()], check=True)

    def measured(self, *options: str) -> float:
        """
        Measure a transfer of iperf3 through the tunnel.

        @return: the megabits per second that were received.
        """
        client = [*self.inThere, "iperf3", "-J", "-t", str(SECONDS), "-c", HERE, *options]
        for _ in range(10):
            # Start a new server for each attempt, because a failed attempt leaves the old one unusable.
            server = subprocess.Popen(["iperf3", "-s", "-1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                time.sleep(0.3)
                finished = subprocess.run(client, capture_output=True, text=True, check=False, timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                continue
            finally:
                server.kill()
                server.wait()
            end = json.loads(finished.stdout or "{}").get("end")
            if not finished.returncode and end:
                return float(end["sum_received" if "sum_received" in end else "sum"]["bits_per_second"] / 1e6)
        raise RuntimeError(f"iperf3 measures nothing: {finished.stdout}{finished.stderr}")

    @contextmanager
    def running(
        self, name: str, here: Sequence[str], there: Sequence[str], tree: Path, begun: Callable[[], None] | None = None
    ) -> Iterator[list[int]]:
        """
        Run a program at each end while the C{with} block runs. The block begins when the other end answers.

        @param name: the name of the programs, for an error.
        @param here: the command of the end here.
        @param there: the command of the end there.
        @param tree: the directory of the commit that the programs are of.
        @param begun: called when both programs run, before the other end is asked.

        @return: the identifiers of the processes of both ends.
        """
        quiet = subprocess.DEVNULL
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        ends: list[subprocess.Popen[bytes]] = []
        try:
            for command in here, [*self.inThere, *there]:
                ends.append(subprocess.Popen(command, stdout=quiet, stderr=quiet, env=environment, cwd=tree))
                # socat ends if it connects before the other end listens.
                time.sleep(0.5)
            if begun is not None:
                begun()
            untilDone([*self.inThere, "ping", "-c", "1", "-W", "1", HERE], f"the tunnel {name} does not come up")
            yield [end.pid for end in ends]
        finally:
            for end in ends:
                end.terminate()
            for end in ends:
                end.wait()

    def close(self) -> None:
        """
        End the process of the other namespace.
        """
        self._there.kill()
        self._there.wait()


class Tunnels(Namespaces):
    """
    Tunnels between the namespaces.
    """

    def __init__(self, directory: Path, trees: Mapping[str, Path]) -> None:
        """
        @param directory: the directory for the certificates of the ends.
        @param trees: the directories of this repository's commits, by the words that begin the names of their tunnels.
        """
        super().__init__()
        here, there = certificate(directory, "here"), certificate(directory, "there")
        secured = ["--certificate", here.file, "--pin", there.pin], ["--certificate", there.file, "--pin", here.pin]
        ours = [_TWISTD, "-n", "--pidfile=", "tuntap", "tunnel", "--tun", _INTERFACE, "--kernel-address"]
        listen, connect = ["--listen", "tcp:4000"], ["--connect", "tcp:192.0.2.1:4000"]
        plain = [*ours, f"{HERE}/24", *listen], [*ours, f"{THERE}/24", *connect]
        tun = f"TUN:{{}}/24,tun-name={_INTERFACE},tun-type=tun,iff-no-pi,iff-up"
        self._ends: dict[str, tuple[list[str], list[str], Path]] = {
            "socat": (
                ["socat", tun.format(HERE), "UDP-LISTEN:4000"],
                ["socat", tun.format(THERE), "UDP:192.0.2.1:4000"],
                ROOT,
            ),
        }
        bare = [sys.executable, "-m", "benchmarks.children.baretunnel"]
        listening, connecting = [*bare, f"{HERE}/24", "listen"], [*bare, f"{THERE}/24", "connect", "192.0.2.1"]
        self._ends[f"{BARE}plain"] = listening, connecting, ROOT
        self._ends[f"{BARE}TLS"] = [*listening, here.file, there.pin], [*connecting, there.file, here.pin], ROOT
        for prefix, tree in trees.items():
            self._ends[f"{prefix}plain"] = [*plain[0], "--insecure"], [*plain[1], "--insecure"], tree
            self._ends[f"{prefix}TLS"] = [*plain[0], *secured[0]], [*plain[1], *secured[1]], tree

    @contextmanager
    def up(self, name: str) -> Iterator[list[int]]:
        """
        Run a tunnel while the C{with} block runs.

        @param name: C{socat}; or C{plain} or C{TLS} behind one of the words of C{trees}, or behind C{BARE}.

        @return: the identifiers of the processes of both ends.
        """
        here, there, tree = self._ends[name]
        with self.running(name, here, there, tree) as ends:
            yield ends

    def rates(self, ends: Sequence[int], *options: str) -> tuple[float, float]:
        """
        Measure a transfer of iperf3 through the tunnel that is up.

        @param ends: the identifiers of the processes of both ends.

        @return: the megabits per second that iperf3 received, and the octets that the end there read from its interface
            for each CPU second of both ends. A tunnel over a stream loses none of these, but iperf3 may be too slow for
            them.
        """
        octets, seconds = self._octets(), sum(map(cpuSeconds, ends))
        rate = self.measured(*options)
        return rate, (self._octets() - octets) / (sum(map(cpuSeconds, ends)) - seconds)

    def _octets(self) -> int:
        """
        The octets of the packets that the end there has read from its interface.
        """
        for line in Path(f"/proc/{self._there.pid}/net/dev").read_text().splitlines():
            name, _, fields = line.partition(":")
            if name.strip() == _INTERFACE:
                return int(fields.split()[8])
        raise RuntimeError(f"there is no interface {_INTERFACE}")


def untilDone(command: Sequence[str], failure: str) -> None:
    """
    Run a command again and again until it succeeds.

    @raise RuntimeError: that takes too long. The text is C{failure}.
    """
    deadline = time.monotonic() + START_PATIENCE
    while subprocess.run(command, capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError(failure)
        time.sleep(0.1)


def main(arguments: Sequence[str]) -> None:
    """
    Measure all tunnels, and print the results.
    """
    trees = dict(zip(("", BEFORE), (ROOT, *map(Path, arguments[1:])), strict=False))
    names = ["socat", *(f"{prefix}{kind}" for kind in ("plain", "TLS") for prefix in (*trees, BARE))]
    found = []
    with TemporaryDirectory() as directory:
        tunnels = Tunnels(Path(directory), trees)
        try:
            for _ in range(int(arguments[0])):
                rates = {}
                for name in names:
                    with tunnels.up(name) as ends:
                        rates[name] = tunnels.rates(ends)
                        if not name.endswith("TLS"):
                            rates[f"{name}, UDP"] = tunnels.rates(ends, "-u", "-b", "0", "-l", "1372")
                found.append(rates)
        finally:
            tunnels.close()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
