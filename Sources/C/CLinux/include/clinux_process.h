// Child processes that are in their control group before their program's first instruction, and memory shared with one.
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <linux/watchdog.h>
#include <unistd.h>

#define CLINUX_CLONE_VM 0x100
#define CLINUX_CLONE_VFORK 0x4000
#define CLINUX_CLONE_PIDFD 0x1000

typedef struct {
    const char *path;
    char *const *arguments;
    char *const *environment;
    const char *directory;
    /// What the child has as descriptors 0, 1, 2, …; everything else is closed in it.
    int descriptors[5];
    int descriptor_count;
    /// An open cgroup.procs that the child writes itself into, or -1.
    int cgroup_procs;
} clinux_spawn_request;

typedef struct {
    const clinux_spawn_request *request;
    int stage;
    int error;
} clinux_spawn_state;

#define CLINUX_STAGE_CGROUP 1
#define CLINUX_STAGE_SETUP 2
#define CLINUX_STAGE_EXEC 3

/// Runs in the child, which has our memory but its own descriptors and signal handlers, while the calling thread
/// waits: only system calls here.
static inline int clinux_spawned(void *context) {
    clinux_spawn_state *state = (clinux_spawn_state *)context;
    const clinux_spawn_request *request = state->request;
    state->stage = CLINUX_STAGE_CGROUP;
    // "0" is the writer itself.
    if (request->cgroup_procs >= 0 && write(request->cgroup_procs, "0", 1) != 1) goto failed;
    state->stage = CLINUX_STAGE_SETUP;
    if (setsid() < 0) goto failed;
    // By number, since glibc refuses its own two. Zeros are the kernel's structure for "as at the beginning".
    const uint64_t standard[5] = {0};
    for (int number = 1; number < 65; number++) syscall(SYS_rt_sigaction, number, standard, (void *)0, 8);
    if (request->directory && chdir(request->directory) != 0) goto failed;
    umask(022);
    // Sources first out of the way of the targets.
    int sources[5];
    for (int index = 0; index < request->descriptor_count; index++) {
        sources[index] = fcntl(request->descriptors[index], F_DUPFD_CLOEXEC, 16);
        if (sources[index] < 0) goto failed;
    }
    for (int index = 0; index < request->descriptor_count; index++)
        if (dup2(sources[index], index) < 0) goto failed;
    // Also what some library opened without close-on-exec.
    syscall(436 /* close_range */, (unsigned)request->descriptor_count, ~0u, 0u);
    // Programs that use select(2) break where numbers above 1023 are handed out; the hard limit stays. Not before the
    // copies above: the parent may have more open than that.
    uint64_t limits[2];
    if (syscall(SYS_prlimit64, 0, 7 /* RLIMIT_NOFILE */, (void *)0, limits) == 0 && limits[0] > 1024) {
        limits[0] = 1024;
        syscall(SYS_prlimit64, 0, 7, limits, (void *)0);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    state->stage = CLINUX_STAGE_EXEC;
    execve(request->path, request->arguments, request->environment);
failed:
    state->error = errno;
    _exit(127);
}

extern int clinux_libc_clone(int (*)(void *), void *, int, void *, ...) __asm__("clone");

/// Starts a program as posix_spawn does (no copy of the page tables, so no page faults for the pulse afterwards), but in
/// its own session, in its control group, with a pidfd. Returns 0, or an error number with the stage that failed.
static inline int clinux_spawn(const clinux_spawn_request *request, pid_t *pid, int *pidfd, int *stage) {
    clinux_spawn_state state;
    memset(&state, 0, sizeof state);
    state.request = request;
    const size_t size = 64 * 1024;
    char *stack = (char *)mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) return errno;
    // A handler of ours must not run in the child, on our memory.
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_BLOCK, &every, &before);
    int descriptor = -1;
    const int flags = CLINUX_CLONE_VM | CLINUX_CLONE_VFORK | CLINUX_CLONE_PIDFD | SIGCHLD;
    pid_t child = clinux_libc_clone(clinux_spawned, stack + size, flags, &state, &descriptor);
    int code = child < 0 ? errno : state.error;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    munmap(stack, size);
    *stage = child < 0 ? CLINUX_STAGE_SETUP : state.stage;
    if (child < 0) return code;
    if (code != 0) {
        waitpid(child, NULL, 0);
        close(descriptor);
        return code;
    }
    *pid = child;
    *pidfd = descriptor;
    return 0;
}

/// 1 when the child has ended, with its exit code or the signal that ended it; 0 while it runs; -1 and errno.
static inline int clinux_reap(int pidfd, int *code, int *signal_number) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    if (waitid((idtype_t)3 /* P_PIDFD */, (id_t)pidfd, &info, WEXITED | WNOHANG) != 0) return -1;
    if (info.si_pid == 0) return 0;
    *code = info.si_code == CLD_EXITED ? info.si_status : -1;
    *signal_number = info.si_code == CLD_EXITED ? 0 : info.si_status;
    return 1;
}
static inline int clinux_signal_process(int pidfd, int number) {
    return (int)syscall(424 /* pidfd_send_signal */, pidfd, number, (void *)0, 0u);
}

static inline int clinux_memory_file(const char *name) { return (int)syscall(SYS_memfd_create, name, 1u /* CLOEXEC */); }
static inline uint64_t clinux_load(const void *place) { return __atomic_load_n((const uint64_t *)place, __ATOMIC_SEQ_CST); }
static inline void clinux_store(void *place, uint64_t value) {
    __atomic_store_n((uint64_t *)place, value, __ATOMIC_SEQ_CST);
}
/// Replaces `expected` by `value`; 1 when it was there.
static inline int clinux_exchange(void *place, uint64_t expected, uint64_t value) {
    return __atomic_compare_exchange_n((uint64_t *)place, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/// The seconds the device really takes, or -1 and errno (ENOTTY: no watchdog).
static inline int clinux_watchdog_timeout(int fd, int seconds) {
    return ioctl(fd, WDIOC_SETTIMEOUT, &seconds) == 0 ? seconds : -1;
}
