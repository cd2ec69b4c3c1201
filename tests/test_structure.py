"""
Tests that imports between the modules keep the order in the documentation.
"""

from __future__ import annotations

import ast
import errno
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterable

import pytest
from twisted.trial.unittest import SynchronousTestCase

import txtuntap
from tests.paths import CHECKOUT, EXAMPLES

ROOT = pathlib.Path(txtuntap.__file__).parent

#: The folders and files of the package. Each may import those on earlier lines, and none on its own line.
ORDER = [
    {"wire", "mistakes", "output", "shutdown", "version"},
    {"transports"},
    {"packet"},
    {"interfaces"},
    {"layer", "raw"},
    {"device"},
    {"udp", "tcp", "ethernet", "middleware", "switch"},
    {"rawudp"},
    {"ip"},
    {"tuntap", "stack", "tunnel", "wireguard"},
    {"network"},
    {"testing", "service"},
    {"command"},
]


def moduleName(path: pathlib.Path) -> str:
    """
    Return the dotted name of a module without C{txtuntap.}; the empty string for the package itself.
    """
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip(".")


MODULES = {moduleName(path): path for path in sorted(ROOT.rglob("*.py"))}


def importedBy(path: pathlib.Path, forTypes: bool = True) -> set[str]:
    """
    Find the modules of the package that a module imports, including imports in functions.

    @param forTypes: whether imports for the type checker count, too.
    """
    names: set[str] = set()
    tree = ast.parse(path.read_text())
    ignored: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not forTypes:
            ignored |= {each for child in node.body for each in ast.walk(child)}
    for node in set(ast.walk(tree)) - ignored:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    imported = set()
    for name in names:
        if name == "txtuntap" or name.startswith("txtuntap."):
            below = name.removeprefix("txtuntap").lstrip(".")
            imported.add(below if below in MODULES else below.rpartition(".")[0])
    return imported


def topOf(module: str) -> str:
    """
    Return the folder of a module, or the name of the module if it is a top-level file.
    """
    return module.partition(".")[0]


#: The folders of platforms.
PLATFORMS = {f"device.{each}" for each in ("linux", "darwin", "bsd", "unix")}


def importable(without: set[str]) -> list[str]:
    """
    List the modules of the package, except those in some folders.
    """
    return [
        ".".join(filter(None, ("txtuntap", module)))
        for module in MODULES
        if not any(module == each or module.startswith(f"{each}.") for each in without)
    ]


def importing(modules: list[str], platform: str, absent: Iterable[str]) -> str:
    """
    Write a program that imports modules as another platform would, and prints those of Linux's folder that this loads.

    @param platform: the value of C{sys.platform}.
    @param absent: the modules that this platform lacks.
    """
    return (
        # The standard library reads the settings of macOS's proxies by a module that only macOS has.
        f"import sys, time, urllib.request; from importlib import import_module; sys.platform = {platform!r};"
        "[delattr(time, name) for name in dir(time) if name.startswith('CLOCK')];"
        f"sys.modules.update(dict.fromkeys({list(absent)}));"
        f"[import_module(name) for name in {modules}];"
        "print([name for name in sys.modules if 'device.linux' in name])"
    )


def printed(program: str, *options: str) -> str:
    """
    Run a program in a new Python process, and return its output.

    @param options: options of the interpreter.
    """
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


class ImportTests(SynchronousTestCase):
    """
    Tests for the imports of the modules.
    """

    def test_importsRunDownward(self) -> None:
        level = {each: number for number, tops in enumerate(ORDER) for each in tops}
        self.assertEqual({topOf(module) for module in MODULES} - {""}, set(level))
        for module, path in MODULES.items():
            for imported in importedBy(path) if module else ():
                if topOf(imported) != topOf(module):
                    self.assertLess(
                        level.get(topOf(imported), -1), level[topOf(module)], f"{module} imports {imported}"
                    )

    def test_nothingBelowImportsThePackageItself(self) -> None:
        for module, path in MODULES.items():
            if module:
                self.assertNotIn("", importedBy(path), module)

    def test_noCircleOfImports(self) -> None:
        imports = {module: importedBy(path) - {module} for module, path in MODULES.items()}
        while imports:
            free = {module for module, others in imports.items() if not others & imports.keys()}
            self.assertTrue(free, f"a circle among {sorted(imports)}")
            imports = {module: others for module, others in imports.items() if module not in free}

    def test_wireImportsTheStandardLibraryOnly(self) -> None:
        for path in (ROOT / "wire").glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module:
                    top = node.module.split(".")[0]
                    self.assertTrue(top in sys.stdlib_module_names or node.module.startswith("txtuntap.wire"), path)

    def test_importingInstallsNoReactorAndTakesNoExtras(self) -> None:
        program = (
            "import sys, txtuntap, txtuntap.testing, txtuntap.service, txtuntap.device.linux, txtuntap.middleware;"
            "import txtuntap.service.endpoints; from twisted.plugins import txtuntap_plugin;"
            "names = 'twisted.internet.reactor', 'pyroute2';"
            "print([name for name in (*names, 'prometheus_client') if name in sys.modules])"
        )
        self.assertEqual("[]", printed(program))

    def test_thePluginImportsNoOtherModuleOfThePackage(self) -> None:
        # Every program that uses an endpoint string, such as tcp6:80, imports all plugins.
        program = (
            "import sys; from twisted.plugins import txtuntap_plugin;"
            "print([name for name in sys.modules if name.partition('.')[0] in ('txtuntap', 'pyroute2')])"
        )
        self.assertEqual("[]", printed(program))

    @pytest.mark.linux
    def test_endpointStringsInstallNoReactor(self) -> None:
        program = (
            "import sys; from twisted.internet.endpoints import clientFromString, serverFromString;"
            "one = serverFromString(None, 'tuntap:tap0:address=10.0.0.2/24:port=80:kernel=10.0.0.1/24');"
            "other = clientFromString(None, 'tuntap:tap0:host=10.0.0.1:port=80');"
            "print('twisted.internet.reactor' in sys.modules, 'pyroute2' in sys.modules)"
        )
        # pyroute2 is imported before the reactor runs, because the import takes long.
        self.assertEqual(f"False {sys.platform == 'linux'}", printed(program))

    @pytest.mark.linux
    def test_importingConfigureImportsPyroute2(self) -> None:
        # The import of pyroute2 takes longer than a running reactor may be blocked.
        program = (
            "import sys, txtuntap.device.configure; before = set(sys.modules);"
            "print(txtuntap.device.configure.configureInterface('lo', up=None).changes,"
            " [name for name in sys.modules if name not in before])"
        )
        self.assertEqual("[] []", printed(program))

    @pytest.mark.unix("the standard library of another platform")
    def test_onlyThePlatformsFoldersNeedTheirPlatform(self) -> None:
        free = importable(PLATFORMS)
        self.assertTrue({f"txtuntap.device.{face}" for face in ("configure", "state", "monitor")} <= set(free))
        absent = "fcntl", "grp", "pwd", "pyroute2", "resource", "syslog", "termios"
        self.assertEqual("[]", printed(importing(free, "plan9", absent)))

    def test_onlyThePlatformsFolderImportsIt(self) -> None:
        # device.unix is shared. Other modules import a platform's folder by device.platform, or for its types.
        for folder in PLATFORMS - {"device.unix"}:
            for module, path in MODULES.items():
                if module != folder and not module.startswith(f"{folder}."):
                    wrong = [each for each in importedBy(path, False) if f"{each}.".startswith(f"{folder}.")]
                    self.assertEqual(wrong, [], module)

    @pytest.mark.unix("the standard library of another platform")
    def test_macOSAndTheBSDsImportNothingOfLinux(self) -> None:
        for platform, folder in ("darwin", "darwin"), ("freebsd14", "bsd"), ("openbsd7", "bsd"), ("netbsd10", "bsd"):
            own = importable(PLATFORMS - {f"device.{folder}", "device.unix"})
            self.assertEqual("[]", printed(importing(own, platform, ["pyroute2"])), platform)

    def test_anUnsupportedPlatformIsNamedInTheError(self) -> None:
        program = (
            "import sys; sys.platform = 'plan9'; from txtuntap.device.state import readInterface\n"
            "try: readInterface('tun0')\n"
            "except OSError as e: print(e.errno, e.strerror)"
        )
        number, _, text = printed(program).partition(" ")
        self.assertEqual(int(number), errno.ENOTSUP)
        self.assertIn("on plan9 yet", text)


class WalkTests(SynchronousTestCase):
    """
    Tests for the walk through the code in CONTRIBUTING.md.
    """

    def test_theFilesOfTheWalkExist(self) -> None:
        rows = re.findall(r"^\| .* \| (.*) \|$", (CHECKOUT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
        paths = [path for row in rows for path in re.findall(r"`([\w/]+(?:\.py|/))`", row)]
        self.assertGreater(len(paths), 40)
        self.assertEqual([path for path in paths if not (ROOT / path).exists()], [])


class OptimizedTests(SynchronousTestCase):
    """
    Tests that nothing depends on assertions, which C{python -O} removes, and on docstrings, which C{-OO} removes.
    """

    def test_assertionsAreForTheTypeCheckerOnly(self) -> None:
        for path in (*ROOT.rglob("*.py"), *EXAMPLES.glob("*.py")):
            if path.name.startswith("test_"):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Assert):
                    self.assertRegex(ast.unparse(node.test), r"^[\w.]+ is not None$", f"{path}: line {node.lineno}")

    def test_noCodeReadsDocstrings(self) -> None:
        for path in (*ROOT.rglob("*.py"), *EXAMPLES.glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
                    name = node.id if isinstance(node, ast.Name) else node.attr
                    self.assertNotIn(name, ("__doc__", "getdoc"), f"{path}: line {node.lineno}")

    def test_everyOptionHasATextWithoutDocstrings(self) -> None:
        program = (
            "from txtuntap.service.options import Options;"
            "print([(kind, name) for kind, _, options, _ in Options.subCommands for name in dir(options)"
            " if name.startswith('opt_') and not getattr(options, name).__doc__])"
        )
        self.assertEqual("[]", printed(program, "-OO"))

    @pytest.mark.linux
    def test_everyModuleCanBeImportedWithoutDocstrings(self) -> None:
        program = (
            "import pkgutil, importlib, txtuntap;"
            "[importlib.import_module(each.name) for each in pkgutil.walk_packages(txtuntap.__path__, 'txtuntap.')];"
            "print('all')"
        )
        self.assertEqual("all", printed(program, "-OO"))
