// Extended attributes of files, which Swift's Glibc module leaves out.
#pragma once
#include <errno.h>
#include <sys/xattr.h>

/// 1 where the file has it, 0 where not, -1 with errno where that cannot be told, such as ENOTSUP. Does not follow a link.
static inline int clinux_has_attribute(const char *path, const char *name) {
    if (lgetxattr(path, name, 0, 0) >= 0) return 1;
    return errno == ENODATA ? 0 : -1;
}
/// 0, or -1 with errno.
static inline int clinux_remove_attribute(const char *path, const char *name) { return lremovexattr(path, name); }
static inline int clinux_set_attribute(const char *path, const char *name, const char *value, unsigned long size) {
    return lsetxattr(path, name, value, size, 0);
}
