#include "shim.h"
#include "sqlite_abi.h"

#include <stdlib.h>
#include <string.h>

#define TRANSIENT ((void (*)(void *))-1)

// The action codes of sqlite3_set_authorizer.
enum {
  A_CREATE_INDEX = 1, A_CREATE_TABLE = 2, A_CREATE_TEMP_INDEX = 3, A_CREATE_TEMP_TABLE = 4,
  A_CREATE_TEMP_TRIGGER = 5, A_CREATE_TEMP_VIEW = 6, A_CREATE_TRIGGER = 7, A_CREATE_VIEW = 8,
  A_DELETE = 9, A_DROP_INDEX = 10, A_DROP_TABLE = 11, A_DROP_TEMP_INDEX = 12,
  A_DROP_TEMP_TABLE = 13, A_DROP_TEMP_TRIGGER = 14, A_DROP_TEMP_VIEW = 15,
  A_DROP_TRIGGER = 16, A_DROP_VIEW = 17, A_INSERT = 18, A_PRAGMA = 19, A_READ = 20,
  A_SELECT = 21, A_TRANSACTION = 22, A_UPDATE = 23, A_ATTACH = 24, A_DETACH = 25,
  A_ALTER_TABLE = 26, A_REINDEX = 27, A_ANALYZE = 28, A_CREATE_VTABLE = 29,
  A_DROP_VTABLE = 30, A_FUNCTION = 31, A_SAVEPOINT = 32, A_RECURSIVE = 33
};

// Functions whose value is not a function of the database and the arguments, or that
// reach outside it. DESIGN.md says why each is here.
static const char *const unsteady[] = {
  "changes", "total_changes", "sqlite_version", "sqlite_source_id",
  "sqlite_compileoption_used", "sqlite_compileoption_get", "sqlite_log", 0};
static const char *const never[] = {"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit", 0};
// Pragmas that only look.
static const char *const looks[] = {
  "table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo",
  "foreign_key_list", "foreign_key_check", "integrity_check", "quick_check", 0};
static const char *const counts[] = {"page_size", "page_count", "freelist_count", "user_version", "encoding", "data_version", 0};
static const char *const catalogs[] = {"sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema", 0};
static const char *const modules[] = {"fts4", "fts3", "rtree", "rtree_i32", 0};

static int in(const char *const *list, const char *s) {
  if (s == 0) return 0;
  for (; *list; list++)
    if (sqlite3_stricmp(*list, s) == 0) return 1;
  return 0;
}

static int deny(tb_auth *a, int action, const char *what) {
  if (a->denied == 0) {
    a->denied = action;
    strncpy(a->what, what ? what : "", sizeof a->what - 1);
  }
  return DENY;
}

// writes judges INSERT, UPDATE and DELETE of a table. SQLite itself reports the writes
// that a CREATE, DROP or ALTER makes to its own tables; those are let through.
static int writes(tb_auth *a, int action, const char *table) {
  if (a->mode == TB_READ) return deny(a, action, table);
  if (sqlite3_strnicmp(table, "replication_", 12) == 0) return deny(a, action, table);
  if (in(catalogs, table)) return OK; // SQLite guards them: only a schema change gets through.
  if (sqlite3_strnicmp(table, "sqlite_", 7) == 0 && !a->schema) return deny(a, action, table);
  return OK;
}

static int schema(tb_auth *a, int action, const char *name, const char *table) {
  if (a->mode != TB_WRITE) return deny(a, action, name);
  if (name && sqlite3_strnicmp(name, "replication_", 12) == 0) return deny(a, action, name);
  if (table && sqlite3_strnicmp(table, "replication_", 12) == 0) return deny(a, action, table);
  a->schema = 1;
  return OK;
}

static int authorize(void *p, int action, const char *x, const char *y, const char *database, const char *trigger) {
  tb_auth *a = p;
  (void)trigger;
  if (a->mode == TB_INTERNAL) {
    return OK;
  }
  // A rename looks through the (empty) temporary schema too.
  int looks_only = action == A_READ || action == A_UPDATE || action == A_SELECT;
  if (database && sqlite3_stricmp(database, "temp") == 0 && !looks_only) return deny(a, action, "temp");
  switch (action) {
  case A_SELECT: case A_READ: case A_RECURSIVE:
    return OK;
  case A_FUNCTION:
    if (in(never, y)) return deny(a, action, y);
    return a->mode == TB_WRITE && in(unsteady, y) ? deny(a, action, y) : OK;
  case A_PRAGMA:
    return in(looks, x) || (in(counts, x) && y == 0) ? OK : deny(a, action, x);
  case A_INSERT: case A_UPDATE: case A_DELETE:
    return writes(a, action, x);
  case A_CREATE_VTABLE: case A_DROP_VTABLE:
    return in(modules, y) ? schema(a, action, x, 0) : deny(a, action, y);
  case A_ALTER_TABLE:
    return schema(a, action, y, 0);
  case A_CREATE_TABLE: case A_CREATE_VIEW: case A_DROP_TABLE: case A_DROP_VIEW: case A_REINDEX:
    return schema(a, action, x, 0);
  case A_CREATE_INDEX: case A_CREATE_TRIGGER: case A_DROP_INDEX: case A_DROP_TRIGGER:
    return schema(a, action, x, y);
  default: // ATTACH, DETACH, transactions, savepoints, temporary objects, ANALYZE, what is new.
    return deny(a, action, x);
  }
}

// updated is told of each row that is inserted, changed or deleted, by triggers too.
static void updated(void *p, int action, const char *database, const char *table, sqlite3_int64 rowid) {
  (void)database;
  (void)table;
  if (rowid == INT64_MAX && action != A_DELETE) ((tb_auth *)p)->last_rowid = 1;
}

tb_auth *tb_setup(sqlite3 *db) {
  tb_auth *a = calloc(1, sizeof *a);
  if (a == 0) return 0;
  sqlite3_extended_result_codes(db, 1);
  tb_set_limits(db);
  sqlite3_db_config(db, DBCONFIG_DEFENSIVE, 1, (int *)0);
  sqlite3_db_config(db, DBCONFIG_TRUSTED_SCHEMA, 0, (int *)0);
  sqlite3_db_config(db, DBCONFIG_DQS_DML, 0, (int *)0);
  sqlite3_db_config(db, DBCONFIG_DQS_DDL, 0, (int *)0);
  sqlite3_set_authorizer(db, authorize, a);
  sqlite3_update_hook(db, updated, a);
  return a;
}

static int committed(void *p, sqlite3 *db, const char *database, int frames) {
  (void)db;
  (void)database;
  ((tb_auth *)p)->wal_frames = frames;
  return OK;
}

// tb_watch_wal counts the WAL; PRAGMA wal_autocheckpoint uses the same hook, and ends it.
void tb_watch_wal(sqlite3 *db, tb_auth *a) { sqlite3_wal_hook(db, committed, a); }

// tb_release comes before the connection is closed, which may still use its tb_auth.
void tb_release(sqlite3 *db) {
  sqlite3_set_authorizer(db, 0, 0);
  sqlite3_update_hook(db, 0, 0);
  sqlite3_wal_hook(db, 0, 0);
}

// tb_enter makes a, or 0, the connection that runs on this thread.
void tb_enter(tb_auth *a) { tb_running = a; }

// tb_reserve makes an empty database one whose pages have room for a checksum.
void tb_reserve(sqlite3 *db) {
  int sum = 8;
  sqlite3_file_control(db, "main", FCNTL_RESERVE_BYTES, &sum);
}

// tb_control is an operation of ours on the main file; it returns the value afterwards.
int tb_control(sqlite3 *db, int op, int value) {
  int rc = sqlite3_file_control(db, "main", op, &value);
  return rc == OK ? value : 0;
}

// tb_read_raw reads bytes of the main file unverified, and its size. IOERR_SHORT_READ: it
// ends before that.
int tb_read_raw(sqlite3 *db, void *out, int n, int64_t at, int64_t *size) {
  tb_raw r = {out, n, at, 0};
  int rc = sqlite3_file_control(db, "main", TB_OP_RAW, &r);
  *size = r.size;
  return rc;
}

int tb_engine(void) { return sqlite3_libversion_number(); }

int tb_prepare(sqlite3 *db, tb_auth *a, const char *sql, int n, sqlite3_stmt **out, int *tail) {
  const char *end = sql + n;
  tb_running = a;
  int rc = sqlite3_prepare_v3(db, sql, n, PREPARE_PERSISTENT, out, &end);
  tb_running = 0;
  *tail = end ? (int)(end - sql) : n;
  return rc;
}

static int step(sqlite3_stmt *s, tb_value *cols, int ncols) {
  int rc = sqlite3_step(s);
  if (rc == ROW) tb_load(s, cols, ncols);
  return rc;
}

// tb_load reads the row that a step has reached.
void tb_load(sqlite3_stmt *s, tb_value *cols, int ncols) {
  for (int i = 0; i < ncols; i++) {
    tb_value *c = &cols[i];
    c->type = sqlite3_column_type(s, i);
    switch (c->type) {
    case 1: c->i = sqlite3_column_int64(s, i); break;
    case 2: c->f = sqlite3_column_double(s, i); break;
    case 3: c->p = sqlite3_column_text(s, i); c->n = sqlite3_column_bytes(s, i); break;
    case 4: c->p = sqlite3_column_blob(s, i); c->n = sqlite3_column_bytes(s, i); break;
    }
  }
}

int tb_step(sqlite3_stmt *s, tb_auth *a, tb_value *cols, int ncols) {
  tb_running = a;
  int rc = step(s, cols, ncols); // A column's text may have to be converted.
  tb_running = 0;
  return rc;
}

// tb_mark and tb_finish stand around the steps of a statement: with RETURNING the count of
// changes is known only at its end. changes is 0 for a statement that is no INSERT, UPDATE or
// DELETE: SQLite leaves the count of the one before.
void tb_mark(sqlite3 *db, tb_result *out) { out->before = sqlite3_total_changes(db); }

void tb_finish(sqlite3 *db, int rc, tb_result *out) {
  out->rc = rc;
  out->rowid = sqlite3_last_insert_rowid(db);
  out->changes = sqlite3_total_changes(db) == out->before ? 0 : sqlite3_changes(db);
  out->autocommit = sqlite3_get_autocommit(db);
}

// tb_exec runs a statement to its end.
void tb_exec(sqlite3 *db, sqlite3_stmt *s, tb_auth *a, tb_result *out) {
  int rc;
  tb_mark(db, out);
  tb_running = a;
  while ((rc = sqlite3_step(s)) == ROW) {
  }
  tb_running = 0;
  tb_finish(db, rc, out);
}

int tb_bind_text(sqlite3_stmt *s, tb_auth *a, int i, const void *p, int n) {
  tb_running = a;
  int rc = sqlite3_bind_text(s, i, p ? p : "", n, TRANSIENT);
  tb_running = 0;
  return rc;
}
int tb_bind_blob(sqlite3_stmt *s, tb_auth *a, int i, const void *p, int n) {
  tb_running = a;
  int rc = sqlite3_bind_blob(s, i, p ? p : "", n, TRANSIENT);
  tb_running = 0;
  return rc;
}
int tb_bind_int(sqlite3_stmt *s, int i, int64_t v) { return sqlite3_bind_int64(s, i, v); }
int tb_bind_float(sqlite3_stmt *s, int i, double v) { return sqlite3_bind_double(s, i, v); }
int tb_bind_null(sqlite3_stmt *s, int i) { return sqlite3_bind_null(s, i); }
int tb_reset(sqlite3_stmt *s, tb_auth *a) {
  tb_running = a;
  int rc = sqlite3_reset(s);
  sqlite3_clear_bindings(s);
  tb_running = 0;
  return rc;
}
int tb_params(sqlite3_stmt *s) { return sqlite3_bind_parameter_count(s); }
int tb_readonly(sqlite3_stmt *s) { return sqlite3_stmt_readonly(s); }
int tb_columns(sqlite3_stmt *s) { return sqlite3_column_count(s); }
const char *tb_column_name(sqlite3_stmt *s, int i) { return sqlite3_column_name(s, i); }
const char *tb_column_decltype(sqlite3_stmt *s, int i) { return sqlite3_column_decltype(s, i); }
const char *tb_param_name(sqlite3_stmt *s, int i) { return sqlite3_bind_parameter_name(s, i); }
void tb_finalize(sqlite3_stmt *s, tb_auth *a) {
  tb_running = a;
  sqlite3_finalize(s);
  tb_running = 0;
}
const char *tb_errmsg(sqlite3 *db) { return sqlite3_errmsg(db); }
int tb_extended_errcode(sqlite3 *db) { return sqlite3_extended_errcode(db); }
int tb_autocommit(sqlite3 *db) { return sqlite3_get_autocommit(db); }
void tb_interrupt(sqlite3 *db) { sqlite3_interrupt(db); }
void tb_reset_rowid(sqlite3 *db) { sqlite3_set_last_insert_rowid(db, 0); }
int tb_deferred_keys(sqlite3 *db) {
  int now = 0, high = 0;
  sqlite3_db_status(db, DBSTATUS_DEFERRED_FKS, &now, &high, 0);
  return now;
}
int tb_complete(const char *sql) { return sqlite3_complete(sql); }
