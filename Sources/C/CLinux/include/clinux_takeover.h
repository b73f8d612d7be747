// What the takeover of addresses needs: packet filters, nf_tables' numbers, addresses and links of rtnetlink.
#pragma once
#include <linux/filter.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

// IFA_PROTO came with Linux 5.18; headers of Debian 12 have it, older ones do not.
#define CLINUX_IFA_PROTO 11

/// Lets through only what the classic BPF program accepts. 0, or -1 and errno.
static inline int clinux_attach_filter(int fd, const struct sock_filter *code, unsigned short count) {
    struct sock_fprog program = {.len = count, .filter = (struct sock_filter *)code};
    return setsockopt(fd, SOL_SOCKET, 26 /* SO_ATTACH_FILTER */, &program, sizeof program);
}
