**Several processes.** `twistd tuntap host --queues N` and `txtuntap.device.linux.queues` read one device with several processes.
