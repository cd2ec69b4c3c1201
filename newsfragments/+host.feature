**Hosts.** `Host` is a whole IP host: ARP and neighbour discovery, ICMP, ping, path MTU, multicast groups, IPv6 autoconfiguration, and answers for whole networks. `twistd tuntap host` runs one.
