"""
The ends of L{benchmarks.switch}, in network namespaces beside the one that this is started in.

    python -m benchmarks.children.switcher ROUNDS

What was found goes to standard output, as JSON: Mbit per second of each round, by case and by what is between the ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.switch import CASES

#: Seconds of a turn.
SECONDS = "2"

#: How often it is tried.
TRIES = 5

#: Seconds after which what is not there will never be.
PATIENCE = 20

#: By what is between the ends, the address of the second.
ADDRESSES = {"switch": "10.1.0.2", "bridge": "10.2.0.2"}


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """
    A program, until this is left.
    """
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


def inside(machine: subprocess.Popen[bytes], *command: str) -> list[str]:
    """
    The command line of something that runs in a namespace.
    """
    return ["nsenter", f"--net=/proc/{machine.pid}/ns/net", *command]


def until(*command: str) -> None:
    """
    Run something until it succeeds.
    """
    deadline = time.monotonic() + PATIENCE
    while subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError(f"in vain for {PATIENCE} seconds: {' '.join(command)}")
        time.sleep(0.05)


def bridged(machines: list[subprocess.Popen[bytes]]) -> None:
    """
    Join the namespaces by the kernel's bridge, which is here.
    """
    commands = ["link add kernel type bridge", "link set kernel up"]
    for number, machine in enumerate(machines, 1):
        commands.append(f"link add outer{number} type veth peer name inner netns {machine.pid}")
        commands.append(f"link set outer{number} master kernel up")
    for each in commands:
        subprocess.run(["ip", *each.split()], check=True)
    for number, machine in enumerate(machines, 1):
        for each in f"address add 10.2.0.{number}/24 dev inner", "link set inner up":
            subprocess.run(inside(machine, "ip", *each.split()), check=True)


def measured(machine: subprocess.Popen[bytes], address: str, options: list[str]) -> float:
    """
    @return: Mbit per second.
    """
    command = inside(machine, "iperf3", "-c", address, "-J", "-t", SECONDS, "-O", "1", *options)
    for _ in range(TRIES):
        said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)
        if "error" not in said:
            return float(said["end"]["sum_received"]["bits_per_second"]) / 1e6
        # Its server may still be busy with the one before.
        print(f"{' '.join(command)}: {said['error']}", file=sys.stderr)
    raise RuntimeError(f"in vain, {TRIES} times")


def main() -> None:
    """
    Measure what was asked for.
    """
    rounds = int(sys.argv[1])
    found: dict[str, dict[str, list[float]]] = {case: {name: [] for name in ADDRESSES} for case in CASES}
    with ExitStack() as stack:
        machines = [stack.enter_context(running("unshare", "--net", "sleep", "infinity")) for _ in range(2)]
        here = subprocess.check_output(["readlink", "/proc/self/ns/net"])
        for machine in machines:
            while subprocess.check_output(["readlink", f"/proc/{machine.pid}/ns/net"]) == here:
                time.sleep(0.01)
        bridged(machines)
        command = [sys.executable, "-m", "twisted", "--log-file=/dev/null", "tuntap", "switch"]
        for number, machine in enumerate(machines, 1):
            command += ["--tap", f"tap{number},netns=/proc/{machine.pid}/ns/net,address=10.1.0.{number}/24"]
        stack.enter_context(running(*command))
        stack.enter_context(running(*inside(machines[1], "iperf3", "-s")))
        for address in ADDRESSES.values():
            until(*inside(machines[0], "ping", "-c", "1", "-W", "1", address))
            until(*inside(machines[0], "iperf3", "-c", address, "-n", "1K"))
        for _ in range(rounds):
            for case, options in CASES.items():
                for name, address in ADDRESSES.items():
                    found[case][name].append(measured(machines[0], address, options))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
