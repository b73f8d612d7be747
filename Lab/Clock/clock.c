// Preloaded into a daemon of the lab, it makes the wall clock of that one process wrong by LAB_CLOCK_SHIFT seconds.
// Clocks that only count forward (CLOCK_MONOTONIC, CLOCK_BOOTTIME) stay right, as on a machine whose date is wrong.
// libfaketime cannot be used: it moves the environment, where Swift's runtime looks for the arguments.
#include "labclock.h"
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long long shift;

__attribute__((constructor)) static void read_shift(void) {
    const char *text = getenv("LAB_CLOCK_SHIFT");
    shift = text ? atoll(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += shift;
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return (time_t)-1;
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
