/*
 * reader NAME FILE: read packets from the tun device NAME, one with each read(2), and count them in FILE.
 */
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>

#include "count.h"

int main(int argc, char **argv)
{
    static char packet[65536];
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR);
    volatile unsigned long *count;

    if (argc != 3 || fd < 0)
        return 2;
    count = counted(argv[2]);
    strncpy(request.ifr_name, argv[1], IFNAMSIZ - 1);
    if (ioctl(fd, TUNSETIFF, &request) < 0)
        return 1;
    for (;;) {
        /* The count includes a few packets that the kernel itself sends when the link is set up. */
        if (read(fd, packet, sizeof packet) > 0)
            ++*count;
    }
}
