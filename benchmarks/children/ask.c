/*
 * ask ADDRESS PORT WINDOW SECONDS: send DNS queries for www.example.test to a server, WINDOW of them under way at a time,
 * and a new one for each answer. Print the number of answers, and the seconds in which they were received. After a tenth
 * of a second without an answer, all queries under way are given up.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

static const unsigned char question[] = "\0\0\1\0\0\1\0\0\0\0\0\0\3www\7example\4test\0\0\1\0\1";

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    unsigned char data[sizeof question - 1], answer[1500];
    struct sockaddr_in to = {.sin_family = AF_INET};
    struct timeval patience = {.tv_usec = 100000};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    unsigned number = 0, answers = 0, window, missing;
    double begin, seconds;

    if (argc != 5 || fd < 0 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
        return 2;
    to.sin_port = htons(atoi(argv[2]));
    window = missing = atoi(argv[3]);
    seconds = atof(argv[4]);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        return 1;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = question[i];
    begin = now();
    while (now() - begin < seconds) {
        for (; missing; missing--, number++) {
            data[0] = number >> 8;
            data[1] = number;
            if (send(fd, data, sizeof data, 0) < 0)
                return 1;
        }
        /* An answer has the response code 0 and one record. */
        ssize_t length = recv(fd, answer, sizeof answer, 0);
        if (length < 0)
            missing = window;
        else if (length < 12 || (answer[3] & 15) || answer[7] != 1)
            return 3;
        else
            answers++, missing = 1;
    }
    printf("%u %f\n", answers, now() - begin);
    return 0;
}
