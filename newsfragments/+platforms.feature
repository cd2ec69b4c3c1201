**Platforms.** macOS, FreeBSD, OpenBSD and NetBSD have devices, configuration and a helper, which nobody has run on a real machine yet (`docs/platforms.md`). The package can be imported everywhere.
