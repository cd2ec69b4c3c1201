/*
 * sink PORT SIZE FILE GRO: receive UDP datagrams with SIZE octets of payload on PORT, and count them in FILE. If GRO is 1,
 * one system call receives many datagrams (UDP_GRO, udp(7)); if it is 0, one.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include "count.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

int main(int argc, char **argv)
{
    static char data[65536];
    struct sockaddr_in own = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1, room = 8 << 20, size;
    volatile unsigned long *count;

    if (argc != 5 || fd < 0)
        return 2;
    own.sin_port = htons(atoi(argv[1]));
    size = atoi(argv[2]);
    count = counted(argv[3]);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    if (bind(fd, (struct sockaddr *)&own, sizeof own) < 0)
        return 1;
    if (atoi(argv[4]) && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on) < 0)
        return 1;
    for (;;) {
        ssize_t length = recv(fd, data, sizeof data, 0);

        if (length < 0)
            return 1;
        *count += (length + size - 1) / size;
    }
}
