#define _GNU_SOURCE
#include "clab.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

int clab_datagram_socket(uint16_t port) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    int size = 16 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (bind(fd, (struct sockaddr *)&place, sizeof place) == 0) return fd;
    close(fd);
    return -1;
}

int clab_send_numbered(
    int fd, uint32_t destination, uint16_t port, uint32_t source, int sources, uint64_t first, int count) {
    struct mmsghdr messages[CLAB_BATCH];
    struct iovec parts[CLAB_BATCH];
    unsigned char bytes[CLAB_BATCH][CLAB_DATAGRAM];
    _Alignas(struct cmsghdr) unsigned char controls[CLAB_BATCH][CMSG_SPACE(sizeof(struct in_pktinfo))];
    struct sockaddr_in place = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(destination)};
    if (count > CLAB_BATCH) count = CLAB_BATCH;
    memset(messages, 0, sizeof messages);
    memset(bytes, 0, sizeof bytes);
    memset(controls, 0, sizeof controls);
    for (int i = 0; i < count; i++) {
        uint64_t number = first + (uint64_t)i;
        memcpy(bytes[i], &number, sizeof number);
        parts[i] = (struct iovec){bytes[i], CLAB_DATAGRAM};
        struct msghdr *message = &messages[i].msg_hdr;
        message->msg_name = &place;
        message->msg_namelen = sizeof place;
        message->msg_iov = &parts[i];
        message->msg_iovlen = 1;
        message->msg_control = controls[i];
        message->msg_controllen = sizeof controls[i];
        struct cmsghdr *control = CMSG_FIRSTHDR(message);
        control->cmsg_level = IPPROTO_IP;
        control->cmsg_type = IP_PKTINFO;
        control->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
        struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(source + (uint32_t)(number % (uint64_t)sources))};
        memcpy(CMSG_DATA(control), &info, sizeof info);
    }
    int sent = sendmmsg(fd, messages, (unsigned)count, 0);
    return sent < 0 ? 0 : sent;
}

int clab_receive_numbers(int fd, uint64_t numbers[CLAB_BATCH]) {
    struct mmsghdr messages[CLAB_BATCH];
    struct iovec parts[CLAB_BATCH];
    unsigned char bytes[CLAB_BATCH][CLAB_DATAGRAM];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < CLAB_BATCH; i++) {
        parts[i] = (struct iovec){bytes[i], CLAB_DATAGRAM};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int count = recvmmsg(fd, messages, CLAB_BATCH, MSG_DONTWAIT, 0);
    for (int i = 0; i < count; i++) memcpy(&numbers[i], bytes[i], sizeof numbers[i]);
    return count < 0 ? 0 : count;
}

int clab_send_back(int fd) {
    struct mmsghdr messages[CLAB_BATCH];
    struct iovec parts[CLAB_BATCH];
    struct sockaddr_in places[CLAB_BATCH];
    unsigned char bytes[CLAB_BATCH][CLAB_DATAGRAM];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < CLAB_BATCH; i++) {
        parts[i] = (struct iovec){bytes[i], CLAB_DATAGRAM};
        struct msghdr *message = &messages[i].msg_hdr;
        message->msg_iov = &parts[i];
        message->msg_iovlen = 1;
        message->msg_name = &places[i];
        message->msg_namelen = sizeof places[i];
    }
    int count = recvmmsg(fd, messages, CLAB_BATCH, MSG_DONTWAIT, 0);
    if (count <= 0) return 0;
    for (int i = 0; i < count; i++) parts[i].iov_len = messages[i].msg_len;
    for (int done = 0; done < count;) {
        int sent = sendmmsg(fd, messages + done, (unsigned)(count - done), 0);
        if (sent <= 0) break;
        done += sent;
    }
    return count;
}
