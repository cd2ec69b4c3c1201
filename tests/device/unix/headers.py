"""
The numbers of a platform, as a compiler finds them in the headers of that platform. C{zig cc} has the headers of macOS
and the BSDs, and compiles for them on every machine.
"""

from __future__ import annotations

import re
import subprocess
import venv
from collections.abc import Iterable
from pathlib import Path

#: The headers with the numbers of the table. A platform has some of them.
HEADERS = """
    sys/types.h sys/param.h sys/socket.h sys/sockio.h sys/ioctl.h sys/un.h sys/ucred.h sys/uio.h sys/sys_domain.h
    sys/kern_control.h sys/filio.h errno.h fcntl.h ifaddrs.h stddef.h net/if.h net/if_var.h net/if_dl.h net/route.h
    sys/sysctl.h net/if_types.h net/if_utun.h net/if_tun.h net/if_tap.h net/bpf.h net/ndrv.h net/ethernet.h
    netinet/in.h netinet/in_var.h netinet6/in6_var.h netinet6/nd6.h linux/if_tun.h
"""

#: The numbers of macOS whose headers the compiler does not have (C{netinet6/in6_var.h}, C{sys/sys_domain.h} and the
#: private C{net/if_fake_var.h}). The table has them from the source of its kernel.
ABSENT = {
    "SIOCAIFADDR_IN6",
    "SIOCDIFADDR_IN6",
    "sizeof(in6_aliasreq)",
    "in6_aliasreq.ifra_addr",
    "in6_aliasreq.ifra_prefixmask",
    "in6_aliasreq.ifra_flags",
    "in6_aliasreq.ifra_lifetime",
    "sizeof(in6_addrlifetime)",
    "AF_SYS_CONTROL",
    "SYSPROTO_CONTROL",
    "SYSPROTO_EVENT",
    "sizeof(if_fake_request)",
    "if_fake_request.iffr_u",
    "IF_FAKE_S_CMD_SET_PEER",
    "IF_FAKE_G_CMD_GET_PEER",
}

#: A label of the assembler, and the number behind it.
_NUMBER = re.compile(r"^_?number(\d+):\s*\n\s*\.(?:quad|xword|8byte)\s+(\d+)", re.MULTILINE)


def install(folder: Path) -> list[str]:
    """
    Install the compiler from PyPI, in an environment of its own because it is large.

    @return: the beginning of its command line.
    """
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "ziglang"], check=True)
    return [python, "-m", "ziglang", "cc"]


def numbers(compiler: list[str], target: str, names: Iterable[str], folder: Path) -> dict[str, int]:
    """
    Find numbers in the headers of a platform.

    @param compiler: the beginning of the compiler's command line.
    @param target: the processor and the platform, such as C{aarch64-macos}.
    @param names: the names of constants, the sizes of structures (C{sizeof(ifreq)}) and the positions of their fields
        (C{ifreq.ifr_ifru}).
    @param folder: a directory for files.
    """
    listed = list(names)
    lines = [f"#if __has_include(<{each}>)\n#include <{each}>\n#endif" for each in HEADERS.split()]
    # The compiler reserves space for a 0, instead of writing it down.
    lines += [
        f"unsigned long long number{at} = 1ULL + (unsigned)({_expression(name)});" for at, name in enumerate(listed)
    ]
    source, assembly = folder / f"{target}.c", folder / f"{target}.s"
    source.write_text("\n".join(lines) + "\n")
    command = [
        *compiler,
        "-target",
        target,
        "-D_GNU_SOURCE",
        "-D_NETBSD_SOURCE",
        "-S",
        str(source),
        "-o",
        str(assembly),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr)
    found = {int(at): int(value) - 1 for at, value in _NUMBER.findall(assembly.read_text())}
    return {name: found[at] for at, name in enumerate(listed)}


def _expression(name: str) -> str:
    if name.startswith("sizeof("):
        return name.replace("(", "(struct ")
    structure, _, field = name.partition(".")
    return f"offsetof(struct {structure}, {field})" if field else name
