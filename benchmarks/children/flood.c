/*
 * flood ADDRESS PORT SIZE SECONDS COUNT: send UDP datagrams as fast as one process can. Each is in an IPv4 packet of
 * SIZE octets, headers included. One system call sends COUNT datagrams (UDP_SEGMENT, udp(7)). The program ends after
 * SECONDS, even if its parent process has ended before.
 *
 * flood ADDRESS PORT SIZE SECONDS COUNT FILE GRO: also count the answers, in FILE. If GRO is 1, one system call receives
 * many answers (UDP_GRO); if it is 0, one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>

#include "count.h"

#define HEADERS (20 + 8)

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

int main(int argc, char **argv)
{
    static char payload[65536], answer[65536];
    struct sockaddr_in to = {.sin_family = AF_INET};
    volatile unsigned long *count = argc == 8 ? counted(argv[6]) : NULL;
    int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1, room = 8 << 20;
    size_t size, all;

    if ((argc != 6 && argc != 8) || fd < 0)
        return 2;
    to.sin_port = htons(atoi(argv[2]));
    size = atoi(argv[3]) - HEADERS;
    all = size * atoi(argv[5]);
    if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || all > sizeof payload - HEADERS)
        return 2;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        return 1;
    if (all > size) {
        int segment = size;
        if (setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment) < 0)
            return 1;
    }
    if (count && atoi(argv[7]) && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on) < 0)
        return 1;
    if (count)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    for (size_t i = 0; i < all; i++)
        payload[i] = (char)i;
    alarm(atoi(argv[4]));
    for (;;) {
        ssize_t length;

        (void)!send(fd, payload, all, 0);
        while (count && (length = recv(fd, answer, sizeof answer, MSG_DONTWAIT)) > 0)
            *count += (length + size - 1) / size;
    }
}
