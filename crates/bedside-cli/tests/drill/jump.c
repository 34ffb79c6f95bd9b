/* A wall clock that jumps while a process runs: a day ahead after 3 s, a day behind after 5 s.
   The drill preloads it; the machine's own clock stays as it is. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int ask(clockid_t clock, struct timespec *now) { return syscall(SYS_clock_gettime, clock, now); }

static time_t jump(void) {
    static _Atomic long start;
    struct timespec now;
    ask(CLOCK_MONOTONIC, &now);
    if (!start) start = now.tv_sec;
    long age = now.tv_sec - start;
    return age < 3 ? 0 : age < 5 ? 86400 : -86400;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = ask(clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += jump();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (out) *out = exact.tv_sec;
    return exact.tv_sec;
}
