**Observation.** `txtuntap capture`, `txtuntap connections` and `txtuntap wireguard show` ask a running service for its packets, connections and peers. SIGUSR2 logs the counters of a service.
