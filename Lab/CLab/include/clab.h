// System calls that only the lab needs: namespaces, mounts, memory files. Mostly a header, like CLinux, and for the same
// reason without _GNU_SOURCE: what glibc hides is called by number or declared here.
#pragma once
#include <net/if.h>
#include <linux/if_packet.h>
#include <sched.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum : uint32_t {
    CLAB_NEW_MOUNTS = 0x00020000,
    CLAB_NEW_UTS = 0x04000000,
    CLAB_NEW_IPC = 0x08000000,
    CLAB_NEW_PIDS = 0x20000000,
    CLAB_NEW_NETWORK = 0x40000000,
    /// Not a namespace: gives the calling thread a root and working directory of its own.
    CLAB_OWN_DIRECTORIES = 0x00000200,
};

static inline int clab_unshare(uint32_t flags) { return (int)syscall(SYS_unshare, flags); }
static inline int clab_setns(int fd, uint32_t kind) { return (int)syscall(SYS_setns, fd, kind); }
static inline int clab_set_host_name(const char *name, size_t length) {
    return (int)syscall(SYS_sethostname, name, length);
}
static inline int clab_thread_id(void) { return (int)syscall(SYS_gettid); }
/// An unnamed file in memory, closed on exec.
static inline int clab_memory_file(const char *name) { return (int)syscall(SYS_memfd_create, name, 1u); }
static inline int clab_pipe(int ends[2]) { return (int)syscall(SYS_pipe2, ends, 02000000 /* O_CLOEXEC */); }
static inline int clab_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

/// Accepts with the new descriptor closed on exec.
static inline int clab_accept(int fd) { return (int)syscall(SYS_accept4, fd, 0, 0, 02000000 /* SOCK_CLOEXEC */); }

/// glibc 2.34; declared only under _GNU_SOURCE.
extern int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int from);

/// Sets an interface up or down. `fd` is any socket of its network namespace.
static inline int clab_set_link(int fd, const char *name, int up) {
    struct ifreq request = {0};
    for (int i = 0; i < IFNAMSIZ - 1 && name[i]; i++) request.ifr_name[i] = name[i];
    if (ioctl(fd, SIOCGIFFLAGS, &request) != 0) return -1;
    if (up) request.ifr_flags |= IFF_UP;
    else request.ifr_flags &= ~IFF_UP;
    return ioctl(fd, SIOCSIFFLAGS, &request);
}

// Datagrams in batches, for load that must cost less than what it measures.

/// A number in each datagram, and nothing else that matters.
enum { CLAB_DATAGRAM = 64, CLAB_BATCH = 64 };
/// A UDP socket on the port with big buffers, never blocking; -1 and errno on failure.
int clab_datagram_socket(uint16_t port);
/// Sends datagrams numbered from `first`, each from another of `sources` addresses that follow on `source`. Addresses are in
/// host order. How many went out; they are fewer when the kernel has no room.
int clab_send_numbered(
    int fd, uint32_t destination, uint16_t port, uint32_t source, int sources, uint64_t first, int count);
/// The numbers of what has come, at most CLAB_BATCH of them.
int clab_receive_numbers(int fd, uint64_t numbers[CLAB_BATCH]);
/// Sends back what has come; how many.
int clab_send_back(int fd);
