// Linux system calls and structures that Swift's Glibc module lacks. Header only.
// No _GNU_SOURCE here: it changes structures (fd_set) that Glibc's module has already given to Swift.
// What glibc hides without it is declared below or called by number.
#pragma once
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/net_tstamp.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <unistd.h>

static inline int clinux_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

/// Accepts with the new descriptor closed on exec and not blocking.
static inline int clinux_accept(int fd, void *address, socklen_t *length) {
    return (int)syscall(SYS_accept4, fd, address, length, 02000000 /* SOCK_CLOEXEC */ | 04000 /* SOCK_NONBLOCK */);
}

/// Waits at most so many nanoseconds; negative: until something happens. Kernels before 5.11 know milliseconds only.
static inline int clinux_epoll_wait(int epoll, struct epoll_event *events, int count, long long nanoseconds) {
    static _Thread_local int knows_only_milliseconds;
    if (nanoseconds > 0 && !knows_only_milliseconds) {
        struct timespec limit = {nanoseconds / 1000000000, nanoseconds % 1000000000};
        int ready = epoll_pwait2(epoll, events, count, &limit, 0);
        if (ready >= 0 || errno != ENOSYS) return ready;
        knows_only_milliseconds = 1;
    }
    long long milliseconds = nanoseconds < 0 ? -1 : (nanoseconds + 999999) / 1000000;
    return epoll_wait(epoll, events, count, milliseconds > 0x7fffffff ? 0x7fffffff : (int)milliseconds);
}

/// At most 15 bytes: what `ps -L` and `top -H` show.
static inline void clinux_name_this_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

/// Namespaces of the calling thread alone. Flags: CLINUX_NEWNET, CLINUX_NEWNS (which also stops mounts from spreading out).
#define CLINUX_NEWNET 0x40000000
#define CLINUX_NEWNS 0x00020000
static inline int clinux_unshare(int flags) {
    if (syscall(SYS_unshare, flags) != 0) return -1;
    if ((flags & CLINUX_NEWNS) && mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) != 0) return -1;
    return 0;
}
static inline int clinux_thread_id(void) { return (int)syscall(SYS_gettid); }

/// The whole sched_attr of sched_setattr(2) is not needed: this asks for SCHED_RR, not inherited by children.
static inline int clinux_round_robin(int priority) {
    struct sched_param parameter = {.sched_priority = priority};
    return (int)syscall(SYS_sched_setscheduler, 0, 2 /* SCHED_RR */ | 0x40000000 /* SCHED_RESET_ON_FORK */, &parameter);
}
/// Locks pages as they are touched, now and later, so that memory that is only reserved costs nothing.
static inline int clinux_lock_touched_memory(void) { return mlockall(MCL_CURRENT | MCL_FUTURE | 4 /* MCL_ONFAULT */); }
/// Bytes that may be locked; the largest number is no limit.
static inline uint64_t clinux_memory_lock_limit(void) {
    uint64_t limits[2] = {0, 0};
    syscall(SYS_prlimit64, 0, 8 /* RLIMIT_MEMLOCK, hidden by glibc */, (void *)0, limits);
    return limits[0];
}

/// 1 when something (NTP) keeps the wall clock right, 0 when nothing does, -1 when the kernel does not tell.
/// `error_us`: the largest error it estimates, in microseconds.
static inline int clinux_clock_is_synchronized(long *error_us) {
    struct timex state = {0};
    int code = adjtimex(&state);
    if (code < 0) return -1;
    *error_us = state.maxerror;
    return code != TIME_ERROR && !(state.status & STA_UNSYNC);
}
