/*
 * roundtrip ADDRESS PORT SIZE SECONDS CPU FILE: send a datagram of SIZE octets, wait for the answer, and repeat that for
 * SECONDS, on the CPU of number CPU. Count the answers in FILE.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "count.h"

int main(int argc, char **argv)
{
    static char payload[65536], answer[65536];
    struct sockaddr_in to = {.sin_family = AF_INET};
    struct timeval patience = {.tv_sec = 5};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    volatile unsigned long *count;
    size_t size;
    cpu_set_t cpus;

    if (argc != 7 || fd < 0 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
        return 2;
    to.sin_port = htons(atoi(argv[2]));
    size = atoi(argv[3]);
    CPU_ZERO(&cpus);
    CPU_SET(atoi(argv[5]), &cpus);
    if (size > sizeof payload || sched_setaffinity(0, sizeof cpus, &cpus) < 0)
        return 2;
    count = counted(argv[6]);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        return 1;
    alarm(atoi(argv[4]));
    for (;;) {
        if (send(fd, payload, size, 0) < 0 || recv(fd, answer, sizeof answer, 0) != (ssize_t)size)
            return 1;
        ++*count;
    }
}
