**Switch.** `Switch` and `twistd tuntap switch` forward frames between taps, tunnels and hosts, with VLANs, isolated ports, storm control and static stations (`docs/switch.md`).
