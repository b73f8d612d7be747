// Open descriptors that travel through a socket, and a file system made durable.
#pragma once
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/// Sends bytes and two descriptors. 0, or -1 and errno.
static inline int clinux_send_pair(int fd, const void *bytes, size_t count, int first, int second) {
    int descriptors[2] = {first, second};
    char space[CMSG_SPACE(sizeof descriptors)];
    memset(space, 0, sizeof space);
    struct iovec part = {(void *)bytes, count};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof descriptors);
    memcpy(CMSG_DATA(header), descriptors, sizeof descriptors);
    ssize_t sent;
    do sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)count ? 0 : -1;
}

/// Receives what `clinux_send_pair` sent. The descriptors are -1 when none came. Bytes, or -1 and errno.
static inline ssize_t clinux_receive_pair(int fd, void *bytes, size_t count, int *first, int *second) {
    int descriptors[2] = {-1, -1};
    char space[CMSG_SPACE(sizeof descriptors)];
    struct iovec part = {bytes, count};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT | 0x40000000 /* MSG_CMSG_CLOEXEC */);
    if (got >= 0)
        for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header))
            if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS
                && header->cmsg_len == CMSG_LEN(sizeof descriptors))
                memcpy(descriptors, CMSG_DATA(header), sizeof descriptors);
    *first = descriptors[0];
    *second = descriptors[1];
    return got;
}

/// Everything written to the file system of this descriptor is on its disk when this returns.
static inline int clinux_sync_file_system(int fd) { return (int)syscall(SYS_syncfs, fd); }
