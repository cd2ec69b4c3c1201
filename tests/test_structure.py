"""
Who may import whom: the picture in the documentation, held.
"""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

import txtuntap
from tests.paths import EXAMPLES

ROOT = pathlib.Path(txtuntap.__file__).parent

BASE = {"wire", "transports", "packet", "interfaces", "mistakes"}
LAYERS = {
    *("raw", "layer", "adapters", "ethernet", "addresses", "routing", "fragments", "ip", "ipoutput", "rawudp"),
    *("flow", "udpinterfaces", "udptransport", "train", "udpheaders", "multicast", "loopback", "pathmtu"),
}

#: What each module or package may import of the others.
MAY_IMPORT: dict[str, set[str]] = {
    "wire": set(),
    "transports": {"wire"},
    "packet": {"wire", "transports"},
    "interfaces": {"packet", "transports", "wire"},
    "raw": {"interfaces"},
    "addresses": {"mistakes", "wire"},
    "fragments": BASE,
    "layer": BASE,
    "loopback": BASE,
    "pathmtu": set(),
    "adapters": BASE | {"layer"},
    "ethernet": BASE | {"layer", "adapters"},
    "routing": BASE | {"addresses"},
    "ip": BASE | {"fragments", "layer", "adapters", "ipoutput", "loopback"},
    "ipoutput": BASE | {"addresses", "fragments", "layer", "ethernet", "routing", "loopback", "pathmtu"},
    "rawudp": BASE | {"flow", "layer", "udpinterfaces", "udptransport"},
    "udptransport": BASE | {"flow", "multicast", "train", "udpheaders", "udpinterfaces"},
    "flow": BASE | {"layer"},
    "train": BASE | {"udpheaders"},
    "udpheaders": BASE,
    "udpinterfaces": BASE | {"layer"},
    "multicast": BASE | {"udpinterfaces"},
    "device": BASE | {"shutdown"},
    "forwarding": BASE,
    "clock": set(),
    "mistakes": set(),
    "shutdown": set(),
    "tokenbucket": set(),
    "switch": BASE | {"stations", "switchport", "tokenbucket"},
    "switchport": BASE | {"forwarding", "layer", "stations", "tokenbucket"},
    "stations": BASE,
    "network": BASE | {"clock", "device", "link", "middleware", "stack", "switch", "switchport", "tuntap"},
    "link": BASE | {"adapters", "forwarding", "layer"},
    "middleware": BASE | {"adapters", "forwarding", "layer"},
    "replay": BASE | {"adapters", "layer"},
    "tunnel": BASE | {"device", "forwarding", "layer", "shutdown", "tokenbucket"},
    "tuntap": BASE | LAYERS | {"device", "shutdown"},
    "testing": {"mistakes", "clock", "device", "wire"},
    "stack": BASE | LAYERS | {"tokenbucket"},
    "command": BASE | {"capturecommand", "device"},
    "capturecommand": {"device", "middleware", "service", "wire"},
    "echo": {"mistakes", "tokenbucket"},
    "queues": {"device", "mistakes", "shutdown"},
    "service": BASE
    | {"addresses", "clock", "device", "echo", "ethernet", "layer", "link", "middleware", "queues", "stack", "switch"}
    | {"shutdown", "tunnel", "tuntap"},
}


def importedBy(path: pathlib.Path) -> set[str]:
    """
    The first part of the name below txtuntap of everything that a module imports.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "txtuntap":
            names |= {f"txtuntap.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[1] for name in names if name.startswith("txtuntap.")}


def printed(program: str, *options: str) -> str:
    """
    What a program prints that another Python runs, which has imported nothing yet.
    """
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


class ImportTests(SynchronousTestCase):
    """
    The modules' imports.
    """

    def test_modulesImportOnlyWhatTheyMay(self) -> None:
        for path in ROOT.rglob("*.py"):
            room = path.relative_to(ROOT).parts[0].removesuffix(".py")
            if room != "__init__":
                self.assertLessEqual(importedBy(path) - {room}, MAY_IMPORT[room], str(path))

    def test_wireImportsTheStandardLibraryOnly(self) -> None:
        for path in (ROOT / "wire").glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module:
                    top = node.module.split(".")[0]
                    self.assertTrue(top in sys.stdlib_module_names or node.module.startswith("txtuntap.wire"), path)

    def test_importingInstallsNoReactorAndTakesNoExtras(self) -> None:
        program = (
            "import sys, txtuntap, txtuntap.testing, txtuntap.service, txtuntap.device.linux, txtuntap.middleware;"
            "from twisted.plugins import txtuntap_plugin; names = 'twisted.internet.reactor', 'pyroute2';"
            "print([name for name in (*names, 'prometheus_client') if name in sys.modules])"
        )
        self.assertEqual("[]", printed(program))

    def test_whoeverConfiguresHasImportedPyroute2Before(self) -> None:
        # That takes longer than a reactor may be kept from its work.
        program = (
            "import sys, txtuntap.device.configure; before = set(sys.modules);"
            "print(txtuntap.device.configure.configureInterface('lo', up=None).changes,"
            " [name for name in sys.modules if name not in before])"
        )
        self.assertEqual("[] []", printed(program))

    def test_onlyDevicesAndTheirConfigurationNeedLinux(self) -> None:
        program = (
            "import sys; sys.modules.update(dict.fromkeys(['fcntl', 'grp', 'pwd']));"
            "import txtuntap, txtuntap.testing, txtuntap.service, txtuntap.device.settings"
        )
        self.assertEqual("", printed(program))


class OptimizedTests(SynchronousTestCase):
    """
    What C{python -O} leaves out, and C{-OO}: assertions and docstrings. Nothing depends on them.
    """

    def test_assertionsAreForTheTypeCheckerOnly(self) -> None:
        for path in (*ROOT.rglob("*.py"), *EXAMPLES.glob("*.py")):
            if path.name.startswith("test_"):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Assert):
                    self.assertRegex(ast.unparse(node.test), r"^[\w.]+ is not None$", f"{path}: line {node.lineno}")

    def test_nobodyReadsDocstrings(self) -> None:
        for path in (*ROOT.rglob("*.py"), *EXAMPLES.glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
                    name = node.id if isinstance(node, ast.Name) else node.attr
                    self.assertNotIn(name, ("__doc__", "getdoc"), f"{path}: line {node.lineno}")

    def test_everyOptionIsExplainedWithoutThem(self) -> None:
        program = (
            "from txtuntap.service.options import Options;"
            "print([(kind, name) for kind, _, options, _ in Options.subCommands for name in dir(options)"
            " if name.startswith('opt_') and not getattr(options, name).__doc__])"
        )
        # Those of Twisted's own have none then.
        own = [(kind, name) for kind in ("host", "switch", "tunnel") for name in ("opt_help", "opt_version")]
        self.assertEqual(str(own), printed(program, "-OO"))

    def test_everyModuleCanBeImported(self) -> None:
        program = (
            "import pkgutil, importlib, txtuntap;"
            "[importlib.import_module(each.name) for each in pkgutil.walk_packages(txtuntap.__path__, 'txtuntap.')];"
            "print('all')"
        )
        self.assertEqual("all", printed(program, "-OO"))
