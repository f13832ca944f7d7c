// The VFS of every connection of this package: SQLite's default one, plus
//
//   - the time of an entry instead of the machine's clock;
//   - a checksum in the last 8 bytes of every page of a main file, made when the page is
//     written and verified when it is read;
//   - the verification of each WAL frame that is read (SQLite does that at recovery only);
//   - a note on the connection when a sync fails, and a limit on temporary files.
//
// Memory mapping is not offered: it would read pages past all this.
#include "shim.h"
#include "sqlite_abi.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

__thread tb_auth *tb_running;

static sqlite3_vfs *base; // The default VFS.
static sqlite3_vfs ours;  // A copy of it with other functions to open and to tell the time.

// tb_file is a file of ours; that of the default VFS lies behind it.
typedef struct {
  sqlite3_file head;
  int page;            // Main file: bytes of a page; 0: not known yet.
  int sums;            // Main file: its pages carry checksums.
  uint8_t *buf;        // Of buf_size bytes.
  int buf_size;
  int64_t loose;       // WAL: from this frame on checksums wait for the commit; see wal_write.
  int64_t header;      // WAL: the frame whose header was written last.
  sqlite3_file *of;    // WAL: its main file.
  const char *name;    // WAL: its path.
  uint32_t marked[3];  // WAL: the last mark; see wal_mark.
  volatile uint32_t *shm; // Main file: the first part of the WAL's index.
  tb_auth *owner;      // Temporary file: the connection, and what is counted there.
  int64_t size;
} tb_file;

#define FILE_SIZE ((int)((sizeof(tb_file) + 15) / 16 * 16))
#define OURS(f) ((tb_file *)(f))
#define REAL(f) ((sqlite3_file *)((char *)(f) + FILE_SIZE))
#define CALL(f, method, ...) (REAL(f)->pMethods->method(REAL(f), ##__VA_ARGS__))

// Words of the first part of a WAL's index (WalIndexHdr and WalCkptInfo, walformat.html):
// frames, salts, and the frames that a checkpoint has begun to copy.
enum { SHM_FRAMES = 4, SHM_SALTS = 8, SHM_ATTEMPTED = 32 };
enum { SUM = 8, HEADER = 100, WAL_HEADER = 32, FRAME = 24 };
#define NONE INT64_MAX

static uint8_t *buffer(tb_file *f, int n) {
  if (f->buf_size < n) {
    free(f->buf);
    f->buf = malloc(n);
    f->buf_size = f->buf ? n : 0;
  }
  return f->buf;
}

static uint32_t big32(const uint8_t *p) { return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }

static int is_page(int n) { return n >= 512 && n <= 65536 && (n & (n - 1)) == 0; }

// ---- Checksums of pages: XXH64 (Y. Collet) with the page's number as the seed, so that a
// page in a wrong place is found too.

#define P1 0x9E3779B185EBCA87ull
#define P2 0xC2B2AE3D27D4EB4Full
#define P3 0x165667B19E3779F9ull
#define P4 0x85EBCA77C2B2AE63ull
#define ROTL(x, n) ((x) << (n) | (x) >> (64 - (n)))

static inline uint64_t word(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  v = __builtin_bswap64(v);
#endif
  return v;
}

static inline uint64_t mix(uint64_t lane, uint64_t v) { return ROTL(lane + v * P2, 31) * P1; }
static inline uint64_t merge(uint64_t h, uint64_t lane) { return (h ^ mix(0, lane)) * P1 + P4; }

// tb_sum is XXH64 of n bytes; n is a multiple of 8 and at least 32.
uint64_t tb_sum(const uint8_t *p, int n, uint64_t seed) {
  const uint8_t *end = p + n;
  uint64_t a = seed + P1 + P2, b = seed + P2, c = seed, d = seed - P1;
  for (; end - p >= 32; p += 32) {
    a = mix(a, word(p));
    b = mix(b, word(p + 8));
    c = mix(c, word(p + 16));
    d = mix(d, word(p + 24));
  }
  uint64_t h = ROTL(a, 1) + ROTL(b, 7) + ROTL(c, 12) + ROTL(d, 18);
  h = merge(merge(merge(merge(h, a), b), c), d) + (uint64_t)n;
  for (; p < end; p += 8) h = ROTL(h ^ mix(0, word(p)), 27) * P1 + P4;
  h = (h ^ h >> 33) * P2;
  h = (h ^ h >> 29) * P3;
  return h ^ h >> 32;
}

static void seal(uint8_t *page, int n, int64_t number) {
  uint64_t h = tb_sum(page, n - SUM, (uint64_t)number);
  for (int i = 0; i < SUM; i++) page[n - SUM + i] = (uint8_t)(h >> 8 * i);
}

static int sealed(const uint8_t *page, int n, int64_t number) {
  return word(page + n - SUM) == tb_sum(page, n - SUM, (uint64_t)number);
}

// tb_first_bad verifies count pages of n bytes, of which the first has the number; it
// returns the position of the first that does not match, or -1.
int tb_first_bad(const uint8_t *pages, int count, int n, int64_t number) {
  for (int i = 0; i < count; i++)
    if (!sealed(pages + (int64_t)i * n, n, number + i)) return i;
  return -1;
}

// header reads the head of a main file: bytes of a page, 0 if it is none; and whether its
// pages carry checksums. Either sign suffices, so that a damaged byte cannot switch
// the verification off.
static int header(const uint8_t *h, int *sums) {
  int page = h[16] << 8 | h[17];
  if (page == 1) page = 65536;
  *sums = 0;
  if (memcmp(h, "SQLite format 3", 16) != 0 || !is_page(page)) return 0;
  *sums = h[20] == SUM || big32(h + 68) == TB_APPLICATION;
  return page;
}

static int file_sync(sqlite3_file *p, int flags) {
  int rc = CALL(p, xSync, flags);
  if (rc != OK && tb_running) tb_running->lost_sync = rc;
  return rc;
}

// ---- The main file.

static int main_read(sqlite3_file *p, void *out, int n, sqlite3_int64 at) {
  tb_file *f = OURS(p);
  int rc = CALL(p, xRead, out, n, at);
  if (rc == OK && at == 0 && n >= HEADER) f->page = header(out, &f->sums);
  if (!f->sums || n != f->page || at % n != 0) return rc;
  if (rc == IOERR_SHORT_READ) return IOERR_DATA; // SQLite would take it for zeros.
  if (rc != OK) return rc;
  return sealed(out, n, at / n + 1) ? OK : IOERR_DATA;
}

// fill seals the pages between the end of the file and the byte at: pages that were free
// when they would have been written. So every page of the file carries its checksum.
static int fill(sqlite3_file *p, int64_t at) {
  tb_file *f = OURS(p);
  sqlite3_int64 size = 0;
  int rc = CALL(p, xFileSize, &size);
  int64_t i = (size + f->page - 1) / f->page;
  if (rc != OK || (i + 1) * f->page > at) return rc;
  uint8_t *b = buffer(f, f->page);
  if (b == 0) return IOERR_NOMEM;
  for (; rc == OK && (i + 1) * f->page <= at; i++) {
    memset(b, 0, f->page);
    seal(b, f->page, i + 1);
    rc = CALL(p, xWrite, b + f->page - SUM, SUM, (i + 1) * f->page - SUM);
  }
  return rc;
}

static int main_write(sqlite3_file *p, const void *in, int n, sqlite3_int64 at) {
  tb_file *f = OURS(p);
  if (at == 0 && n >= HEADER) {
    f->page = header(in, &f->sums);
  } else if (f->page == 0) { // Opened while it was empty.
    uint8_t head[HEADER];
    if (CALL(p, xRead, head, HEADER, 0) == OK) f->page = header(head, &f->sums);
  }
  if (!f->sums || n != f->page || at % n != 0) return CALL(p, xWrite, in, n, at);
  int rc = fill(p, at);
  if (rc != OK) return rc;
  uint8_t *b = buffer(f, n); // The caller's page is not ours to change.
  if (b == 0) return IOERR_NOMEM;
  memcpy(b, in, n);
  seal(b, n, at / n + 1);
  return CALL(p, xWrite, b, n, at);
}

static int main_truncate(sqlite3_file *p, sqlite3_int64 size) {
  if (OURS(p)->sums) {
    int rc = fill(p, size);
    if (rc != OK) return rc;
  }
  return CALL(p, xTruncate, size);
}

static int main_control(sqlite3_file *p, int op, void *arg) {
  tb_file *f = OURS(p);
  int *value = arg;
  switch (op) {
  case TB_OP_SUMS: // Asks.
    *value = f->sums ? f->page : 0;
    return OK;
  case TB_OP_FRAMES: // Asks how many frames the WAL has.
    *value = f->shm ? (int)f->shm[SHM_FRAMES] : 0;
    return OK;
  case TB_OP_RAW: {
    tb_raw *r = arg;
    sqlite3_int64 size = 0;
    int rc = CALL(p, xFileSize, &size);
    r->size = size;
    return rc == OK ? CALL(p, xRead, r->out, r->n, r->at) : rc;
  }
  }
  return CALL(p, xFileControl, op, arg);
}

// ---- The WAL. A frame is 24 bytes of header (page number, size after a commit, salts,
// checksum) and a page. Its checksum goes on from that of the frame before, over the first
// 8 bytes of the header and the page; that of the first frame from the header of the file.

static void chain(uint32_t s[2], const uint8_t *p, int n, int swap) {
  for (; n > 0; n -= 8, p += 8) {
    uint32_t x[2];
    memcpy(x, p, 8);
    if (swap) x[0] = __builtin_bswap32(x[0]), x[1] = __builtin_bswap32(x[1]);
    s[0] += x[0] + s[1];
    s[1] += x[1] + s[0];
  }
}

// frame_of is the frame whose page begins at, -1 if none does.
static int64_t frame_of(int n, int64_t at) {
  int64_t body = at - WAL_HEADER - FRAME;
  return is_page(n) && body >= 0 && body % (n + FRAME) == 0 ? body / (n + FRAME) : -1;
}

static int wal_read(sqlite3_file *p, void *out, int n, sqlite3_int64 at) {
  int rc = CALL(p, xRead, out, n, at);
  int64_t k = frame_of(n, at);
  if (rc != OK || k < 0 || k >= OURS(p)->loose) return rc;
  uint8_t head[FRAME], before[8];
  rc = CALL(p, xRead, head, FRAME, at - FRAME);
  if (rc != OK) return rc;
  rc = CALL(p, xRead, before, 8, k == 0 ? WAL_HEADER - 8 : at - FRAME - n - 8);
  if (rc != OK) return rc;
  for (int swap = 0; swap < 2; swap++) { // Words are in the order of the machine that began it.
    uint32_t s[2] = {big32(before), big32(before + 4)};
    chain(s, head, 8, swap);
    chain(s, out, n, swap);
    if (s[0] == big32(head + 16) && s[1] == big32(head + 20)) return OK;
  }
  return IOERR_DATA;
}

// wal_write notes which frames have no checksum yet. A transaction that writes a page for
// the second time puts it over its first frame, gives the frames that follow empty ones,
// and makes all of them good, from the first on, when it commits. Only this connection
// reads them before that.
static int wal_write(sqlite3_file *p, const void *in, int n, sqlite3_int64 at) {
  tb_file *f = OURS(p);
  int64_t k = frame_of(n, at);
  if (at == 0 && n == WAL_HEADER) {
    f->loose = NONE; // It begins anew.
    f->header = -1;
    f->page = (int)big32((const uint8_t *)in + 8);
  } else if (n == FRAME) {
    if (f->page == 0) {
      uint8_t size[4];
      if (CALL(p, xRead, size, 4, 8) == OK) f->page = (int)big32(size);
    }
    f->header = (at - WAL_HEADER) / (f->page + FRAME);
    uint64_t sum = word((const uint8_t *)in + 16);
    if (sum == 0 && f->header < f->loose) f->loose = f->header;
    if (sum != 0 && f->header == f->loose) f->loose++;
  } else if (k >= 0) {
    if (k != f->header && k < f->loose) f->loose = k;
    f->header = -1;
  }
  return CALL(p, xWrite, in, n, at);
}

// wal_mark writes next to the WAL how many of its frames may be copied into the main file
// from now on: salts, frames, a check of the three. At recovery SQLite takes the first
// damaged frame for the end of the WAL; only the mark tells a WAL that was never longer from
// one whose pages lie in the main file already (checkRecovery in state.go).
static int wal_mark(tb_file *f) {
  volatile uint32_t *shm = f->of ? OURS(f->of)->shm : 0;
  if (shm == 0 || shm[SHM_ATTEMPTED] == 0) return OK;
  uint32_t m[4] = {shm[SHM_SALTS], shm[SHM_SALTS + 1], shm[SHM_ATTEMPTED]};
  if (memcmp(m, f->marked, sizeof f->marked) == 0) return OK;
  m[3] = TB_MARK_CHECK(m);
  char path[4096];
  int n = snprintf(path, sizeof path, "%s" TB_MARK, f->name);
  int fd = n < (int)sizeof path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
  if (fd < 0) return IOERR_WRITE;
  int rc = pwrite(fd, m, sizeof m, 0) == sizeof m ? OK : IOERR_WRITE;
  if (rc == OK && fdatasync(fd) != 0) rc = IOERR_FSYNC;
  close(fd);
  if (rc == OK) memcpy(f->marked, m, sizeof f->marked);
  return rc;
}

// wal_sync: a checkpoint syncs the WAL before it writes to the main file.
static int wal_sync(sqlite3_file *p, int flags) {
  int rc = file_sync(p, flags);
  if (rc != OK) return rc;
  rc = wal_mark(OURS(p));
  if (rc == IOERR_FSYNC && tb_running) tb_running->lost_sync = rc;
  return rc;
}

// ---- Temporary files: sorts and the like that do not fit into memory.

static int grow(tb_file *f, int64_t size) {
  tb_auth *a = f->owner;
  if (a == 0 || size <= f->size) return OK;
  if (tb_running == a && a->mode != TB_INTERNAL && a->spilled + size - f->size > TB_MAX_SPILL) {
    a->exceeded = TB_EXCEEDED_SPILL;
    return FULL;
  }
  a->spilled += size - f->size;
  f->size = size;
  return OK;
}

static int temp_write(sqlite3_file *p, const void *in, int n, sqlite3_int64 at) {
  int rc = grow(OURS(p), at + n);
  return rc == OK ? CALL(p, xWrite, in, n, at) : rc;
}

static int temp_truncate(sqlite3_file *p, sqlite3_int64 size) {
  tb_file *f = OURS(p);
  if (f->owner && size < f->size) {
    f->owner->spilled -= f->size - size;
    f->size = size;
  }
  return CALL(p, xTruncate, size);
}

// ---- What all of them share.

static int plain_read(sqlite3_file *p, void *out, int n, sqlite3_int64 at) { return CALL(p, xRead, out, n, at); }
static int plain_truncate(sqlite3_file *p, sqlite3_int64 size) { return CALL(p, xTruncate, size); }
static int plain_control(sqlite3_file *p, int op, void *arg) { return CALL(p, xFileControl, op, arg); }

static int file_close(sqlite3_file *p) {
  tb_file *f = OURS(p);
  if (f->owner) f->owner->spilled -= f->size;
  free(f->buf);
  f->buf = 0;
  return CALL(p, xClose);
}

static int file_size(sqlite3_file *p, sqlite3_int64 *size) { return CALL(p, xFileSize, size); }
static int file_lock(sqlite3_file *p, int level) { return CALL(p, xLock, level); }
static int file_unlock(sqlite3_file *p, int level) { return CALL(p, xUnlock, level); }
static int file_reserved(sqlite3_file *p, int *out) { return CALL(p, xCheckReservedLock, out); }
static int file_sector(sqlite3_file *p) { return CALL(p, xSectorSize); }
static int file_traits(sqlite3_file *p) { return CALL(p, xDeviceCharacteristics) & ~IOCAP_SUBPAGE_READ; }
static int shm_map(sqlite3_file *p, int i, int size, int extend, void volatile **out) {
  int rc = CALL(p, xShmMap, i, size, extend, out);
  if (rc == OK && i == 0) OURS(p)->shm = *out;
  return rc;
}
static int shm_lock(sqlite3_file *p, int at, int n, int flags) { return CALL(p, xShmLock, at, n, flags); }
static void shm_barrier(sqlite3_file *p) { CALL(p, xShmBarrier); }
static int shm_unmap(sqlite3_file *p, int remove) {
  OURS(p)->shm = 0;
  return CALL(p, xShmUnmap, remove);
}

#define METHODS(read, write, truncate, sync, control)                                    \
  {2, file_close, read, write, truncate, sync, file_size, file_lock, file_unlock,   \
   file_reserved, control, file_sector, file_traits, shm_map, shm_lock, shm_barrier, shm_unmap}

static const sqlite3_io_methods main_methods = METHODS(main_read, main_write, main_truncate, file_sync, main_control);
static const sqlite3_io_methods wal_methods = METHODS(wal_read, wal_write, plain_truncate, wal_sync, plain_control);
static const sqlite3_io_methods temp_methods = METHODS(plain_read, temp_write, temp_truncate, file_sync, plain_control);

static int vfs_open(sqlite3_vfs *v, const char *name, sqlite3_file *p, int flags, int *out) {
  (void)v;
  const sqlite3_io_methods *methods = 0;
  if (flags & OPEN_MAIN_DB) methods = &main_methods;
  if (flags & OPEN_WAL) methods = &wal_methods;
  if (flags & (OPEN_TEMP_DB | OPEN_TRANSIENT_DB | OPEN_TEMP_JOURNAL | OPEN_SUBJOURNAL)) methods = &temp_methods;
  if (methods == 0) return base->xOpen(base, name, p, flags, out); // A rollback journal.
  tb_file *f = OURS(p);
  memset(f, 0, FILE_SIZE);
  f->loose = NONE;
  f->header = -1;
  int rc = base->xOpen(base, name, REAL(p), flags, out);
  if (REAL(p)->pMethods == 0) return rc;
  f->head.pMethods = methods;
  if (methods == &temp_methods) f->owner = tb_running;
  if (methods == &wal_methods) {
    f->of = sqlite3_database_file_object(name);
    f->name = name;
  }
  return rc;
}

// ---- Time: that of the statement that runs on this thread, if it has one.

enum { MS_A_DAY = 86400000 };
#define UNIX_EPOCH 210866760000000ll // Milliseconds from the epoch of Julian days.

static int now_ms(sqlite3_vfs *v, sqlite3_int64 *out) {
  (void)v;
  tb_auth *a = tb_running;
  if (a == 0 || !a->timed) return base->xCurrentTimeInt64(base, out);
  int64_t ms = a->now / 1000 - (a->now % 1000 < 0);
  *out = ms + UNIX_EPOCH;
  return OK;
}

static int now_days(sqlite3_vfs *v, double *out) {
  sqlite3_int64 ms = 0;
  int rc = now_ms(v, &ms);
  *out = (double)ms / MS_A_DAY;
  return rc;
}

// utc stands for the machine's time zone, which replicas need not share.
static int utc(const void *t, void *out) { return gmtime_r(t, out) == 0; }

// tb_start makes SQLite ready for this package, once in a process, before anything is
// opened. It returns a result code.
int tb_start(void) {
  int rc = tb_bound_memory();
  if (rc != OK) return rc;
  // One process alone uses a replica, so the index of the WAL lies in its memory and its
  // locks cost no system calls; others find the file locked.
  base = sqlite3_vfs_find("unix-excl");
  if (base == 0 || base->iVersion < 2) return MISUSE;
  sqlite3_test_control(TESTCTRL_LOCALTIME, 2, utc); // The only way to replace it.
  ours = *base;
  ours.zName = TB_VFS;
  ours.szOsFile = FILE_SIZE + base->szOsFile;
  ours.xOpen = vfs_open;
  ours.xCurrentTime = now_days;
  ours.xCurrentTimeInt64 = now_ms;
  return sqlite3_vfs_register(&ours, 0);
}
