"""
The live page in a real browser, headless Chromium.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.examples import snippets
from tests.paths import CHECKOUT
from tests.real.lab.namespace import PATIENCE, Namespace, ip, run, tool, until
from tests.real.lab.pageserver import NAME
from tests.real.lab.warm import Program
from txtuntap.service.observe.page.answers import MAX_WATCHING

#: The switches with which Chromium runs as root and asks no other machine.
_SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1400,1800"),
)


#: The public name of a proxy.
PUBLIC = "www.example.com"

#: The configuration of nginx around that of a location. It writes into its working directory alone.
_NGINX = """
daemon off; user root; pid nginx.pid; error_log stderr;
events {{}}
http {{
    access_log off; client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path other; uwsgi_temp_path other; scgi_temp_path other;
    server {{
        listen 127.0.0.1:80; server_name {name};
        {location}
    }}
}}
"""


@contextmanager
def serving(tmp_path: Path, *names: str) -> Iterator[str]:
    """
    Run the program with the page while the C{with} block runs.

    @param names: the names by which browsers reach the page.

    @return: the address of the page, with its token.
    """
    ip("link", "set", "lo", "up")
    with open(tmp_path / "output", "w") as output:
        program = Program(
            "tests.real.lab.pageserver:main",
            ["page", *names],
            cwd=tmp_path,
            stdout=output,
            environment={"PYTHONPATH": str(CHECKOUT)},
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not (text := (tmp_path / "output").read_text()).endswith("\n"):
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
        yield text.strip()
        program.terminate()
        assert program.wait(PATIENCE) == 0
    finally:
        program.kill()


@pytest.fixture
def url(namespace: Namespace, tmp_path: Path) -> Iterator[str]:
    """
    Run the program with the page.

    @return: the address of the page, with its token.
    """
    with serving(tmp_path) as address:
        yield address


@contextmanager
def browsing(tmp_path: Path, *switches: str) -> Iterator[Any]:
    """
    Run a browser in the namespace while the C{with} block runs.

    @param switches: further switches of Chromium.
    """
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = tool("chromium")
    for switch in (*_SWITCHES, *switches, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(tool("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def browser(url: str, tmp_path: Path) -> Iterator[Any]:
    """
    Run a browser in the namespace, and open the page.
    """
    with browsing(tmp_path) as driver:
        driver.get(url)
        yield driver


@contextmanager
def proxying(directory: Path) -> Iterator[None]:
    """
    Run nginx, as the documentation configures it, while the C{with} block runs.

    @param directory: its working directory.
    """
    (location,) = (each.text for each in snippets() if each.language == "nginx")
    (directory / "nginx.conf").write_text(_NGINX.format(name=PUBLIC, location=location))
    with subprocess.Popen([tool("nginx"), "-p", str(directory), "-c", "nginx.conf", "-e", "stderr"]) as nginx:
        try:
            until(lambda: nginx.poll() is not None or _answers(80), "nginx listens")
            assert nginx.poll() is None
            yield
            nginx.terminate()
            nginx.wait(PATIENCE)
        finally:
            nginx.kill()


def shown(browser: Any, find: Callable[[], Any]) -> Any:
    """
    Wait until the page shows a thing.

    @return: what C{find} returns once it is true.
    """
    deadline = time.monotonic() + PATIENCE
    while not (found := find()):
        assert time.monotonic() < deadline, browser.page_source
        time.sleep(0.1)
    return found


def cell(browser: Any, part: str, name: str) -> int:
    """
    Read a counter from the table of the page; 0 if the table does not have it.
    """
    rows = browser.execute_script(
        "return [...document.querySelectorAll('#counters tbody tr')].map((r) => [...r.cells].map((c) => c.textContent))"
    )
    return next((int(row[2].replace(",", "")) for row in rows if row[:2] == [part, name]), 0)


def test_thePageShowsTrafficInAChromium(browser: Any) -> None:
    shown(browser, lambda: cell(browser, "port", "inPackets") > 0)
    before = cell(browser, "icmp", "inEchos")
    run("ping", "-c", "5", "-i", "0.05", "10.0.0.2")
    shown(browser, lambda: cell(browser, "icmp", "inEchos") >= before + 5)
    assert browser.title == "tap0 - txtuntap"
    assert "token" not in browser.current_url
    picture = browser.execute_script("return document.getElementById('stack').textContent")
    assert all(title in picture for title in ("TuntapPort", "Impairment", "IPProtocol", "UDP"))
    said = browser.find_element("id", "stack").get_attribute("aria-label")
    for layer in "TuntapPort", "Capture", "Impairment", "EthernetProtocol", "IPProtocol", "ICMP", "UDP":
        assert f"{layer}: ↑ " in said
    assert len(browser.find_elements("css selector", ".uplot canvas")) == 3
    flows = browser.find_element("id", "flows").text
    assert "ICMP 10.0.0.2 10.0.0.1" in flows
    # No knob has changed the way of a packet, and nobody was asked but the service.
    requests = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [each["params"]["request"]["url"] for each in requests if each["method"] == "Network.requestWillBeSent"]
    # The new tab, with which Chromium begins, is the browser's own.
    asked = [each for each in urls if not each.startswith(("chrome://", "chrome-untrusted://", "data:"))]
    assert len(asked) > 5
    assert [each for each in asked if not each.startswith("http://127.0.0.1:8080/")] == []
    assert browser.get_log("browser") == []


def test_faultsAreTurnedByTheKeyboard(browser: Any) -> None:
    field = shown(browser, lambda: _visible(browser, "impair-up"))
    browser.execute_script("document.getElementById('interfaces').firstElementChild.focus()")
    keys = webdriverKeys()
    for _ in range(20):
        if browser.switch_to.active_element == field:
            break
        browser.switch_to.active_element.send_keys(keys.TAB)
    assert browser.switch_to.active_element == field
    field.send_keys("lose everything", keys.ENTER)
    answer = browser.find_element("id", "impair-answer")
    shown(browser, lambda: "lose" in answer.text)
    assert answer.get_attribute("class") == "wrong"
    field.send_keys(keys.CONTROL, "a")
    field.send_keys("loss 100%", keys.ENTER)
    shown(browser, lambda: answer.text == "Applied.")
    finished = subprocess.run([tool("ping"), "-c", "2", "-i", "0.1", "-W", "0.3", "10.0.0.2"], capture_output=True)
    assert finished.returncode == 1
    shown(browser, lambda: cell(browser, "impairment", "inLost") >= 2)
    field.send_keys(keys.CONTROL, "a")
    field.send_keys(keys.DELETE, keys.ENTER)
    # The field is empty before the service has made the change.
    shown(browser, lambda: browser.execute_script("return latest.interfaces[0].impairment.up") == "")
    # The first one may wait for the last ARP request that was lost.
    run("ping", "-c", "5", "-i", "0.5", "10.0.0.2")


def test_aCaptureIsStartedStoppedAndRead(browser: Any, tmp_path: Path) -> None:
    shown(browser, lambda: _visible(browser, "capture")).click()
    shown(browser, lambda: "running" in browser.find_element("id", "capture-list").text)
    run("ping", "-c", "3", "-i", "0.05", "10.0.0.2")
    (stop,) = (each for each in browser.find_elements("css selector", "#capture-list button") if each.text == "stop")
    stop.send_keys(webdriverKeys().ENTER)
    shown(browser, lambda: "ended" in browser.find_element("id", "capture-list").text)
    # The keyboard goes on from the place of the button, which has gone.
    assert browser.switch_to.active_element.text == "download"
    shown(browser, lambda: browser.find_element("id", "capture-answer").text == "Capture 1 has ended.")
    octets = browser.execute_async_script(
        "const done = arguments[0];"
        "fetch('captures/1.pcapng').then((a) => a.arrayBuffer()).then((b) => done([...new Uint8Array(b)]))"
    )
    (tmp_path / "trace.pcapng").write_bytes(bytes(octets))
    lines = run("tshark", "-n", "-r", str(tmp_path / "trace.pcapng"), "-Y", "icmp").splitlines()
    assert len(lines) == 6
    (delete,) = (
        each for each in browser.find_elements("css selector", "#capture-list button") if each.text == "delete"
    )
    delete.send_keys(webdriverKeys().ENTER)
    shown(browser, lambda: browser.find_element("id", "capture-list").text == "")
    assert browser.switch_to.active_element.get_attribute("id") == "capture"


def test_aBrowserIsToldWhyItIsRefused(browser: Any, url: str) -> None:
    """
    A service that was started again has another token, so that it refuses the cookie of before.
    """
    shown(browser, lambda: "live" in browser.find_element("id", "status").text)
    browser.execute_script("window.EventSource = class extends EventSource { constructor() { super('none'); } }")
    browser.delete_all_cookies()
    browser.execute_script("watch()")
    shown(browser, lambda: "Open the address that the service has logged" in browser.page_source)


def test_aBrowserThatMayNotWatchShowsReadings(browser: Any, url: str) -> None:
    place = urlsplit(url)
    (cookie,) = browser.get_cookies()
    browser.get("about:blank")
    watching: list[http.client.HTTPConnection] = []

    def watches() -> bool:
        connection = http.client.HTTPConnection(place.netloc, timeout=PATIENCE)
        connection.request("GET", "/events", headers={"Cookie": f"{cookie['name']}={cookie['value']}"})
        isWatching = connection.getresponse().status == 200
        if isWatching:
            watching.append(connection)
        return isWatching and len(watching) == MAX_WATCHING

    # The service notices later that the browser has left.
    shown(browser, watches)
    browser.get(url)
    shown(browser, lambda: cell(browser, "port", "inPackets") > 0)
    assert "live" in browser.find_element("id", "status").text
    assert not watches()
    for each in watching:
        each.close()


#: Two interfaces of one name, each with a connection between the same ends. The first one is renamed after five
#: readings, so that the second one has its name.
_NAMESAKES = """
const give = receive, connection = {
  state: "established", host: {host: "10.0.0.1", port: 7}, peer: {host: "10.0.0.2", port: 9}, congestionWindow: 1,
  sendWindow: 1, roundTrip: 1, octetsIn: 0, octetsOut: 0, octetsAgain: 0, lost: 0, toSend: 0
};
const points = () => document.querySelector("#connections polyline").getAttribute("points").split(" ").length;
const counts = [];
receive = () => {};
history.clear();
for (let at = 1; at <= 10; at++) {
  const names = at <= 5 ? ["tap0", "tap0 (2)"] : ["tap1", "tap0"];
  const interfaces = names.map((name, index) => ({...latest.interfaces[0], number: index + 1, name,
    rates: {inPackets: index + 1, outPackets: 0, inOctets: 0, outOctets: 0, drops: 0},
    connections: {listening: [], shown: [{...connection, congestionWindow: at + 100 * index}], left: 0}}));
  give({...latest, time: latest.time + 1, interfaces});
  if (at === 1) document.querySelectorAll("nav button")[1].click();
  if (at % 5 === 0) counts.push(points());
}
const buttons = [...document.querySelectorAll("nav button")].map((b) => b.textContent + b.ariaPressed);
return [plots.packets.data[1], counts, document.title, buttons];
"""


def test_theCurvesOfInterfacesOfOneNameDoNotMix(browser: Any) -> None:
    shown(browser, lambda: cell(browser, "port", "inPackets") > 0)
    rates, counts, title, buttons = browser.execute_script(_NAMESAKES)
    assert (rates, counts) == ([2] * 10, [5, 10])
    assert (title, buttons) == ("tap0 - txtuntap", ["tap1false", "tap0true"])
    assert browser.get_log("browser") == []


#: The distances between the right edges of each number and its heading, by table, and the page's excess width.
_EDGES = """
const right = (cell) => cell.getBoundingClientRect().right;
const distances = (id) => {
  const table = document.querySelector(`#${id} table`), headings = table.tHead.rows[0].cells;
  const numbers = [...table.tBodies[0].querySelectorAll("td.number")];
  return numbers.map((cell) => Math.round(right(cell) - right(headings[cell.cellIndex])));
};
return [distances("counters"), distances("tables"), document.documentElement.scrollWidth - innerWidth];
"""


def test_headingsStandAboveTheirNumbersOnANarrowScreen(browser: Any) -> None:
    shown(browser, lambda: cell(browser, "port", "inPackets") > 0)
    screen = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    # The browser lays the page out anew, and the plots follow.
    shown(browser, lambda: browser.execute_script(_EDGES)[2] <= 0)
    counters, tables, _ = browser.execute_script(_EDGES)
    assert (set(counters), set(tables)) == ({0}, {0})


def test_thePlotsFillTheHeightOfTheBoxesBesideThem(browser: Any) -> None:
    shown(browser, lambda: cell(browser, "port", "inPackets") > 0)
    shown(browser, lambda: _visible(browser, "impair-up"))
    below = (
        "const bottom = (found) => document.querySelector(found).getBoundingClientRect().bottom;"
        "return bottom('.traffic') - bottom('#drops .uplot')"
    )
    shown(browser, lambda: 0 < browser.execute_script(below) < 20)


def test_aStrangersTextIsText(browser: Any) -> None:
    button = shown(
        browser, lambda: [each for each in browser.find_elements("css selector", "nav button") if each.text == NAME]
    )
    button[0].click()
    shown(browser, lambda: browser.title == f"{NAME} - txtuntap")
    assert browser.find_elements("css selector", "nav img, main img") == []
    assert browser.get_log("browser") == []


def test_theProxyOfTheDocumentationPassesEverything(namespace: Namespace, tmp_path: Path) -> None:
    directory = tmp_path / "nginx"
    directory.mkdir()
    there = f"--host-resolver-rules=MAP {PUBLIC} 127.0.0.1"
    with serving(tmp_path, PUBLIC) as url, proxying(directory), browsing(tmp_path, there) as browser:
        browser.get(f"http://{PUBLIC}/tuntap/?{urlsplit(url).query}")
        shown(browser, lambda: "live" in browser.find_element("id", "status").text)
        run("ping", "-c", "5", "-i", "0.05", "10.0.0.2")
        shown(browser, lambda: cell(browser, "icmp", "inEchos") >= 5)
        shown(browser, lambda: _visible(browser, "impair-up")).send_keys("loss 100%", webdriverKeys().ENTER)
        shown(browser, lambda: browser.find_element("id", "impair-answer").text == "Applied.")
        assert browser.current_url == f"http://{PUBLIC}/tuntap/"
        (cookie,) = browser.get_cookies()
        assert (cookie["domain"], cookie["httpOnly"]) == (PUBLIC, True)
        assert browser.get_log("browser") == []


def _answers(port: int) -> bool:
    """
    Whether a program listens on a port of 127.0.0.1.
    """
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _visible(browser: Any, name: str) -> Any:
    found = browser.find_element("id", name)
    return found if found.is_displayed() else None


def webdriverKeys() -> Any:
    """
    Return selenium's names of keys.
    """
    from selenium.webdriver.common.keys import Keys

    return Keys
