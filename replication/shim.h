// The few SQLite functions that the Go driver does not expose, reached on the handle it
// opened. They are declared weak because the definition arrives with the driver's own
// object at the final link; cgo's intermediate link has none.
#ifndef TONGBAN_REPLICATION_SHIM_H
#define TONGBAN_REPLICATION_SHIM_H

#include <stdint.h>

typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;

// What the authorizer lets through on a connection.
enum { TB_INTERNAL = 0, TB_WRITE = 1, TB_READ = 2 };

// tb_auth is a connection's authorizer state: the mode set by the caller, and what the
// last preparation met.
typedef struct {
  int mode;
  int schema;       // A CREATE, DROP or ALTER was met.
  int denied;       // The action code that was refused, 0: none.
  int last_rowid;   // A row got the rowid 2^63-1 since this was set to 0.
  int wal_frames;   // Pages in the WAL after this connection's last commit.
  char what[96];    // Its first argument that says most: a function, a table, a pragma.
} tb_auth;

// tb_value is one column or argument.
typedef struct {
  int type;         // SQLITE_INTEGER 1, FLOAT 2, TEXT 3, BLOB 4, NULL 5.
  int n;            // Bytes of p.
  int64_t i;
  double f;
  const void *p;
} tb_value;

// tb_result is what one statement did.
typedef struct {
  int rc;           // SQLITE_DONE, or an extended error code.
  int autocommit;   // 1: no transaction is open after it.
  int64_t rowid;
  int64_t changes;
  int before;       // Set by tb_mark.
} tb_result;

tb_auth *tb_setup(sqlite3 *db);
void tb_watch_wal(sqlite3 *db, tb_auth *a);
void tb_release(sqlite3 *db, tb_auth *a);
int tb_prepare(sqlite3 *db, const char *sql, int n, sqlite3_stmt **out, int *tail);
int tb_step(sqlite3_stmt *s, tb_value *cols, int ncols);
void tb_load(sqlite3_stmt *s, tb_value *cols, int ncols);
void tb_exec(sqlite3 *db, sqlite3_stmt *s, tb_result *out);
void tb_mark(sqlite3 *db, tb_result *out);
void tb_finish(sqlite3 *db, int rc, tb_result *out);
int tb_bind_text(sqlite3_stmt *s, int i, const void *p, int n);
int tb_bind_blob(sqlite3_stmt *s, int i, const void *p, int n);
int tb_bind_int(sqlite3_stmt *s, int i, int64_t v);
int tb_bind_float(sqlite3_stmt *s, int i, double v);
int tb_bind_null(sqlite3_stmt *s, int i);
int tb_reset(sqlite3_stmt *s);
int tb_params(sqlite3_stmt *s);
int tb_readonly(sqlite3_stmt *s);
int tb_columns(sqlite3_stmt *s);
const char *tb_column_name(sqlite3_stmt *s, int i);
const char *tb_column_decltype(sqlite3_stmt *s, int i);
const char *tb_param_name(sqlite3_stmt *s, int i);
void tb_finalize(sqlite3_stmt *s);
const char *tb_errmsg(sqlite3 *db);
int tb_extended_errcode(sqlite3 *db);
int tb_autocommit(sqlite3 *db);
void tb_interrupt(sqlite3 *db);
void tb_reset_rowid(sqlite3 *db);
int tb_deferred_keys(sqlite3 *db);
int tb_complete(const char *sql);

#endif
