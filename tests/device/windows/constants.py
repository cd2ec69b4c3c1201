"""
The numbers of Windows for C{iphlpapi.dll}: sizes of structures, positions and sizes of their fields, and constants. The
fake DLL has them at its beginning, where a compiler compares them with the headers of Windows.
"""

from __future__ import annotations

import re

from tests.paths import CHECKOUT

_SOURCE = (CHECKOUT / "tests/windows/fakes/fakeiphlpapi.c").read_text()

#: The size of each structure, in octets.
SIZES = {name: int(size) for name, size in re.findall(r"^SIZE\((\w+), (\d+)\)$", _SOURCE, re.MULTILINE)}

#: The position and the size of each field of each structure, in octets. A field of a union has its last name only.
FIELDS: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in SIZES}
for _structure, _field, _position, _size in re.findall(
    r"^FIELD\((\w+), (?:\w+\.)?(\w+), (\d+), (\d+)\)$", _SOURCE, re.MULTILINE
):
    FIELDS[_structure][_field] = int(_position), int(_size)

#: The value of each constant.
NUMBERS = {name: int(value) for name, value in re.findall(r"^NUMBER\((\w+), (\d+)\)$", _SOURCE, re.MULTILINE)}
