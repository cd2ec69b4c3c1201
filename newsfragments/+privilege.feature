**Privilege.** A helper gives devices to programs without privilege, by rules. A descriptor can also come from a parent process, a socket or systemd (`docs/privilege.md`).
