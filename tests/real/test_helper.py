"""
The helper: which devices it gives to which programs, and what stays of them afterwards.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.selectreactor import SelectReactor

from tests.conversation import resultOf
from tests.paths import CHECKOUT, DOCS
from tests.real.lab.asking import askUntilAnswered, station
from tests.real.lab.guest import NOBODY, Guest
from tests.real.lab.helper import Helper, listening, request, requestFor
from tests.real.lab.namespace import PATIENCE, Namespace, another, interfaces, ip, names, needRoot, until
from tests.real.lab.reactors import Run, descriptors, onEachReactor
from txtuntap.device import TAP, TUN
from txtuntap.device.helper import server as service
from txtuntap.device.helper.device import HelpedDevice
from txtuntap.device.helper.permission import DeviceRequest, Peer, Rule
from txtuntap.device.linux import LinuxDevice, leasing
from txtuntap.device.linux.ioctl import IFF_TUN_EXCL
from txtuntap.device.settings import InterfaceSettings
from txtuntap.device.state import readInterface

KINDS = pytest.mark.parametrize("mode", ["tun", "tap"])


@KINDS
def test_aProgramWithoutPrivilegeHasADevice(helper: Helper, mode: str) -> None:
    needRoot()
    with Guest(f"helper {helper.path}", "tt%d", mode) as guest:
        assert guest.said == {"name": "tt0", "mtu": 1400, "user": NOBODY}
        for address in "10.9.0.2", "fd09::2":
            assert askUntilAnswered(address, b"hello") == b"hello"
        assert "up" in guest.tries("up") or "not permitted" in guest.tries("up")
        # The helper deletes the device in spite of that.
        assert guest.tries("persist") == "done"
    until(lambda: not interfaces(), "the device to be deleted")


def test_theDeviceOfADeadProgramIsDeleted(helper: Helper) -> None:
    needRoot()
    with Guest(f"helper {helper.path}", "tt0", "tun") as guest:
        assert guest.tries("persist") == "done"
        guest.kill()
    until(lambda: not interfaces(), "the device to be deleted")
    assert "tt0 is taken back" in helper.log()


def test_aDescriptorOfADeletedDeviceAttachesToADeviceWithoutAnOwner(helper: Helper) -> None:
    # docs/privilege.md says this of a descriptor whose device was deleted.
    needRoot()
    with ExitStack() as left:
        for name, *owner in ("ttfree",), ("ttowned", "user", "0"):
            ip("tuntap", "add", "mode", "tun", "name", name, *owner)
            left.callback(ip, "link", "delete", name)
        with Guest(f"helper {helper.path}", "tt0", "tun") as guest:
            assert guest.tries("attach ttfree") == "File exists"
            assert guest.tries("end the lease") == "done"
            until(lambda: "tt0" not in interfaces(), "the device to be deleted")
            assert guest.tries("attach ttowned") == "Operation not permitted"
            assert guest.tries("attach ttnew") == "Operation not permitted"
            assert guest.tries("attach ttfree") == "done"


def test_settingsOfAnExistingDeviceAreUndone(helper: Helper) -> None:
    ip("tuntap", "add", "mode", "tap", "name", "tt0")
    ip("address", "add", "10.9.0.77/24", "dev", "tt0")
    before = readInterface("tt0")
    device = HelpedDevice("tt0", TAP, InterfaceSettings(addresses=["10.9.0.1/24"], mtu=1400), helper.path)
    with device:
        during = readInterface("tt0")
        assert (device.mtu, during.mtu, during.up) == (1400, 1400, True)
        assert {str(each) for each in during.addresses} >= {"10.9.0.77/24", "10.9.0.1/24"}
        # The device is in use, so a second program is refused.
        with pytest.raises(OSError, match="tt0 is in use"):
            HelpedDevice("tt0", TAP, path=helper.path).open()
    until(lambda: readInterface("tt0").mtu == 1500, "the settings to be undone")
    after = readInterface("tt0")
    assert (after.up, after.addresses) == (False, before.addresses)
    # At once again: the helper undoes the old settings before it makes them again.
    for _ in range(3):
        with device:
            assert readInterface("tt0").mtu == 1400
    until(lambda: readInterface("tt0").mtu == 1500, "the settings to be undone")
    ip("link", "delete", "tt0")


def test_settingsThatCannotBeUndoneAreRefusedOnAnExistingDevice(helper: Helper) -> None:
    ip("tuntap", "add", "mode", "tap", "name", "tt0")
    ip("link", "set", "tt0", "up")
    ip("address", "add", "2001:db8::1/64", "dev", "tt0", "nodad")
    ip("neighbour", "add", "10.9.0.77", "lladdr", "02:00:00:00:00:01", "dev", "tt0")

    def there() -> tuple[object, ...]:
        # An attached device has a carrier, and so the kernel gives it a link-local address.
        state = readInterface("tt0")
        addresses = {str(each) for each in state.addresses if not str(each).startswith("fe80:")}
        return state.up, state.mtu, state.linkAddress, addresses, station("10.9.0.77", "tt0")

    before = there()
    for settings in (
        {"mtu": 1000},
        {"up": False},
        {"linkAddress": "02:00:00:00:00:09"},
        {"neighbours": {"10.9.0.77": "02:00:00:00:00:99"}},
    ):
        answer = helper.answer(requestFor("tt0", "tap", settings))
        assert answer["errno"] == errno.EPERM, answer
        assert "the helper did not make tt0, and could not restore it: " in answer["error"]
        assert there() == before
    ip("link", "delete", "tt0")


def test_aDeviceThatIsDeletedDuringTheRequestIsMade(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    reactor: Any = SelectReactor()
    serving = service.Helper([Rule.of("1234:tt0")], reactor)
    peer, asked = Peer(1, 1234, frozenset()), DeviceRequest("tt0", TUN, None)
    first = LinuxDevice("tt0", TUN)

    class Racing(LinuxDevice):
        def open(self, offload: bool | None = False) -> None:
            if not self._wanted & IFF_TUN_EXCL:
                first.close()
            super().open(offload)

    monkeypatch.setattr(leasing, "LinuxDevice", Racing)
    with first:
        before = readInterface("tt0").index
        opened = Deferred.fromCoroutine(serving.open(peer, asked))
        device, lease, _ = resultOf(opened, lambda: reactor.iterate(0.005))
    reactor.waker.connectionLost(None)
    with device:
        # The helper deletes the device at the end, even if the program makes it persistent.
        assert lease.made
        assert lease.configured.index == readInterface("tt0").index != before


def test_aDeviceOfAnotherOwnerIsRefused(namespace: Namespace, tmp_path: Path) -> None:
    needRoot()
    with Helper(tmp_path, rules=(f"{NOBODY}:tt*", "@4321:tt*")) as helper:
        for whose, user, groups, may in (
            (["user", "1234"], NOBODY, [], False),
            (["user", f"{NOBODY}"], NOBODY, [], True),
            (["group", "4321"], NOBODY, [], False),
            (["group", "4321"], NOBODY, [4321], True),
            (["user", "1234", "group", "4321"], NOBODY, [4321], False),
            (["user", "1234", "group", "4321"], 1234, [4321], True),
        ):
            ip("tuntap", "add", "mode", "tun", "name", "tt0", *whose)
            with Guest(f'helper {helper.path} {{"up": null}}', "tt0", "tun", user=user, groups=groups) as guest:
                if may:
                    assert isinstance(guest.said, dict), guest.said
                else:
                    assert f"tt0 belongs to another owner or group than those of user {user}" in guest.said
            ip("link", "delete", "tt0")


def test_aQueueOfADeviceInUseIsRefused(helper: Helper) -> None:
    ip("tuntap", "add", "mode", "tap", "name", "tt0", "multi_queue")
    with LinuxDevice("tt0", TAP, multiQueue=True):
        assert readInterface("tt0").queues == 1
        answer = helper.answer(requestFor("tt0", "tap"))
        assert (answer["errno"], answer["error"].partition(":")[0]) == (errno.EBUSY, "tt0 is in use")
        assert readInterface("tt0").queues == 1
    with HelpedDevice("tt0", TAP, path=helper.path):
        assert helper.answer(requestFor("tt0", "tap"))["errno"] == errno.EBUSY
    ip("link", "delete", "tt0")


def test_rulesOfUsersAndGroupsApply(helper: Helper) -> None:
    needRoot()
    for user, groups, name, may in (
        (NOBODY, [], "tt7", True),
        (NOBODY, [], "gg%d", False),
        (NOBODY, [], "lo", False),
        (1234, [], "tt7", False),
        (1234, [4321], "gg%d", True),
        (1234, [4321], "gg0", False),
        (4321, [], "gg%d", True),
    ):
        with Guest(f'helper {helper.path} {{"up": true}}', name, "tun", user=user, groups=groups) as guest:
            if may:
                assert isinstance(guest.said, dict), guest.said
            elif user == 1234 and not groups:
                assert "no rule is about user 1234" in guest.said
            else:
                assert f"user {user} may not have '{name}'" in guest.said


def test_theNumberedNameMustMatchTheRule(namespace: Namespace, tmp_path: Path) -> None:
    user = os.getuid()
    with Helper(tmp_path, rules=(f"{user}:tt[!0]*,uu??", f"{user}:gg%d")) as helper:
        for name, given in ("tt%d", "tt0"), ("uu%d", "uu0"):
            answer = helper.answer(requestFor(name))
            assert answer == {"errno": errno.EPERM, "error": f"user {user} may not have '{given}'"}
            assert interfaces() == set()
        for name in "tt%d%d", "tt%d%", "tt%%d", "tt%x":
            assert helper.answer(requestFor(name))["errno"] == errno.EINVAL
        ip("tuntap", "add", "mode", "tun", "name", "tt0")
        for name, given in ("tt%d", "tt1"), ("gg%d", "gg0"):
            with HelpedDevice(name, TUN, path=helper.path) as device:
                assert device.name == given
        ip("link", "delete", "tt0")
        until(lambda: not interfaces(), "the devices to go")


def test_settingsOutsideTheNetworksAreRefused(helper: Helper) -> None:
    for settings in (
        {"addresses": [{"address": "10.8.0.1/24"}]},
        {"addresses": [{"address": "10.9.0.1/8"}]},
        {"addresses": [{"address": "10.9.0.1/24", "broadcast": "192.0.2.1"}]},
        {"addresses": [{"address": "10.9.0.1/32", "peer": "192.0.2.1"}]},
        {"addresses": [{"address": "10.9.0.1/16", "peer": "10.9.0.2"}]},
        {"addresses": [{"address": "192.0.2.1/24", "peer": "10.9.0.2"}]},
        {"addresses": [{"address": "fd09::1/48"}]},
        {"routes": [{"network": "0.0.0.0/0"}]},
        {"routes": [{"network": "10.9.0.0/23"}]},
        {"routes": [{"network": "::/0"}]},
        {"routes": [{"network": "10.9.0.0/24", "source": "127.0.0.1"}]},
        {"routes": [{"network": "10.9.0.0/24", "gateway": "192.0.2.1"}]},
        {"routes": [{"network": "fd09::/80", "gateway": "fe80::1"}]},
        {"neighbours": {"192.0.2.1": "02:00:00:00:00:01"}},
    ):
        answer = helper.answer(request(**settings))
        assert (answer["errno"], "in none of the networks that are allowed" in answer["error"]) == (1, True), answer
        assert interfaces() == set()


def test_aLongQueueIsRefused(helper: Helper) -> None:
    answer = helper.answer(request(txqueuelen=10_000_000))
    assert answer == {"errno": errno.EPERM, "error": "tt0: a txqueuelen of 10000000 is more than 10000"}
    with HelpedDevice("tt0", TUN, InterfaceSettings(txqueuelen=10_000), helper.path):
        assert readInterface("tt0").txqueuelen == 10_000


def test_lastingSettingsAreRefused(helper: Helper) -> None:
    for setting in "owner", "group", "persistent", "carrier":
        assert helper.answer(request(**{setting: 1}))["error"] == f"the helper does not set {setting}"


def test_aRefusalOfTheKernelLeavesNothing(helper: Helper) -> None:
    addresses = [{"address": "10.9.0.1/32"}]
    routes = [{"network": "10.9.0.128/25", "gateway": "10.9.0.200"}]
    answer = helper.answer(request(addresses=addresses, routes=routes))
    assert "cannot add the route 10.9.0.128/25 via 10.9.0.200 through tt0" in answer["error"]
    assert interfaces() == set()
    ip("link", "add", "tt1", "type", "veth", "peer", "name", "tt2")
    with pytest.raises(OSError, match=r"the helper at .*/socket: .*tt1 is not a TUN/TAP interface") as raised:
        HelpedDevice("tt1", TUN, path=helper.path).open()
    assert raised.value.errno == errno.EINVAL
    ip("link", "delete", "tt1")


def test_invalidRequestsAreRefused(helper: Helper) -> None:
    for line in (
        b"\n",
        b"hello\n",
        b"[]\n",
        b"null\n",
        b"1\n",
        b"{}\n",
        b"[" * 16000 + b"\n",
        b'{"name": "tt0", "mode": "tun"}\n',
        b'{"name": "tt0", "mode": "wan", "settings": null}\n',
        b'{"name": 5, "mode": "tun", "settings": null}\n',
        b'{"name": "tt/0", "mode": "tun", "settings": null}\n',
        b'{"name": "a name that is too long", "mode": "tun", "settings": null}\n',
        b'{"name": "tt\\u001b[7m", "mode": "tun", "settings": null}\n',
        b'{"name": "tt0", "mode": "tun", "settings": 7}\n',
        b'{"name": "tt0", "mode": "tun", "settings": {"addresses": 7}}\n',
        b'{"name": "tt0", "mode": "tun", "settings": {"addresses": ["10.9.0.1/24"]}}\n',
        b'{"name": "tt0", "mode": "tun", "settings": {"addresses": [{"address": "10.9.0.1/33"}]}}\n',
        b'{"name": "tt0", "mode": "tun", "settings": {"mtu": "1400"}}\n',
        b'{"name": "tt0", "mode": "tun", "settings": {"mtu": 67}}\n',
        b'{"name": "tt0", "mode": "tun", "settings": {"linkAddress": [1]}}\n',
        b'{"name": "tt0", "mode": "tun", "settings": {"linkAddress": "01:00:00:00:00:00"}}\n',
        b'{"name": "tt0", "mode": "tun", "settings": {"neighbours": [1]}}\n',
        b'{"name": "tt0", "mode": "tun", "settings": {"routes": [{"network": "10.9.0.0/24", "metric": -1}]}}\n',
        b'{"name": "\\ud800", "mode": "tun", "settings": null}\n',
        b"\xff\xfe\n",
    ):
        assert helper.answer(line)["errno"] == errno.EINVAL
        assert interfaces() == set()


def test_unserializableSettingsAreRefused(helper: Helper) -> None:
    for up in "x", [1], -1, 10**30:
        answer = helper.answer(request(up=up))
        assert (answer["errno"], len(answer["error"]) <= 200) == (errno.EINVAL, True), answer
        assert interfaces() == set()


def test_anAddressWithAScopeIsRefused(helper: Helper) -> None:
    answer = helper.answer(requestFor("tt0", "tap", {"neighbours": {"fd09::5%x": "02:00:00:00:00:01"}}))
    assert (answer["errno"], interfaces()) == (errno.EINVAL, set())


def test_aDeviceWithALeaseIsNotGivenAgain(helper: Helper) -> None:
    first = HelpedDevice("tt0", TUN, path=helper.path)
    first.open()
    # The program closes the descriptor, but not the connection to the helper. The lease lasts until that is closed.
    first.setPersistent(True)
    first._device.close()
    answer = helper.answer(requestFor("tt0"))
    assert (answer["errno"], answer["error"].partition(":")[0]) == (errno.EBUSY, "tt0 is in use")
    assert interfaces() == {"tt0"}
    first.close()
    with HelpedDevice("tt0", TUN, path=helper.path):
        assert not readInterface("tt0").persistent


def test_aLeaseThatWaitsForItsEndEndsBeforeTheNext(namespace: Namespace) -> None:
    reactor: Any = SelectReactor()
    serving = service.Helper([Rule.of("1234:tt0"), Rule.of("1235:tt0")], reactor)

    def opened(user: int) -> Any:
        opening = Deferred.fromCoroutine(serving.open(Peer(1, user, frozenset()), DeviceRequest("tt0", TUN, None)))
        return resultOf(opening, lambda: reactor.iterate(0.005))

    device, first, _ = opened(1234)
    with device:
        device.setPersistent(True)
    with pytest.raises(OSError, match="tt0 is in use") as raised:
        opened(1235)
    assert raised.value.errno == errno.EBUSY
    # The first lease's connection has ended, but its end waits for its user's turn.
    begun: Deferred[None] = Deferred()
    serving.turns.take(1234, lambda: begun)
    first.turn = serving.turns.take(1234, lambda: Deferred.fromCoroutine(serving.leases.takeBack(first)))
    first.turn.addErrback(lambda reason: reason.trap(CancelledError))
    device, second, _ = opened(1235)
    with device:
        assert second.made
        assert second.configured.index == readInterface("tt0").index > first.configured.index
        begun.callback(None)
        reactor.iterate(0)
        assert interfaces() == {"tt0"}
    reactor.waker.connectionLost(None)


def test_programsKeepTheirDevicesWhenTheHelperEnds(helper: Helper) -> None:
    device = HelpedDevice("tt0", TUN, InterfaceSettings(addresses=["10.9.0.1/24"]), helper.path)
    with device:
        helper.process.terminate()
        helper.process.wait(PATIENCE)
        assert "10.9.0.1/24" in map(str, readInterface("tt0").addresses)
        device.setCarrier(False)
    with pytest.raises(OSError, match="there is no helper at"):
        device.open()


def test_aHelperWithoutAnAnswerIsAnError(namespace: Namespace, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        with pytest.raises(OSError, match="has not answered in time"):
            HelpedDevice("tt0", TUN, path=path, timeout=0.1).open()
    with pytest.raises(OSError, match=r"there is no helper at .*: Connection refused"):
        HelpedDevice("tt0", TUN, path=path).open()


def test_aHelperThatIsBusyIsWaitedFor(namespace: Namespace, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listening, ExitStack() as stack:
        listening.bind(path)
        listening.listen(0)
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.connect(path)
            with pytest.raises(OSError, match=r"the helper at .* is busy") as raised:
                HelpedDevice("tt0", TUN, path=path, timeout=0.1).open()
            assert raised.value.errno == errno.ETIMEDOUT

            def serve() -> None:
                for _ in range(2):
                    client = stack.enter_context(listening.accept()[0])
                client.send(b'{"errno": 1, "error": "have it later"}\n')

            timer = threading.Timer(0.1, serve)
            timer.start()
            with pytest.raises(OSError, match="have it later"):
                HelpedDevice("tt0", TUN, path=path).open()
            timer.join()


def test_concurrentRequestsGetOneDevice(helper: Helper) -> None:
    before = descriptors()
    device = HelpedDevice("tt%d", TUN, path=helper.path)
    threads = [threading.Thread(target=device._ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert interfaces() == {"tt0"}
    # A child process that is started now does not inherit the descriptor.
    assert device._descriptor is not None
    assert not os.get_inheritable(device._descriptor)
    with device:
        with pytest.raises(OSError, match="is open already"):
            device.open()
        assert device.fileno() >= 0
    assert descriptors() == before


def test_interfacesOfAnotherNamespaceAreGiven(namespace: Namespace, tmp_path: Path) -> None:
    with another() as there, Helper(tmp_path, "--netns", f"/proc/{os.getpid()}/fd/{there}") as helper:
        device = HelpedDevice("tt0", TUN, InterfaceSettings(addresses=["10.9.0.1/24"], mtu=1400), helper.path)
        with device:
            assert (device.mtu, interfaces(), names(there)) == (1400, set(), {"tt0"})
        until(lambda: not names(there), "the device to go")
        ip("tuntap", "add", "mode", "tap", "name", "tt0")
        device = HelpedDevice("tt0", TAP, InterfaceSettings(linkAddress="02:00:00:00:00:09"), helper.path)
        with device:
            assert (device.mtu, device.linkAddress) == (1500, bytes.fromhex("020000000009"))
        ip("link", "delete", "tt0")
        until(lambda: not names(there), "the device to go")


def test_aSocketOfSystemdIsUsed(namespace: Namespace, tmp_path: Path) -> None:
    activate = shutil.which("systemd-socket-activate")
    if activate is None:
        pytest.skip("systemd-socket-activate is missing: apt-get install systemd")
    path = str(tmp_path / "socket")
    rule = f"{os.getuid()}:tt*"
    command = [activate, "--fdname=helper", "-l", path, sys.executable, "-m", "txtuntap.device.helper"]
    command += ["--listen", "systemd:domain=UNIX:name=helper", "--allow", rule]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=log, stderr=log)
    try:
        # systemd starts the helper at the first connection.
        until(lambda: path in listening(), "the socket")
        with HelpedDevice("tt0", TUN, InterfaceSettings(mtu=1400), path) as device:
            assert device.mtu == 1400
        until(lambda: not interfaces(), "the device to go")
    finally:
        process.terminate()
        process.wait(PATIENCE)
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_modulesOfTheWorkingDirectoryAreNotImported(tmp_path: Path) -> None:
    # With -I, as on the page, Python does not run a file of another user. Without -I, it does.
    (tmp_path / "argparse.py").write_text("raise SystemExit('it was run')")
    (line,) = re.findall(r"# python (.+) -m txtuntap.device.helper", (DOCS / "privilege.md").read_text())
    assert f"python {line} -m" in str(service.__doc__)
    for options, run in (line.split(), False), ([], True):
        command = [sys.executable, *options, "-c", "import argparse"]
        finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ("it was run" in finished.stderr) == run


def test_aWrongRuleIsAnErrorInOneLine(tmp_path: Path) -> None:
    for options, words in (
        # tests.device.helper.test_server tries other rules, without a process for each.
        (["--allow", "nobody"], "'nobody' is not a rule: give WHO:NAMES"),
        (["--allow", "nobody:tt0", "--listen", "unix:/nowhere/socket"], "cannot listen on unix:/nowhere/socket"),
        (["--allow", "nobody:tt0", "--listen", "systemd:domain=UNIX:name=helper"], "cannot listen on systemd:"),
    ):
        command = [sys.executable, "-m", "txtuntap.device.helper", *options]
        finished = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert finished.returncode != 0
        assert words in finished.stderr, finished.stderr
        assert "Traceback" not in finished.stderr, finished.stderr


@onEachReactor
async def test_aDeviceIsOpenedWithoutBlocking(run: Run) -> None:
    with tempfile.TemporaryDirectory() as directory, Helper(Path(directory)) as helper:
        for mode in TUN, TAP:
            device = HelpedDevice("tt0", mode, InterfaceSettings(addresses=["10.9.0.1/24"]), helper.path)
            await device.ask(run.reactor)
            assert interfaces() == {"tt0"}
            with device:
                assert device.fileno() >= 0
            await run.until(lambda: not interfaces(), "the device to go")
            await device.ask(run.reactor)
            device.close()
            await run.until(lambda: not interfaces(), "the device to go")
        try:
            await HelpedDevice("no", TUN, path=helper.path).ask(run.reactor)
        except OSError as e:
            assert "may not have 'no'" in str(e)
        else:
            raise AssertionError("the device was given")
