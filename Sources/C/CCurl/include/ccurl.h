// libcurl, loaded when it is first needed: the daemon is the same executable and never carries curl's twenty libraries.
// Only the types and constants of curl.h are used; calling its functions directly would not link.
#pragma once
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

/// Loads the first library of the NULL-terminated list that can be loaded and has what we need.
/// Returns NULL, also when one was loaded before; else why the last one was refused.
const char *ccurl_load(const char *const *names);

/// Takes the bytes that arrived; false ends the transfer with CURLE_WRITE_ERROR.
typedef bool (*ccurl_sink)(const char *bytes, size_t count, void *context);

typedef struct ccurl_transfer ccurl_transfer;

/// One transfer: a handle, its own multi handle and its lists. NULL without memory. Call ccurl_load first.
ccurl_transfer *ccurl_new(ccurl_sink sink, void *context);
void ccurl_free(ccurl_transfer *transfer);

CURLcode ccurl_set_number(ccurl_transfer *transfer, CURLoption option, long value);
/// libcurl copies the text.
CURLcode ccurl_set_text(ccurl_transfer *transfer, CURLoption option, const char *value);
/// Sends these bytes, which libcurl copies.
CURLcode ccurl_set_body(ccurl_transfer *transfer, const void *bytes, size_t count);
/// Sends this file, read as it goes. -1 with errno when it cannot be opened or is no ordinary file.
int ccurl_set_file(ccurl_transfer *transfer, const char *path);
CURLcode ccurl_add_header(ccurl_transfer *transfer, const char *line);

/// Blocks until the transfer is over. Without a byte for `idle_ms` (0: no limit) it ends with CURLE_OPERATION_TIMEDOUT,
/// after ccurl_stop with CURLE_ABORTED_BY_CALLBACK.
CURLcode ccurl_run(ccurl_transfer *transfer, long idle_ms);
/// From any thread, before, during or after ccurl_run.
void ccurl_stop(ccurl_transfer *transfer);

/// -1 when libcurl cannot tell.
long ccurl_number(ccurl_transfer *transfer, CURLINFO info);
/// NULL when libcurl cannot tell; valid until the transfer is freed.
const char *ccurl_text(ccurl_transfer *transfer, CURLINFO info);
/// What went wrong, as libcurl says it. Never NULL.
const char *ccurl_reason(ccurl_transfer *transfer, CURLcode code);
