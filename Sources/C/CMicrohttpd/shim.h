#pragma once
#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>

// Swift imports no variadic functions: these are the ones we need, with their arguments spelled out.

struct mhd_setup {
    int listener;                // owned by the daemon from here on
    unsigned int connections;    // at once
    unsigned int per_address;    // at once from one address; 0: no limit of its own
    unsigned int idle_seconds;   // without any byte
    size_t connection_memory;    // bytes for one connection's head and buffers
    size_t stack;                // bytes of the thread's stack
    const char *certificate;     // PEM; NULL: plain HTTP
    const char *key;             // PEM
    MHD_AccessHandlerCallback handle;
    MHD_RequestCompletedCallback completed;
    MHD_NotifyConnectionCallback connection;
    MHD_LogCallback log;
    void *context;
};

static inline struct MHD_Daemon *mhd_start(const struct mhd_setup *s) {
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)s->certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)s->key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)"NORMAL:-VERS-ALL:+VERS-TLS1.3"},
        {MHD_OPTION_END, 0, NULL},
    };
    struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    // poll, not epoll: 0.9.75 uses epoll edge-triggered and overlooks an end that came together with the last bytes.
    // With the few hundred connections we allow, poll costs some microseconds a round.
    unsigned int flags = MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    if (s->certificate) flags |= MHD_USE_TLS;
    // The log comes first: what goes wrong with a later option is told to it.
    return MHD_start_daemon(
        flags, 0, NULL, NULL, s->handle, s->context,
        MHD_OPTION_EXTERNAL_LOGGER, s->log, s->context,
        MHD_OPTION_LISTEN_SOCKET, s->listener,
        MHD_OPTION_CONNECTION_LIMIT, s->connections,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, s->per_address,
        MHD_OPTION_CONNECTION_TIMEOUT, s->idle_seconds,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, s->connection_memory,
        MHD_OPTION_THREAD_STACK_SIZE, s->stack,
        MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_NOTIFY_COMPLETED, s->completed, s->context,
        MHD_OPTION_NOTIFY_CONNECTION, s->connection, s->context,
        MHD_OPTION_ARRAY, s->certificate ? tls : none,
        MHD_OPTION_END);
}

static inline const struct sockaddr *mhd_peer(struct MHD_Connection *c) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    return info ? info->client_addr : NULL;
}
static inline int mhd_socket(struct MHD_Connection *c) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}
static inline void *mhd_socket_context(struct MHD_Connection *c) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

// A peer that vanished without a word is given up when sent bytes stay unacknowledged this long.
static inline void mhd_limit_silence(int socket, unsigned int milliseconds) {
    setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof milliseconds);
}

