"""
The process of L{benchmarks.tunnel} that runs tunnels between its network namespace and another one.

    python -m benchmarks.children.tunneler ROUNDS

The process prints a JSON list of rounds. A round maps the name of each measurement to its megabits per second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.receive import ROOT
from tests.certificates import certificate

#: The seconds of each measurement.
SECONDS = 2

#: The seconds after which a tunnel that does not come up, and a transfer that does not end, have failed.
UP_PATIENCE, PATIENCE = 90, 20

#: The addresses inside a tunnel, of its ends here and there.
HERE, THERE = "10.9.0.1", "10.9.0.2"

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

    @contextmanager
    def running(
        self, name: str, here: Sequence[str], there: Sequence[str], configure: Callable[[], object] = lambda: None
    ) -> Iterator[int]:
        """
        Run a tunnel while the C{with} block runs.

        @param name: the name of the tunnel, for the error.
        @param here: the command for the end of this namespace; C{there}: that for the other one.
        @param configure: called once both commands run.

        @return: the identifier of this end's process.
        """
        quiet = subprocess.DEVNULL
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        ends = []
        for command in here, [*self.inThere, *there]:
            ends.append(subprocess.Popen(command, stdout=quiet, stderr=quiet, env=environment))
            # socat ends if it connects before the other end listens.
            time.sleep(0.5)
        try:
            configure()
            ping = [*self.inThere, "ping", "-c", "1", "-W", "1", HERE]
            untilDone(ping, f"the tunnel of {name} does not come up")
            yield ends[0].pid
        finally:
            for end in ends:
                end.terminate()
            for end in ends:
                end.wait()

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

    def __init__(self, directory: Path) -> None:
        super().__init__()
        here, there = certificate(directory, "here"), certificate(directory, "there")
        secured = ["--certificate", here.file, "--pin", there.pin], ["--certificate", there.file, "--pin", here.pin]
        ours = [_TWISTD, "-n", "--pidfile=", "tuntap", "tunnel", "--tun", "tt0", "--kernel-address"]
        listen, connect = ["--listen", "tcp:4000"], ["--connect", "tcp:192.0.2.1:4000"]
        plain = [*ours, f"{HERE}/24", *listen], [*ours, f"{THERE}/24", *connect]
        tun = "TUN:{}/24,tun-name=tt0,tun-type=tun,iff-no-pi,iff-up"
        self._ends: dict[str, tuple[list[str], list[str]]] = {
            "socat": (
                ["socat", tun.format(HERE), "UDP-LISTEN:4000"],
                ["socat", tun.format(THERE), "UDP:192.0.2.1:4000"],
            ),
            "plain": ([*plain[0], "--insecure"], [*plain[1], "--insecure"]),
            "TLS": ([*plain[0], *secured[0]], [*plain[1], *secured[1]]),
        }

    def up(self, name: str) -> AbstractContextManager[int]:
        """
        Run a tunnel while the C{with} block runs.

        @param name: C{socat}, C{plain} or C{TLS}.
        """
        return self.running(name, *self._ends[name])


def untilDone(command: Sequence[str], failure: str) -> None:
    """
    Run a command again and again until it succeeds.

    @param failure: the text of the error, if that takes too long.
    """
    deadline = time.monotonic() + UP_PATIENCE
    while subprocess.run(command, capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError(failure)
        time.sleep(0.1)


def main(arguments: Sequence[str]) -> None:
    """
    Measure all tunnels, and print the results.
    """
    found = []
    with TemporaryDirectory() as directory:
        tunnels = Tunnels(Path(directory))
        try:
            for _ in range(int(arguments[0])):
                rates = {}
                for name in "socat", "plain", "TLS":
                    with tunnels.up(name):
                        rates[name] = tunnels.measured()
                        if name != "TLS":
                            rates[f"{name}, UDP"] = tunnels.measured("-u", "-b", "0", "-l", "1372")
                found.append(rates)
        finally:
            tunnels.close()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
