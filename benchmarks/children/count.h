/*
 * A count in the first eight octets of a file. The parent process reads it while the program runs.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile unsigned long *counted(const char *file)
{
    int fd = open(file, O_RDWR);
    void *memory = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (memory == MAP_FAILED)
        exit(2);
    return memory;
}
