#include "ccurl.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct {
    CURLcode (*global_init)(long);
    CURL *(*easy_init)(void);
    void (*easy_cleanup)(CURL *);
    CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
    CURLcode (*easy_getinfo)(CURL *, CURLINFO, ...);
    const char *(*easy_strerror)(CURLcode);
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_cleanup)(CURLM *);
    CURLMcode (*multi_add_handle)(CURLM *, CURL *);
    CURLMcode (*multi_remove_handle)(CURLM *, CURL *);
    CURLMcode (*multi_perform)(CURLM *, int *);
    CURLMcode (*multi_poll)(CURLM *, struct curl_waitfd *, unsigned, int, int *);
    CURLMcode (*multi_wakeup)(CURLM *);
    CURLMsg *(*multi_info_read)(CURLM *, int *);
    struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
    void (*slist_free_all)(struct curl_slist *);
} curl;
static bool loaded;
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;

static const char *load(const char *name) {
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library) return dlerror();
#define NEED(function) \
    *(void **)&curl.function = dlsym(library, "curl_" #function); \
    if (!curl.function) { \
        dlclose(library); \
        return "it is older than 7.68 and lacks curl_" #function; \
    }
    NEED(global_init)
    NEED(easy_init)
    NEED(easy_cleanup)
    NEED(easy_setopt)
    NEED(easy_getinfo)
    NEED(easy_strerror)
    NEED(multi_init)
    NEED(multi_cleanup)
    NEED(multi_add_handle)
    NEED(multi_remove_handle)
    NEED(multi_perform)
    NEED(multi_poll)
    NEED(multi_wakeup)
    NEED(multi_info_read)
    NEED(slist_append)
    NEED(slist_free_all)
#undef NEED
    // Never unloaded from here on: curl keeps global state, and so do the libraries below it.
    return curl.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? NULL : "it does not initialise";
}

const char *ccurl_load(const char *const *names) {
    const char *problem = "no library was named";
    pthread_mutex_lock(&loading);
    if (loaded) problem = NULL;
    for (; !loaded && *names; names++) {
        problem = load(*names);
        loaded = problem == NULL;
    }
    pthread_mutex_unlock(&loading);
    return problem;
}

struct ccurl_transfer {
    CURL *easy;
    CURLM *multi;
    struct curl_slist *headers;
    ccurl_sink sink;
    void *context;
    int file; // -1: none
    bool arrived; // a byte came or went
    _Atomic bool stopped;
    char reason[CURL_ERROR_SIZE];
};

static size_t receive(char *bytes, size_t size, size_t count, void *context) {
    ccurl_transfer *transfer = context;
    transfer->arrived = true;
    return transfer->sink(bytes, size * count, transfer->context) ? size * count : 0;
}

ccurl_transfer *ccurl_new(ccurl_sink sink, void *context) {
    ccurl_transfer *transfer = calloc(1, sizeof *transfer);
    if (!transfer) return NULL;
    transfer->file = -1;
    transfer->easy = curl.easy_init();
    transfer->multi = curl.multi_init();
    if (!transfer->easy || !transfer->multi) {
        ccurl_free(transfer);
        return NULL;
    }
    transfer->sink = sink;
    transfer->context = context;
    curl.easy_setopt(transfer->easy, CURLOPT_ERRORBUFFER, transfer->reason);
    curl.easy_setopt(transfer->easy, CURLOPT_WRITEFUNCTION, receive);
    curl.easy_setopt(transfer->easy, CURLOPT_WRITEDATA, transfer);
    return transfer;
}

void ccurl_free(ccurl_transfer *transfer) {
    if (transfer->easy) curl.easy_cleanup(transfer->easy);
    if (transfer->multi) curl.multi_cleanup(transfer->multi);
    if (transfer->file >= 0) close(transfer->file);
    if (transfer->headers) curl.slist_free_all(transfer->headers);
    free(transfer);
}

CURLcode ccurl_set_number(ccurl_transfer *transfer, CURLoption option, long value) {
    return curl.easy_setopt(transfer->easy, option, value);
}

CURLcode ccurl_set_text(ccurl_transfer *transfer, CURLoption option, const char *value) {
    return curl.easy_setopt(transfer->easy, option, value);
}

CURLcode ccurl_set_body(ccurl_transfer *transfer, const void *bytes, size_t count) {
    CURLcode code = curl.easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)count);
    return code ? code : curl.easy_setopt(transfer->easy, CURLOPT_COPYPOSTFIELDS, bytes);
}

static size_t send_file(char *buffer, size_t size, size_t count, void *context) {
    ccurl_transfer *transfer = context;
    ssize_t got;
    do got = read(transfer->file, buffer, size * count);
    while (got < 0 && errno == EINTR);
    transfer->arrived = true;
    return got < 0 ? CURL_READFUNC_ABORT : (size_t)got;
}

// A refusal before the end makes curl start over where authentication is at play; then from the first byte.
static int rewind_file(void *context, curl_off_t offset, int origin) {
    ccurl_transfer *transfer = context;
    return lseek(transfer->file, offset, origin) < 0 ? CURL_SEEKFUNC_FAIL : CURL_SEEKFUNC_OK;
}

int ccurl_set_file(ccurl_transfer *transfer, const char *path) {
    transfer->file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat facts;
    if (transfer->file < 0 || fstat(transfer->file, &facts)) return -1;
    if (!S_ISREG(facts.st_mode)) {
        errno = S_ISDIR(facts.st_mode) ? EISDIR : EINVAL;
        return -1;
    }
    curl.easy_setopt(transfer->easy, CURLOPT_UPLOAD, 1L);
    curl.easy_setopt(transfer->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)facts.st_size);
    curl.easy_setopt(transfer->easy, CURLOPT_READFUNCTION, send_file);
    curl.easy_setopt(transfer->easy, CURLOPT_READDATA, transfer);
    curl.easy_setopt(transfer->easy, CURLOPT_SEEKFUNCTION, rewind_file);
    curl.easy_setopt(transfer->easy, CURLOPT_SEEKDATA, transfer);
    return 0;
}

CURLcode ccurl_add_header(ccurl_transfer *transfer, const char *line) {
    struct curl_slist *longer = curl.slist_append(transfer->headers, line);
    if (!longer) return CURLE_OUT_OF_MEMORY;
    transfer->headers = longer;
    return curl.easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, longer);
}

static long milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static CURLcode run(ccurl_transfer *transfer, long idle_ms) {
    long last = milliseconds();
    int running = 1;
    while (running) {
        transfer->arrived = false;
        if (curl.multi_perform(transfer->multi, &running)) return CURLE_FAILED_INIT;
        if (atomic_load(&transfer->stopped)) return CURLE_ABORTED_BY_CALLBACK;
        if (transfer->arrived) last = milliseconds();
        if (running && idle_ms && milliseconds() - last >= idle_ms) return CURLE_OPERATION_TIMEDOUT;
        // Wakes for sockets, curl's own timers and ccurl_stop; the second is for our idle limit.
        if (running && curl.multi_poll(transfer->multi, NULL, 0, 1000, NULL)) return CURLE_FAILED_INIT;
    }
    int left;
    CURLMsg *message = curl.multi_info_read(transfer->multi, &left);
    return message ? message->data.result : CURLE_FAILED_INIT;
}

CURLcode ccurl_run(ccurl_transfer *transfer, long idle_ms) {
    if (curl.multi_add_handle(transfer->multi, transfer->easy)) return CURLE_FAILED_INIT;
    CURLcode code = run(transfer, idle_ms);
    curl.multi_remove_handle(transfer->multi, transfer->easy);
    return code;
}

void ccurl_stop(ccurl_transfer *transfer) {
    atomic_store(&transfer->stopped, true);
    curl.multi_wakeup(transfer->multi);
}

long ccurl_number(ccurl_transfer *transfer, CURLINFO info) {
    long value = -1;
    return curl.easy_getinfo(transfer->easy, info, &value) ? -1 : value;
}

const char *ccurl_text(ccurl_transfer *transfer, CURLINFO info) {
    char *value = NULL;
    return curl.easy_getinfo(transfer->easy, info, &value) ? NULL : value;
}

const char *ccurl_reason(ccurl_transfer *transfer, CURLcode code) {
    return transfer->reason[0] ? transfer->reason : curl.easy_strerror(code);
}
