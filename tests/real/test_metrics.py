"""
The metrics of C{twistd tuntap host --prometheus} agree with the packets that the kernel's programs send.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.real.lab.ending import endOrderly
from tests.real.lab.host import Host, twistd
from tests.real.lab.namespace import PATIENCE, Namespace, interfaces, ip, run, until

ENDPOINT = "tcp:9100:interface=127.0.0.1"
URL = "http://127.0.0.1:9100/metrics"


def scrape() -> dict[tuple[str, ...], float]:
    """
    Read all metrics: values by name and labels, with the labels in the order of their names.
    """
    with urlopen(URL, timeout=PATIENCE) as response:
        assert response.headers.get_content_type() == "text/plain"
        text = response.read().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize("mode", ["tun", "tap"])
def test_pingsAreCounted(namespace: Namespace, tmp_path: Path, mode: str) -> None:
    with Host(tmp_path, mode, more=("--prometheus", ENDPOINT)) as host:
        before = scrape()
        run("ping", "-c5", "-i0.1", "-s100", "10.9.0.2")
        after = before

        def grown(*sample: str) -> float:
            return after.get(sample, 0) - before.get(sample, 0)

        def counted() -> bool:
            nonlocal after
            after = scrape()
            return grown("txtuntap_events_total", "outEchoReps", "tt0", "icmp") >= 5

        # ping may end before its last request is answered.
        until(counted, "the pings to be counted")
        assert grown("txtuntap_events_total", "inEchos", "tt0", "icmp") == 5
        assert grown("txtuntap_events_total", "outEchoReps", "tt0", "icmp") == 5
        for way in "in", "out":
            # The kernel may send packets of its own, too.
            assert grown("txtuntap_packets_total", way, "tt0") >= 5
            assert grown("txtuntap_bytes_total", way, "tt0") >= 5 * 128
        # The metrics have the new name of a renamed interface.
        ip("link", "set", "tt0", "name", "tt1")
        run("ping", "-c1", "10.9.0.2")
        until(lambda: ("txtuntap_packets_total", "in", "tt1") in scrape(), "the name to be known")
        assert scrape()["txtuntap_packets_total", "in", "tt1"] > after["txtuntap_packets_total", "in", "tt0"]
        with pytest.raises(HTTPError):
            urlopen("http://127.0.0.1:9100/", timeout=PATIENCE)
        endOrderly(host)
        # Requests for metrics are not logged.
        assert "GET" not in host.log()


@pytest.mark.parametrize("body", ["Content-Length: 1000000000", "Transfer-Encoding: chunked"])
def test_aRequestWithABodyIsRefusedBeforeTheBodyIsReceived(namespace: Namespace, tmp_path: Path, body: str) -> None:
    with Host(tmp_path, more=("--prometheus", ENDPOINT)) as host:
        scrape()
        before = host.log()
        with socket.create_connection(("127.0.0.1", 9100), PATIENCE) as client:
            client.sendall(f"POST /metrics HTTP/1.1\r\n{body}\r\n\r\n".encode() + b"40000\r\n" + bytes(1 << 18))
            with client.makefile("rb") as answers:
                assert answers.read().startswith(b"HTTP/1.1 405 ")
        scrape()
        assert host.log() == before


def test_slowClientsKeepOutNoOtherClient(namespace: Namespace, tmp_path: Path) -> None:
    with Host(tmp_path, more=("--prometheus", ENDPOINT)), ExitStack() as stack:
        for _ in range(200):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", 9100), PATIENCE))
            # The server may have closed this connection to make room for another one.
            with suppress(ConnectionError):
                client.sendall(b"GET /metr")
        assert scrape()["txtuntap_packets_total", "in", "tt0"] >= 0


def test_dropsAreCountedByReason(namespace: Namespace, tmp_path: Path) -> None:
    with Host(tmp_path, more=("--prometheus", ENDPOINT)):
        run("ping", "-c1", "-W0.2", "10.9.0.77", status=1)
        drop = "txtuntap_drops_total", "tt0", "ip", "inAddrErrors"
        until(lambda: scrape().get(drop, 0) >= 1, "the drop to be counted")


def test_aServiceThatCannotListenMakesNoInterface(namespace: Namespace, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with Host(tmp_path, more=("--prometheus", ENDPOINT)):
        arguments = ["--tun", "tt9", "--address", "10.8.0.2/24", "--prometheus", ENDPOINT]
        process = twistd("-n", "--pidfile=", "tuntap", "host", *arguments, cwd=tmp_path / "other")
        assert process.wait(PATIENCE) != 0
        assert interfaces() == {"tt0"}
    said = (tmp_path / "other" / "twistd.log").read_text()
    assert "Couldn't listen on 127.0.0.1:9100" in said
    assert "Traceback" not in said
    assert "tt9" not in said
