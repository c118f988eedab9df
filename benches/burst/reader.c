/* The least that a reader of a subscription can do: it subscribes, and counts the line ends of what it receives.
 * reader PORT CHANNEL EVENTS: prints "subscribed", then "events CPU-seconds" at the end or when it is cut off. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* An event has seven lines: *3, $7, message, and length and text of channel and payload. */
enum { LINES = 7, CONFIRMATION = 6 };

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    inet_pton(AF_INET, "127.0.0.1", &server.sin_addr);
    int stream = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(stream, (struct sockaddr *)&server, sizeof server) != 0) return 1;
    dprintf(stream, "SUBSCRIBE %s\r\n", argv[2]);
    long wanted = atol(argv[3]) * LINES + CONFIRMATION, lines = 0;
    static char bytes[256 << 10];
    while (lines < wanted) {
        ssize_t size = read(stream, bytes, sizeof bytes);
        if (size <= 0) break;
        int was_subscribed = lines >= CONFIRMATION;
        for (char *at = bytes, *end = bytes + size; (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++) lines++;
        if (!was_subscribed && lines >= CONFIRMATION) {
            puts("subscribed");
            fflush(stdout);
        }
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("%ld %.4f\n", (lines - CONFIRMATION) / LINES, cpu);
    return 0;
}
