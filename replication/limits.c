// What one statement may use: SQLite's own limits, and a bound on memory.
#include <malloc.h>

#include "shim.h"
#include "sqlite_abi.h"

// Numbered as sqlite3_limit numbers them. A change of one that can make a write fail is a
// change of engineRules (engine version), for replicas must fail alike.
static const int limits[] = {
  TB_MAX_LENGTH, // Bytes of a text, a blob or a row.
  TB_MAX_SQL,    // Bytes of a statement.
  2000,          // Columns of a table, an index or a result.
  500,           // Depth of an expression.
  500,           // SELECTs of a UNION.
  1000000,       // Instructions of a compiled statement.
  127,           // Arguments of a function.
  0,             // Attached databases.
  1024,          // Bytes of a pattern of LIKE or GLOB, whose cost grows with it and the text.
  32766,         // Parameters.
  100,           // Depth of triggers that fire triggers.
  0,             // Threads that help with a sort.
};

void tb_set_limits(sqlite3 *db) {
  for (int i = 0; i < (int)(sizeof limits / sizeof *limits); i++) sqlite3_limit(db, i, limits[i]);
}

// The allocator counts what each connection holds, and refuses what a statement wants
// beyond its share: SQLite has a limit for the process only, under which one tenant's
// statement would be another's failure. What this package executes by itself (the entries
// of the log above all) is counted and never refused.

static sqlite3_mem_methods memory; // SQLite's own.

static int refused(tb_auth *a, int64_t n) {
  if (a->mode == TB_INTERNAL || a->heap + n <= a->heap_base + TB_MAX_HEAP) return 0;
  a->exceeded = TB_EXCEEDED_HEAP;
  return 1;
}

static void *take(int n) {
  tb_auth *a = tb_running;
  if (a == 0) return memory.xMalloc(n);
  if (refused(a, n)) return 0;
  void *p = memory.xMalloc(n);
  if (p) a->heap += memory.xSize(p);
  return p;
}

static void give(void *p) {
  if (tb_running && p) tb_running->heap -= memory.xSize(p);
  memory.xFree(p);
}

static void *again(void *p, int n) {
  tb_auth *a = tb_running;
  if (a == 0) return memory.xRealloc(p, n);
  int before = memory.xSize(p);
  if (n > before && refused(a, n - before)) return 0;
  void *q = memory.xRealloc(p, n);
  if (q) a->heap += memory.xSize(q) - before;
  return q;
}

// tb_bound_memory must come before SQLite is used; later it returns MISUSE. SQLite's own
// statistics go: they cost a mutex that all connections share.
int tb_bound_memory(void) {
  int rc = sqlite3_config(CONFIG_GETMALLOC, &memory);
  if (rc != OK) return rc;
  sqlite3_mem_methods counting = memory;
  counting.xMalloc = take, counting.xFree = give, counting.xRealloc = again;
  rc = sqlite3_config(CONFIG_MALLOC, &counting);
  return rc != OK ? rc : sqlite3_config(CONFIG_MEMSTATUS, 0);
}

// tb_return_memory gives the kernel what C has freed. glibc keeps it in an arena for each
// thread, and a page there is free only when all of it is.
void tb_return_memory(void) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}
