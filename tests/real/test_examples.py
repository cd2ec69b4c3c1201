"""
Each example does what its docstring says, in a network namespace of its own.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.paths import EXAMPLES
from tests.real.lab.asking import asking, askUntilAnswered, pingUntilAnswered
from tests.real.lab.beyond import FAR, THERE_ADDRESS, Beyond, qemu, vxlan
from tests.real.lab.examples import docstring, run, running
from tests.real.lab.guest import openNode, unprivileged
from tests.real.lab.host import handles
from tests.real.lab.link import setUp, show, untilHas
from tests.real.lab.namespace import PATIENCE, Namespace, another, interfaces, ip, needRoot, tool, until
from tests.real.lab.tunnel import joined
from txtuntap.device.linux.namespace import inNamespace
from txtuntap.wireguard import PrivateKey, keyText

#: The titles of the demo's conversations, with the kernel and in memory.
CONVERSATIONS = ["tun, IPv4", "tun, IPv6", "tap, IPv4", "tap, IPv6"]


def test_howToHearsAndAnswersOnBothPorts(namespace: Namespace, tmp_path: Path) -> None:
    with running(tmp_path, "pair_howto.py") as example:
        until(lambda: interfaces() >= {"tap0", "tun0"}, "the interfaces")
        # Run the commands of the docstring.
        for command in re.findall(r"^ +ip (.*)$", docstring("pair_howto.py"), re.MULTILINE):
            ip(*command.split())
        for name, host in ("tun", "10.0.0.2"), ("tap", "10.0.1.2"), ("tun", "10.0.0.77"):
            assert askUntilAnswered(host, b"hello", 42) == f"{name} has heard you\n".encode()
            example.untilPrinted(rf"^{name}: 10\.0\.\d\.1 port \d+ says b'hello'")


def test_udpEchoAnswersOnBothDevicesOverBothVersions(namespace: Namespace, tmp_path: Path) -> None:
    with running(tmp_path, "udp_echo.py"):
        hosts = re.findall(r"UDP:\[?([^]\s]+?)\]?:7$", docstring("udp_echo.py"), re.MULTILINE)
        assert hosts == ["10.0.0.2", "fd00::2", "10.0.1.2", "fd01::2"]
        for host in hosts:
            for payload in b"hello", bytes(range(256)) * 5, b"x":
                assert askUntilAnswered(host, payload) == payload


def test_dnsServerAnswersDig(namespace: Namespace, tmp_path: Path) -> None:
    with running(tmp_path, "dns_server.py") as example:
        example.untilPrinted("^serving")
        for command, answer in (
            ("+short @10.0.0.2 www.example.test", "10.0.0.80\n"),
            ("+short @fd00::2 www.example.test AAAA", "fd00::80\n"),
            ("+short @10.0.0.2 example.test TXT", '"served from user space"\n'),
            ("+short +tcp @10.0.0.2 example.test TXT", '"served from user space"\n'),
            ("+short +tcp @fd00::2 www.example.test AAAA", "fd00::80\n"),
        ):
            assert run(tool("dig"), *command.split()) == answer
        whole = run(tool("dig"), "@10.0.0.2", "www.example.test")
        assert "status: NOERROR" in whole
        assert re.search(r"flags: qr aa\b", whole)
        assert "SERVER: 10.0.0.2#53" in whole
        assert "status: NXDOMAIN" in run(tool("dig"), "@10.0.0.2", "nobody.example.test")


#: The time at the beginning of a line of C{tcpdump.py}.
TIME = r"^\d\d:\d\d:\d\d\.\d{3} "


def test_tcpdumpPrintsALineForEachPacketOfATun(namespace: Namespace, tmp_path: Path) -> None:
    with running(tmp_path, "tcpdump.py") as example:
        example.untilPrinted(r"^listening on tun0$")
        run(tool("ping"), "-c1", "-W1", "10.0.0.2", status=1)
        example.untilPrinted(TIME + r"IP 10\.0\.0\.1 > 10\.0\.0\.2: ICMP echo request, id \d+, seq 1, length 64$")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"hello\n", ("10.0.0.3", 7))
            port = client.getsockname()[1]
        example.untilPrinted(rf"{TIME}IP 10\.0\.0\.1\.{port} > 10\.0\.0\.3\.7: UDP, length 6$")
        # The kernel reports its multicast groups as soon as the link is up.
        example.untilPrinted(TIME + r"IP6 \S+ > ff02::\S+: ICMP6, ")


def test_tcpdumpPrintsALineForEachFrameOfATap(namespace: Namespace, tmp_path: Path) -> None:
    with running(tmp_path, "tcpdump.py", "tap%d") as example:
        example.untilPrinted(r"^listening on tap0$")
        run(tool("ping"), "-c1", "-W1", "10.0.0.2", status=1)
        example.untilPrinted(TIME + r"ARP, Request who-has 10\.0\.0\.2 tell 10\.0\.0\.1, length 28$")


def test_theHubJoinsItsClients(namespace: Namespace, tmp_path: Path) -> None:
    with ExitStack() as stack:
        examples = [stack.enter_context(running(tmp_path, "hub.py", "10.9.0.1/24"))]
        examples[0].untilPrinted(r"^10\.9\.0\.1/24 is the hub$")
        ends = []
        for number in 2, 3:
            there = stack.enter_context(another())
            place = f"/proc/{os.getpid()}/fd/{there}"
            ip("link", "add", f"ttv{number}", "type", "veth", "peer", "name", "ttw", "netns", place)
            stack.callback(ip, "link", "delete", f"ttv{number}")
            setUp(f"ttv{number}", f"192.0.{number}.1/24")
            inNamespace(there, partial(setUp, "ttw", f"192.0.{number}.2/24"))
            (directory := tmp_path / str(number)).mkdir()
            arguments = "hub.py", f"10.9.0.{number}/24", f"192.0.{number}.1"
            before = (tool("nsenter"), f"--net={place}")
            examples.append(stack.enter_context(running(directory, *arguments, before=before)))
            examples[-1].untilPrinted(rf"^10\.9\.0\.{number}/24 is joined by the hub at 192\.0\.{number}\.1$")
            ends.append(there)
        # The clients reach each other and the hub, and the hub reaches the clients.
        inNamespace(ends[0], partial(pingUntilAnswered, "10.9.0.3"))
        inNamespace(ends[0], partial(pingUntilAnswered, "10.9.0.1"))
        inNamespace(ends[1], partial(pingUntilAnswered, "10.9.0.2"))
        pingUntilAnswered("10.9.0.2")
        pingUntilAnswered("10.9.0.3")
        whole = run(tool("nsenter"), f"--net=/proc/{os.getpid()}/fd/{ends[0]}", "ping", "-c1", "-s20000", "10.9.0.3")
        assert " 0% packet loss" in whole


def test_honeypotAnswersEveryAddressAndSaysWhoAsked(namespace: Namespace, tmp_path: Path) -> None:
    with running(tmp_path, "honeypot.py") as example:
        (command,) = re.findall(r"^ +\$ ip (.*)$", docstring("honeypot.py"), re.MULTILINE)
        # The gateway needs an address before a route to it can be added.
        untilHas("tap0", "10.0.0.1")
        ip(*command.split())
        for address in "10.77.1.2", "10.77.200.201", "10.77.255.254":
            assert askUntilAnswered(address, b"hello\n") == b"hello\n"
            example.untilPrinted(rf"^10\.0\.0\.1 > {address} +UDP port 7: b'hello\\n'$")
        run(tool("ping"), "-c1", "10.77.1.2")
        example.untilPrinted(r"^10\.0\.0\.1 > 10\.77\.1\.2 +ICMP type 8$")
        found = run(tool("nmap"), "-sU", "-n", "-Pn", "-p", "9,123", "10.77.3.4")
        assert re.search(r"^9/udp +closed", found, re.MULTILINE)
        assert re.search(r"^123/udp +open", found, re.MULTILINE)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for _ in range(500):
                client.sendto(b"", ("10.77.0.9", 9))

        def seen() -> int:
            more = map(int, re.findall(r"^\.\.\. and (\d+) more$", example.printed(), re.MULTILINE))
            return example.printed().count("10.77.0.9 ") + sum(more)

        until(lambda: seen() >= 500, "the whole flood to be printed or counted")
        assert example.printed().count("10.77.0.9 ") <= 60
        # The example prints only packets to the network.
        assert set(re.findall(r"> (\d+\.\d+)\.", example.printed())) == {"10.77"}


def test_honeypotAnswersANetworkOfIPv6(namespace: Namespace, tmp_path: Path) -> None:
    with running(tmp_path, "honeypot.py", "fd77::/48") as example:
        untilHas("tap0", "fd00::1")
        ip("address", "add", "2001:db8::1/128", "dev", "tap0", "nodad")
        ip("route", "add", "fd77::/48", "via", "fd00::2", "src", "2001:db8::1")
        assert askUntilAnswered("fd77::1:2", b"hello\n") == b"hello\n"
        example.untilPrinted(r"^2001:db8::1 > fd77::1:2 +UDP port 7: b'hello\\n'$")
        run(tool("ping"), "-c1", "fd77::3")
        example.untilPrinted(r"^2001:db8::1 > fd77::3 +ICMPv6 type 128$")
        assert set(re.findall(r"> (\w+):", example.printed())) == {"fd77"}


@pytest.mark.parametrize(
    "name",
    ["arp_watcher", "bad_link", "honeypot", "metrics", "pair_howto", "ping_responder", "tcp_honeypot"],
)
def test_anExampleThatRunsAServicePrintsOneLineWhenItIsReady(namespace: Namespace, tmp_path: Path, name: str) -> None:
    with running(tmp_path, f"{name}.py") as example:
        example.untilPrinted("^ready: ")
        assert {"tun0", "tap0"} & interfaces()
        # react() calls the example's main() shortly before the reactor runs and handles the signal that ends it.
        until(lambda: handles(example.process.pid, signal.SIGTERM), "the reactor to run")
        assert example.printed().count("ready: ") == 1


def test_arpWatcherSaysWhoIsWhereAndWhoMoves(namespace: Namespace, tmp_path: Path) -> None:
    with running(tmp_path, "arp_watcher.py", "tt0") as example:
        untilHas("tt0", "10.0.0.1")
        before = show("tt0")["address"]
        run(tool("ping"), "-c1", "-W1", "10.0.0.2", status=1)
        example.untilPrinted(rf"^10\.0\.0\.1 +is at +{before}$")
        ip("link", "set", "tt0", "address", "02:00:00:00:00:77")
        run(tool("ping"), "-c1", "-W1", "10.0.0.3", status=1)
        example.untilPrinted(rf"^10\.0\.0\.1 +has moved to 02:00:00:00:00:77 from {before}$")
        # The first line says that the example is ready.
        assert example.printed().count("\n") == 3


def test_witnessIsFoundByTwistdInTheWorkingDirectory(namespace: Namespace, tmp_path: Path) -> None:
    (command,) = re.findall(r"^ +twistd (.*)$", docstring("witness.py"), re.MULTILINE)
    twistd = Path(sys.executable).parent / "twistd"
    with (tmp_path / "log").open("wb") as log:
        service = subprocess.Popen([twistd, "--pidfile=", *command.split()], cwd=EXAMPLES, stdout=log, stderr=log)
    try:
        lines = askUntilAnswered("10.0.0.2", b"hello").decode().splitlines()
    finally:
        service.terminate()
        service.wait(PATIENCE)
    expected = docstring("witness.py").partition("UDP:10.0.0.2:7\n")[2].splitlines()[:4]
    assert [re.sub(r"port \d+ →", "port N →", line) for line in lines] == [
        re.sub(r"port \d+ →", "port N →", line.strip()) for line in expected
    ]


def demonstrated(output: str) -> dict[str, list[str]]:
    """
    Return the lines that the demo printed, without their figures, by conversation.
    """
    conversations: dict[str, list[str]] = {}
    for paragraph in output.split("\n\n"):
        title, _, lines = paragraph.partition("\n")
        if title in CONVERSATIONS:
            conversations[title] = [line.split()[0] for line in lines.splitlines()]
    return conversations


def assertFourConversations(output: str, asker: str) -> None:
    """
    Check that each conversation passed all the layers in both directions.
    """
    conversations = demonstrated(output)
    assert list(conversations) == CONVERSATIONS
    for title, lines in conversations.items():
        device, version = title.split(", ")
        link = ["Ethernet"] if device == "tap" else []
        assert lines == [asker, f"{device}0", *link, version, "UDP", "Witness", asker]
    assert output.endswith("Four conversations, four answers.\n")


def test_demoShowsFourConversations(namespace: Namespace) -> None:
    # The demo makes its namespace within that of the test, so anything it leaves behind would be seen.
    output = run(sys.executable, EXAMPLES / "demo.py")
    assertFourConversations(output, "kernel")
    assert output.count("$ twistd -n tuntap host") == 2
    assert not interfaces()


def test_demoRunsWithoutAUserNamespace(namespace: Namespace, tmp_path: Path) -> None:
    needRoot()
    # This unshare fails as if user namespaces were forbidden.
    unshare = tmp_path / "unshare"
    unshare.write_text(f'#!/bin/sh\n[ "$1" = -rn ] && exit 1\nexec {tool("unshare")} "$@"\n')
    unshare.chmod(0o755)
    assertFourConversations(run(sys.executable, EXAMPLES / "demo.py", PATH=f"{tmp_path}:/usr/bin:/bin"), "kernel")


def test_demoFailsWhereAnAnswerIsMissingAndSaysWhich(namespace: Namespace) -> None:
    # The service cannot start, because an interface of the other kind has the name.
    ip("tuntap", "add", "mode", "tun", "name", "tap0")
    output = run(sys.executable, EXAMPLES / "demo.py", "inside", status=1)
    assert "tap, IPv4: no answer from 10.0.1.2 port 7" in output
    assert "tap, IPv6: no answer from fd01::2 port 7" in output
    assert "tap0 is a tun, not a tap" in output
    assert list(demonstrated(output)) == CONVERSATIONS
    assert "Four conversations, four answers." not in output
    assert interfaces() == {"tap0"}


def test_demoWithoutPermissionRunsInMemory(namespace: Namespace) -> None:
    needRoot()
    output = run(*unprivileged(), sys.executable, EXAMPLES / "demo.py", "inside")
    assert "out of reach" in output
    assertFourConversations(output, "memory")


def test_theWebServerNamesADirectoryThatIsMissing(namespace: Namespace) -> None:
    assert run(sys.executable, EXAMPLES / "web_server.py", "/none", status=1) == "there is no directory /none\n"


def test_pingIsAnsweredEitherWay(namespace: Namespace, tmp_path: Path) -> None:
    with running(tmp_path, "ping_responder.py"):
        for host in "10.0.0.2", "10.0.1.2":
            pingUntilAnswered(host)
        run(tool("ping"), "-c1", "-s3000", "10.0.1.2")
    with running(tmp_path, "ping_responder.py", "tun%d"):
        pingUntilAnswered("10.0.0.2")
        assert interfaces() == {"tun0"}


def test_theAttributesAreSetAndRead(namespace: Namespace) -> None:
    for name in "ifconfig.py", "attributes.py":
        said = run(sys.executable, EXAMPLES / name)
        expected = docstring(name).splitlines()
        assert said.splitlines() == [line.strip() for line in expected if line.startswith("    ")][1:], name
        assert interfaces() == set()


def test_aUserRunsAProgramOnAnOwnedTap(namespace: Namespace, tmp_path: Path) -> None:
    program = EXAMPLES / "owned_tap.py"
    node = openNode(tmp_path)
    assert run(sys.executable, program, "make", "nobody") == "made tap0 for nobody\n"
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen([*unprivileged(), sys.executable, program, node], stdout=file, stderr=file)
    try:
        until(lambda: output.read_text() == "tap0 is mine: ping 10.0.0.2\n", "the program to run")
        # An interface that was set up without a program gets its carrier when the program attaches.
        pingUntilAnswered("10.0.0.2")
    finally:
        process.terminate()
        process.wait(PATIENCE)
    assert interfaces() == {"tap0"}
    assert run(sys.executable, program, "delete") == ""
    assert interfaces() == set()


def test_theUnitServesWithoutPrivilege(namespace: Namespace, tmp_path: Path) -> None:
    # This machine may not run systemd, so run the unit's commands as systemd would.
    node = openNode(tmp_path)
    unit: dict[str, str] = {}
    for line in (EXAMPLES / "txtuntap-echo.service").read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            unit[name] = value
    assert (unit["CapabilityBoundingSet"], unit["NoNewPrivileges"]) == ("", "yes")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def command(name: str) -> list[str]:
        words = shlex.split(unit[name].lstrip("+-"))
        return ["nobody" if word == unit["User"] else word for word in words]

    run(*command("ExecStartPre"), PATH=path)
    assert show("tap-echo")["linkinfo"]["info_data"]["user"] == "nobody"
    with (tmp_path / "output").open("wb") as file:
        process = subprocess.Popen(
            [*unprivileged(), *command("ExecStart"), "--node", str(node)],
            stdout=file,
            stderr=file,
            env={**os.environ, "PATH": path},
            cwd=EXAMPLES.parent,
        )
    try:
        assert askUntilAnswered("10.0.0.2", b"hello") == b"hello"
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert set(re.findall(r"^Uid:(.*)$", status, re.MULTILINE)[0].split()) == {"65534"}
    finally:
        process.terminate()
        process.wait(PATIENCE)
    run(*command("ExecStopPost"), PATH=path)
    assert interfaces() == set()


def test_systemdAcceptsTheUnits(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    assert "txtuntap-echo" not in run(analyze, "verify", EXAMPLES / "txtuntap-echo.service")
    template = (EXAMPLES / "txtuntap-wireguard@.service").read_text()
    (instance := tmp_path / "txtuntap-wireguard@wg0.service").write_text(template)
    assert "txtuntap-wireguard" not in run(analyze, "verify", instance)


def _configurations(tmp_path: Path) -> list[Path]:
    """
    Write the configuration files of two WireGuard peers, the first of which knows the endpoint of the second.
    """
    keys = [PrivateKey.generate() for _ in range(2)]
    paths = []
    for end, (own, other) in enumerate([keys, keys[::-1]]):
        (path := tmp_path / f"{end}.conf").write_text(
            f"""[Interface]
PrivateKey = {keyText(own.secret())}
Address = 10.9.0.{end + 1}/24, fd09::{end + 1}/64
{"ListenPort = 51820" if end else ""}

[Peer]
PublicKey = {keyText(other.public)}
AllowedIPs = 10.9.0.{2 - end}/32, fd09::{2 - end}/128
{"" if end else "Endpoint = 127.0.0.1:51820"}
"""
        )
        path.chmod(0o600)
        paths.append(path)
    return paths


def test_theWireGuardHostServesAPeerWithoutPrivilege(namespace: Namespace, tmp_path: Path) -> None:
    needRoot()
    peer, own = _configurations(tmp_path)
    with running(tmp_path, "wireguard_host.py", str(own), before=unprivileged()) as example:
        example.untilPrinted(r"^ready: UDP port 51820 http://10\.9\.0\.2/ http://\[fd09::2\]/$")
        output = tmp_path / "peer"
        words = ["-n", "--pidfile=", "tuntap", "wireguard", "--tun", "ttpeer", "--no-uapi", "--config", str(peer)]
        command = [str(Path(sys.executable).parent / "twistd"), *words]
        with output.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, cwd=EXAMPLES.parent)
        try:
            untilHas("ttpeer", "fd09::1")
            for host, address in ("10.9.0.2", "10.9.0.1"), ("[fd09::2]", "fd09::1"):
                with urlopen(f"http://{host}/", timeout=PATIENCE) as response:
                    said = response.read().decode()
                assert re.fullmatch(rf"Hello, \S{{43}}= at {address}\.\n", said)
            example.untilPrinted(r"^a session with \S{43}= has begun, at 127\.0\.0\.1:\d+$")
        finally:
            process.terminate()
            process.wait(PATIENCE)
        assert "Traceback" not in output.read_text()


def test_theWireGuardUnitTellsWhenItIsReady(namespace: Namespace, tmp_path: Path) -> None:
    # This machine may not run systemd, so run the unit's command as systemd would.
    needRoot()
    unit: dict[str, str] = {}
    for line in (EXAMPLES / "txtuntap-wireguard@.service").read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            unit[name] = value
    assert (unit["Type"], unit["CapabilityBoundingSet"]) == ("notify", "CAP_NET_ADMIN")
    path = _configurations(tmp_path)[1]
    command = shlex.split(unit["ExecStart"].replace("/etc/wireguard/%i.conf", str(path)).replace("%i", "ttunit"))
    bounded = [tool("setpriv"), "--bounding-set=-all,+net_admin", "--inh-caps=-all", "--no-new-privs"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, (tmp_path / "output").open("wb") as file:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        process = subprocess.Popen(
            [*bounded, *command],
            stdout=file,
            stderr=file,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
            },
            cwd=EXAMPLES.parent,
        )
        try:
            assert manager.recv(99) == b"READY=1"
            untilHas("ttunit", "fd09::2")
            assert run(tool("wg"), "show", "ttunit", "listen-port") == "51820\n"
        finally:
            process.terminate()
            process.wait(PATIENCE)
    assert interfaces() == set()
    assert not Path("/var/run/wireguard/ttunit.sock").exists()


def test_severalProcessesAnswerOnTheQueues(namespace: Namespace, tmp_path: Path) -> None:
    with running(tmp_path, "queues.py", "3") as example:
        example.untilPrinted("^on tun0, 10.0.0.2, port 7: 3 workers$")

        def workers() -> set[bytes]:
            found = set()
            for _ in range(8):
                with asking("10.0.0.2", b"hello\n") as answer:
                    found.add(until(answer, "an answer"))
            return found

        until(lambda: len(workers()) >= 2, "answers of several workers")
        assert "Traceback" not in example.printed()


def test_theBadLinkLosesPacketsAndCountsThem(namespace: Namespace, tmp_path: Path) -> None:
    with running(tmp_path, "bad_link.py", "delay 20ms loss 50%"):
        untilHas("tun0", "10.0.0.1")
        # Half of the requests and of the replies are lost: some pings are answered and some not, all but once in 10^12.
        said = run(tool("sh"), "-c", f"ping -c100 -i0.01 -W{PATIENCE:.0f} 10.0.0.2 || true")
        assert " 0% packet loss" not in said
        assert min(float(found) for found in re.findall(r"time=([\d.]+) ms", said)) > 39.9
    assert re.search(r"^\{.*'inLost': \d+", (tmp_path / "output").read_text(), re.MULTILINE)


def test_theMetricsAreServed(namespace: Namespace, tmp_path: Path) -> None:
    def asked() -> float:
        with urlopen("http://127.0.0.1:9100/metrics", timeout=PATIENCE) as response:
            text = response.read().decode()
        name = 'txtuntap_events_total{event="inEchos",interface="tun0",part="icmp"}'
        (value,) = (line.removeprefix(name) for line in text.splitlines() if line.startswith(name))
        return float(value)

    with running(tmp_path, "metrics.py") as example:
        pingUntilAnswered("10.0.0.2")
        before = asked()
        run(tool("ping"), "-c5", "-i0.1", "10.0.0.2")
        # ping may end before its last request is answered.
        until(lambda: asked() - before >= 5, "the pings to be counted")
        assert asked() - before == 5
        example.untilPrinted(r"per second: \{.*'inPackets': \d+\.\d[,}]")


def test_theQEMUClientPingsTheGuest(beyond: Beyond, tmp_path: Path) -> None:
    qemu(beyond, f"stream,server=on,addr.type=inet,addr.host={FAR},addr.port=5000")
    with running(tmp_path, "qemu_client.py", f"tcp:{FAR}:5000", "10.9.0.1/24", THERE_ADDRESS) as example:
        example.untilPrinted(rf"^{THERE_ADDRESS} answers: 56 octets$")
        beyond.run("ping", "-c1", "10.9.0.1")


def test_theVXLANClientPingsTheKernel(beyond: Beyond, tmp_path: Path) -> None:
    vxlan(beyond)
    arguments = f"udp:{FAR}:4789", "42", "10.9.0.1/24", THERE_ADDRESS
    with running(tmp_path, "vxlan_to_kernel.py", *arguments) as example:
        example.untilPrinted(rf"^{THERE_ADDRESS} answers: 56 octets$")
        beyond.run("ping", "-c1", "-s", "1402", "-M", "do", "10.9.0.1")


@pytest.mark.parametrize("mode", ["tun", "tap"])
def test_theTunnelOverTCPCarriesPings(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    with joined() as places:
        outputs = [tmp_path / "listen", tmp_path / "connect"]
        endpoints = "tcp:4000", f"tcp:{places[0].address}:4000"

        def start(index: int) -> subprocess.Popen[bytes]:
            output = outputs[index]
            example = [sys.executable, str(EXAMPLES / f"{mode}_over_tcp.py"), "tt0", f"{places[index].inner}/24"]
            with output.open("wb") as file:
                return subprocess.Popen([*example, output.name, endpoints[index]], stdout=file, stderr=file)

        processes = [places[0].call(lambda: start(0)), places[1].call(lambda: start(1))]
        try:
            places[1].call(lambda: pingUntilAnswered(places[0].inner))
        finally:
            for process in processes:
                process.terminate()
                process.wait(PATIENCE)
        for output in outputs:
            assert "'inPackets'" in output.read_text(), output.read_text()
            assert "Traceback" not in output.read_text()


def test_theVPNCarriesPings(namespace: Namespace) -> None:
    needRoot()
    printed = run(sys.executable, EXAMPLES / "vpn.py")
    assert " 0% packet loss" in printed
    assert "Traceback" not in printed
