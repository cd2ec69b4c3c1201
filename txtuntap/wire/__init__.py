"""
Header formats: functions that parse and pack the headers of packets.

The modules import only the standard library and attrs, and have neither state nor a clock. Every multi-byte field of a
protocol header is big-endian ("network order"). Offload headers and capture files have other byte orders. On the hot
path, the layers above use the C{struct.Struct}s of these modules
directly. The header classes are for applications that want all fields by name.
"""
