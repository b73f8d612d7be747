// SQLite 3 as Swift sees it. The pre-update hook is in Debian's build, but the header needs to be asked for it.
// Variadic functions and function-like macros are not imported by Swift: the inline functions stand in for them.
#pragma once
#define SQLITE_ENABLE_PREUPDATE_HOOK 1
#define SQLITE_ENABLE_SESSION 1
#include <sqlite3.h>

static inline int csqlite_set(sqlite3 *database, int option, int value) {
    return sqlite3_db_config(database, option, value, (int *)0);
}
/// SQLite copies the bytes before it returns.
static inline int csqlite_bind_text(sqlite3_stmt *statement, int place, const char *bytes, int count) {
    return sqlite3_bind_text(statement, place, bytes, count, SQLITE_TRANSIENT);
}
static inline int csqlite_bind_blob(sqlite3_stmt *statement, int place, const void *bytes, int count) {
    return sqlite3_bind_blob(statement, place, bytes, count, SQLITE_TRANSIENT);
}
/// Before the first connection: SQLite does not count the bytes it uses, which would take a lock with each of them.
static inline int csqlite_configure(void) { return sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); }
/// Statements of people cannot reach SQLite's own pages and settings.
static inline void csqlite_defend(sqlite3 *database) {
    csqlite_set(database, SQLITE_DBCONFIG_DEFENSIVE, 1);
    csqlite_set(database, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0);
    csqlite_set(database, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0);
    csqlite_set(database, SQLITE_DBCONFIG_DQS_DML, 0);
}
