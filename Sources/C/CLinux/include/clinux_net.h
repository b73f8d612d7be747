// Sockets with addresses as bytes: Swift never sees a sockaddr.
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/// An address of 4 or 16 bytes in network order, and a port in host order. length 0: none of ours.
typedef struct {
    uint8_t address[16];
    uint8_t length;
    uint16_t port;
} clinux_endpoint;

static inline socklen_t clinux_to_sockaddr(const clinux_endpoint *from, struct sockaddr_storage *to) {
    memset(to, 0, sizeof *to);
    if (from->length == 4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)to;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(from->port);
        memcpy(&v4->sin_addr, from->address, 4);
        return sizeof *v4;
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(from->port);
    memcpy(&v6->sin6_addr, from->address, 16);
    return sizeof *v6;
}
static inline void clinux_from_sockaddr(const struct sockaddr_storage *from, clinux_endpoint *to) {
    memset(to, 0, sizeof *to);
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
        to->length = 4;
        to->port = ntohs(v4->sin_port);
        memcpy(to->address, &v4->sin_addr, 4);
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
        to->length = 16;
        to->port = ntohs(v6->sin6_port);
        memcpy(to->address, &v6->sin6_addr, 16);
    }
}

/// A non-blocking socket, closed on exec, bound to the endpoint. `type` is SOCK_DGRAM or SOCK_STREAM. IPv6 sockets take IPv6
/// only. An address that the machine does not have yet can be bound: the network may come later. -1 and errno on failure.
static inline int clinux_bound_socket(int type, const clinux_endpoint *endpoint) {
    struct sockaddr_storage address;
    socklen_t length = clinux_to_sockaddr(endpoint, &address);
    int fd = socket(address.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    int on = 1;
    if (address.ss_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    setsockopt(fd, IPPROTO_IP, 15 /* IP_FREEBIND, for both families */, &on, sizeof on);
    // A datagram port shared with another process would lose datagrams to it; a stream port waits for old connections.
    if (type == SOCK_STREAM) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, length) != 0) {
        int code = errno;
        close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

static inline int clinux_local_endpoint(int fd, clinux_endpoint *endpoint) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0) return -1;
    clinux_from_sockaddr(&address, endpoint);
    return 0;
}

/// A megabyte of receive buffer rides out a pause of the reader; kernel receive stamps on.
static inline void clinux_prepare_datagram_socket(int fd, int receive_buffer) {
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
}

/// One datagram. Returns its whole length, which may be more than `size`; -1 and errno when there is none.
/// `stamp` is the kernel's receive time, CLOCK_REALTIME in nanoseconds, or 0.
static inline ssize_t clinux_receive_datagram(
    int fd, void *buffer, size_t size, clinux_endpoint *from, int64_t *stamp) {
    struct sockaddr_storage address;
    union {
        char bytes[CMSG_SPACE(sizeof(struct timespec)) + 64];
        struct cmsghdr align;
    } control;
    struct iovec part = {buffer, size};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_name = &address;
    message.msg_namelen = sizeof address;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    ssize_t length = recvmsg(fd, &message, MSG_TRUNC);
    if (length < 0) return -1;
    *stamp = 0;
    for (struct cmsghdr *one = CMSG_FIRSTHDR(&message); one != NULL; one = CMSG_NXTHDR(&message, one)) {
        if (one->cmsg_level == SOL_SOCKET && one->cmsg_type == SO_TIMESTAMPNS) {
            struct timespec time;
            memcpy(&time, CMSG_DATA(one), sizeof time);
            *stamp = (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
        }
    }
    clinux_from_sockaddr(&address, from);
    return length;
}

static inline ssize_t clinux_send_datagram(int fd, const void *bytes, size_t count, const clinux_endpoint *to) {
    struct sockaddr_storage address;
    socklen_t length = clinux_to_sockaddr(to, &address);
    return sendto(fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&address, length);
}

// MARK: Streams

/// A non-blocking connection that is being made. -1 and errno when it cannot even begin.
static inline int clinux_begin_connection(const clinux_endpoint *to) {
    struct sockaddr_storage address;
    socklen_t length = clinux_to_sockaddr(to, &address);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (connect(fd, (struct sockaddr *)&address, length) != 0 && errno != EINPROGRESS) {
        int code = errno;
        close(fd);
        errno = code;
        return -1;
    }
    return fd;
}
/// 0 when a connection that was begun stands, else the error number.
static inline int clinux_connection_error(int fd) {
    int code = 0;
    socklen_t length = sizeof code;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) != 0) return errno;
    return code;
}
/// The next connection, non-blocking and closed on exec. -1 and errno when there is none.
static inline int clinux_accept_stream(int fd, clinux_endpoint *from) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    int accepted = (int)syscall(SYS_accept4, fd, &address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted >= 0) clinux_from_sockaddr(&address, from);
    return accepted;
}
/// Small frames at once; a peer that vanished is noticed by the kernel after `seconds` of unacknowledged bytes.
static inline void clinux_prepare_stream(int fd, int seconds) {
    int on = 1;
    unsigned int limit = (unsigned int)seconds * 1000;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof limit);
}
static inline ssize_t clinux_send_stream(int fd, const void *bytes, size_t count) {
    return send(fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
}
