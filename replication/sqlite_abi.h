// The parts of SQLite's published interface (sqlite3.h, stable within version 3) that our
// own C code uses. The functions are declared weak because their definitions arrive with
// the Go driver's object at the final link; cgo's intermediate link has none.
#ifndef TONGBAN_REPLICATION_SQLITE_ABI_H
#define TONGBAN_REPLICATION_SQLITE_ABI_H

#include <stdint.h>

#define WEAK __attribute__((weak))

typedef int64_t sqlite3_int64;
typedef uint64_t sqlite3_uint64;
typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
typedef struct sqlite3_context sqlite3_context;
typedef struct sqlite3_value sqlite3_value;
typedef struct sqlite3_vfs sqlite3_vfs;
typedef struct sqlite3_file sqlite3_file;
typedef struct sqlite3_io_methods sqlite3_io_methods;
typedef struct sqlite3_mem_methods sqlite3_mem_methods;

struct sqlite3_file {
  const sqlite3_io_methods *pMethods;
};

// Version 3 ends with xFetch and xUnfetch (memory mapping), which are never offered here.
struct sqlite3_io_methods {
  int iVersion;
  int (*xClose)(sqlite3_file *);
  int (*xRead)(sqlite3_file *, void *, int n, sqlite3_int64 at);
  int (*xWrite)(sqlite3_file *, const void *, int n, sqlite3_int64 at);
  int (*xTruncate)(sqlite3_file *, sqlite3_int64 size);
  int (*xSync)(sqlite3_file *, int flags);
  int (*xFileSize)(sqlite3_file *, sqlite3_int64 *size);
  int (*xLock)(sqlite3_file *, int);
  int (*xUnlock)(sqlite3_file *, int);
  int (*xCheckReservedLock)(sqlite3_file *, int *out);
  int (*xFileControl)(sqlite3_file *, int op, void *arg);
  int (*xSectorSize)(sqlite3_file *);
  int (*xDeviceCharacteristics)(sqlite3_file *);
  int (*xShmMap)(sqlite3_file *, int page, int size, int extend, void volatile **);
  int (*xShmLock)(sqlite3_file *, int offset, int n, int flags);
  void (*xShmBarrier)(sqlite3_file *);
  int (*xShmUnmap)(sqlite3_file *, int remove);
};

struct sqlite3_vfs {
  int iVersion;
  int szOsFile;
  int mxPathname;
  sqlite3_vfs *pNext;
  const char *zName;
  void *pAppData;
  int (*xOpen)(sqlite3_vfs *, const char *name, sqlite3_file *, int flags, int *out);
  int (*xDelete)(sqlite3_vfs *, const char *name, int sync);
  int (*xAccess)(sqlite3_vfs *, const char *name, int flags, int *out);
  int (*xFullPathname)(sqlite3_vfs *, const char *name, int n, char *out);
  void *(*xDlOpen)(sqlite3_vfs *, const char *);
  void (*xDlError)(sqlite3_vfs *, int, char *);
  void (*(*xDlSym)(sqlite3_vfs *, void *, const char *))(void);
  void (*xDlClose)(sqlite3_vfs *, void *);
  int (*xRandomness)(sqlite3_vfs *, int n, char *out);
  int (*xSleep)(sqlite3_vfs *, int microseconds);
  int (*xCurrentTime)(sqlite3_vfs *, double *);
  int (*xGetLastError)(sqlite3_vfs *, int, char *);
  int (*xCurrentTimeInt64)(sqlite3_vfs *, sqlite3_int64 *);
  int (*xSetSystemCall)(sqlite3_vfs *, const char *, void (*)(void));
  void (*(*xGetSystemCall)(sqlite3_vfs *, const char *))(void);
  const char *(*xNextSystemCall)(sqlite3_vfs *, const char *);
};

struct sqlite3_mem_methods {
  void *(*xMalloc)(int);
  void (*xFree)(void *);
  void *(*xRealloc)(void *, int);
  int (*xSize)(void *);
  int (*xRoundup)(int);
  int (*xInit)(void *);
  void (*xShutdown)(void *);
  void *pAppData;
};

// Result codes, flags of xOpen, bits of xDeviceCharacteristics, and option numbers.
enum {
  OK = 0, DENY = 1, FULL = 13, MISUSE = 21, ROW = 100, DONE = 101,
  IOERR_DATA = 10 | 32 << 8, IOERR_SHORT_READ = 10 | 2 << 8, IOERR_WRITE = 10 | 3 << 8, IOERR_FSYNC = 10 | 4 << 8, IOERR_NOMEM = 10 | 12 << 8,
  OPEN_MAIN_DB = 0x100, OPEN_TEMP_DB = 0x200, OPEN_TRANSIENT_DB = 0x400,
  OPEN_TEMP_JOURNAL = 0x1000, OPEN_SUBJOURNAL = 0x2000, OPEN_WAL = 0x80000,
  IOCAP_SUBPAGE_READ = 0x8000,
  FCNTL_RESERVE_BYTES = 38,
  DBSTATUS_DEFERRED_FKS = 10,
  DBCONFIG_DEFENSIVE = 1010, DBCONFIG_DQS_DML = 1013, DBCONFIG_DQS_DDL = 1014, DBCONFIG_TRUSTED_SCHEMA = 1017,
  CONFIG_MALLOC = 4, CONFIG_GETMALLOC = 5, CONFIG_MEMSTATUS = 9,
  TESTCTRL_LOCALTIME = 18,
  UTF8 = 1, INNOCUOUS = 0x200000, PREPARE_PERSISTENT = 1
};

extern WEAK int sqlite3_prepare_v3(sqlite3 *, const char *, int, unsigned, sqlite3_stmt **, const char **);
extern WEAK int sqlite3_step(sqlite3_stmt *);
extern WEAK int sqlite3_reset(sqlite3_stmt *);
extern WEAK int sqlite3_clear_bindings(sqlite3_stmt *);
extern WEAK int sqlite3_finalize(sqlite3_stmt *);
extern WEAK int sqlite3_bind_int64(sqlite3_stmt *, int, sqlite3_int64);
extern WEAK int sqlite3_bind_double(sqlite3_stmt *, int, double);
extern WEAK int sqlite3_bind_null(sqlite3_stmt *, int);
extern WEAK int sqlite3_bind_text(sqlite3_stmt *, int, const char *, int, void (*)(void *));
extern WEAK int sqlite3_bind_blob(sqlite3_stmt *, int, const void *, int, void (*)(void *));
extern WEAK int sqlite3_bind_parameter_count(sqlite3_stmt *);
extern WEAK int sqlite3_stmt_readonly(sqlite3_stmt *);
extern WEAK int sqlite3_column_count(sqlite3_stmt *);
extern WEAK const char *sqlite3_column_name(sqlite3_stmt *, int);
extern WEAK const char *sqlite3_column_decltype(sqlite3_stmt *, int);
extern WEAK const char *sqlite3_bind_parameter_name(sqlite3_stmt *, int);
extern WEAK int sqlite3_column_type(sqlite3_stmt *, int);
extern WEAK sqlite3_int64 sqlite3_column_int64(sqlite3_stmt *, int);
extern WEAK double sqlite3_column_double(sqlite3_stmt *, int);
extern WEAK const unsigned char *sqlite3_column_text(sqlite3_stmt *, int);
extern WEAK const void *sqlite3_column_blob(sqlite3_stmt *, int);
extern WEAK int sqlite3_column_bytes(sqlite3_stmt *, int);
extern WEAK sqlite3_int64 sqlite3_last_insert_rowid(sqlite3 *);
extern WEAK void sqlite3_set_last_insert_rowid(sqlite3 *, sqlite3_int64);
extern WEAK int sqlite3_changes(sqlite3 *);
extern WEAK int sqlite3_total_changes(sqlite3 *);
extern WEAK int sqlite3_get_autocommit(sqlite3 *);
extern WEAK const char *sqlite3_errmsg(sqlite3 *);
extern WEAK int sqlite3_extended_errcode(sqlite3 *);
extern WEAK int sqlite3_extended_result_codes(sqlite3 *, int);
extern WEAK void sqlite3_interrupt(sqlite3 *);
extern WEAK int sqlite3_db_status(sqlite3 *, int, int *, int *, int);
extern WEAK int sqlite3_db_config(sqlite3 *, int, ...);
extern WEAK int sqlite3_limit(sqlite3 *, int, int);
extern WEAK int sqlite3_complete(const char *);
extern WEAK int sqlite3_strnicmp(const char *, const char *, int);
extern WEAK int sqlite3_stricmp(const char *, const char *);
extern WEAK void *sqlite3_update_hook(sqlite3 *, void (*)(void *, int, char const *, char const *, sqlite3_int64), void *);
extern WEAK void *sqlite3_wal_hook(sqlite3 *, int (*)(void *, sqlite3 *, const char *, int), void *);
extern WEAK int sqlite3_set_authorizer(sqlite3 *, int (*)(void *, int, const char *, const char *, const char *, const char *), void *);
extern WEAK int sqlite3_file_control(sqlite3 *, const char *, int, void *);
extern WEAK sqlite3_vfs *sqlite3_vfs_find(const char *);
extern WEAK sqlite3_file *sqlite3_database_file_object(const char *);
extern WEAK int sqlite3_vfs_register(sqlite3_vfs *, int);
extern WEAK int sqlite3_config(int, ...);
extern WEAK int sqlite3_test_control(int, ...);
extern WEAK int sqlite3_libversion_number(void);
extern WEAK void sqlite3_randomness(int, void *);
extern WEAK void *sqlite3_malloc64(sqlite3_uint64);
extern WEAK void sqlite3_free(void *);
extern WEAK int sqlite3_create_function_v2(sqlite3 *, const char *, int, int, void *,
  void (*)(sqlite3_context *, int, sqlite3_value **), void (*)(sqlite3_context *, int, sqlite3_value **),
  void (*)(sqlite3_context *), void (*)(void *));
extern WEAK void *sqlite3_user_data(sqlite3_context *);
extern WEAK sqlite3 *sqlite3_context_db_handle(sqlite3_context *);
extern WEAK sqlite3_int64 sqlite3_value_int64(sqlite3_value *);
extern WEAK void sqlite3_result_int64(sqlite3_context *, sqlite3_int64);
extern WEAK void sqlite3_result_blob64(sqlite3_context *, const void *, sqlite3_uint64, void (*)(void *));
extern WEAK void sqlite3_result_error_toobig(sqlite3_context *);
extern WEAK void sqlite3_result_error_nomem(sqlite3_context *);

#endif
