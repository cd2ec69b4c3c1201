/*
 * flood ADDRESS PORT SIZE SECONDS: send IPv4 packets of SIZE octets, headers and all, with UDP, as fast as one process
 * can. It ends by itself after so many seconds, whatever becomes of the one that started it.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADERS (20 + 8)

int main(int argc, char **argv)
{
    static char payload[65536];
    struct sockaddr_in to = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    size_t size;

    if (argc != 5 || fd < 0)
        return 2;
    to.sin_port = htons(atoi(argv[2]));
    size = atoi(argv[3]) - HEADERS;
    if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || size > sizeof payload - HEADERS)
        return 2;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        return 1;
    for (size_t i = 0; i < size; i++)
        payload[i] = (char)i;
    alarm(atoi(argv[4]));
    for (;;)
        (void)!send(fd, payload, size, 0);
}
