// The few SQLite functions that the Go driver does not expose, reached on the handle it
// opened (see sqlite_abi.h), and what replication adds to SQLite: vfs.c, seeded.c, limits.c.
#ifndef TONGBAN_REPLICATION_SHIM_H
#define TONGBAN_REPLICATION_SHIM_H

#include <stdint.h>

typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;

#define TB_VFS "tongban"
// In the header of a main file (application_id): its pages carry our checksums.
#define TB_APPLICATION 0x74676231u // "tgb1"

// What follows the WAL's name in that of its mark, and the check of the mark's three words.
#define TB_MARK "-mark"
#define TB_MARK_CHECK(m) (((m)[0] ^ (m)[1]) * 0x9E3779B1u ^ (m)[2] ^ 0x746d6b31u)

// Operations of sqlite3_file_control on a main file; the argument is an int, or a tb_raw.
enum { TB_OP_SUMS = 0x7462001, TB_OP_FRAMES, TB_OP_RAW };

// tb_raw reads n bytes of a main file as they are, and asks for its size.
typedef struct {
  void *out;
  int n;
  int64_t at;
  int64_t size;
} tb_raw;

#define TB_MAX_SQL (1 << 20)         // Bytes of a statement.
#define TB_MAX_LENGTH (16 << 20)    // Bytes of a text, a blob or a row.
#define TB_MAX_HEAP (64ll << 20)    // Bytes that a statement may add to what its connection holds.
#define TB_MAX_SPILL (512ll << 20)  // Bytes of a connection's temporary files.
enum { TB_EXCEEDED_HEAP = 1, TB_EXCEEDED_SPILL = 2 };

// What the authorizer lets through on a connection.
enum { TB_INTERNAL = 0, TB_WRITE = 1, TB_READ = 2 };

// tb_auth is what our code knows of a connection: the mode, time and seed set by the
// caller, what the authorizer met in the last preparation, and what is counted.
typedef struct {
  int mode;
  int schema;       // A CREATE, DROP or ALTER was met.
  int denied;       // The action code that was refused, 0: none.
  int last_rowid;   // A row got the rowid 2^63-1 since this was set to 0.
  int wal_frames;   // Pages in the WAL after this connection's last commit.
  int lost_sync;    // The code of the last sync that failed, 0: none has.
  int exceeded;     // The limit that refused something since this was set to 0.
  int timed;        // 1: now is the time; 0: the machine's clock is.
  int64_t now;      // Unix microseconds.
  int64_t heap, heap_base, spilled;
  int seeded;       // 1: random() draws from the seed; 0: from SQLite's generator.
  int left;         // Bytes at the end of stream that were not drawn yet.
  uint64_t drawn;   // Blocks of stream that were.
  uint8_t seed[32];
  uint8_t stream[64];
  char what[96];    // The refused action's argument that says most: a function, a table, a pragma.
} tb_auth;

// tb_running is the connection whose statement runs on this thread: SQLite tells neither
// the allocator nor the clock for whom it asks.
extern __thread tb_auth *tb_running;

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

int tb_start(void);
int tb_bound_memory(void);
void tb_return_memory(void);
int tb_engine(void);
uint64_t tb_sum(const uint8_t *p, int n, uint64_t seed);
int tb_first_bad(const uint8_t *pages, int count, int n, int64_t number);
int tb_seed_functions(sqlite3 *db, tb_auth *a);
void tb_set_limits(sqlite3 *db);
int tb_control(sqlite3 *db, int op, int value);
int tb_read_raw(sqlite3 *db, void *out, int n, int64_t at, int64_t *size);
void tb_reserve(sqlite3 *db);
tb_auth *tb_setup(sqlite3 *db);
void tb_watch_wal(sqlite3 *db, tb_auth *a);
void tb_release(sqlite3 *db);
void tb_enter(tb_auth *a);
int tb_prepare(sqlite3 *db, tb_auth *a, const char *sql, int n, sqlite3_stmt **out, int *tail);
int tb_step(sqlite3_stmt *s, tb_auth *a, tb_value *cols, int ncols);
void tb_load(sqlite3_stmt *s, tb_value *cols, int ncols);
void tb_exec(sqlite3 *db, sqlite3_stmt *s, tb_auth *a, tb_result *out);
void tb_mark(sqlite3 *db, tb_result *out);
void tb_finish(sqlite3 *db, int rc, tb_result *out);
int tb_bind_text(sqlite3_stmt *s, tb_auth *a, int i, const void *p, int n);
int tb_bind_blob(sqlite3_stmt *s, tb_auth *a, int i, const void *p, int n);
int tb_bind_int(sqlite3_stmt *s, int i, int64_t v);
int tb_bind_float(sqlite3_stmt *s, int i, double v);
int tb_bind_null(sqlite3_stmt *s, int i);
int tb_reset(sqlite3_stmt *s, tb_auth *a);
int tb_params(sqlite3_stmt *s);
int tb_readonly(sqlite3_stmt *s);
int tb_columns(sqlite3_stmt *s);
const char *tb_column_name(sqlite3_stmt *s, int i);
const char *tb_column_decltype(sqlite3_stmt *s, int i);
const char *tb_param_name(sqlite3_stmt *s, int i);
void tb_finalize(sqlite3_stmt *s, tb_auth *a);
const char *tb_errmsg(sqlite3 *db);
int tb_extended_errcode(sqlite3 *db);
int tb_autocommit(sqlite3 *db);
void tb_interrupt(sqlite3 *db);
void tb_reset_rowid(sqlite3 *db);
int tb_deferred_keys(sqlite3 *db);
int tb_complete(const char *sql);

#endif
