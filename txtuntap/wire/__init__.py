"""
Header formats: functions that parse and pack the headers of packets.

The modules import only the standard library and attrs, and have neither state nor a clock. Every multi-byte field on
the wire is big-endian ("network order"). On the hot path, the layers above use the C{struct.Struct}s of these modules
directly. The header classes are for applications that want all fields by name.
"""
