"""
The protocols that make a host out of an IP layer: ICMP, ARP, neighbour discovery, IGMP and MLD, autoconfiguration.
L{Host<txtuntap.stack.host.Host>} puts them together.
"""
