**Endpoint strings.** `tuntap:` puts any twistd service or client on an address of its own: `twistd -n web --listen tuntap:tap0:address=10.0.0.2/24:port=80:kernel=10.0.0.1/24` (`docs/endpoints.md`).
