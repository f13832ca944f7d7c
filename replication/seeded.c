// random() and randomblob() on connections that write: seeded for each statement, so that
// every replica draws the same. The generator is ChaCha20 (RFC 8439), the statement's seed
// is the key.
#include "shim.h"
#include "sqlite_abi.h"

#include <string.h>

#define ROTL(x, n) ((x) << (n) | (x) >> (32 - (n)))

static void quarter(uint32_t x[16], int a, int b, int c, int d) {
  x[a] += x[b], x[d] = ROTL(x[d] ^ x[a], 16);
  x[c] += x[d], x[b] = ROTL(x[b] ^ x[c], 12);
  x[a] += x[b], x[d] = ROTL(x[d] ^ x[a], 8);
  x[c] += x[d], x[b] = ROTL(x[b] ^ x[c], 7);
}

// block makes the next 64 bytes of the statement's stream.
static void block(tb_auth *a) {
  uint32_t in[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, x[16];
  for (int i = 0; i < 8; i++)
    in[4 + i] = a->seed[4 * i] | a->seed[4 * i + 1] << 8 | a->seed[4 * i + 2] << 16 | (uint32_t)a->seed[4 * i + 3] << 24;
  in[12] = (uint32_t)a->drawn;
  in[13] = (uint32_t)(a->drawn >> 32);
  memcpy(x, in, sizeof x);
  for (int i = 0; i < 10; i++) {
    quarter(x, 0, 4, 8, 12), quarter(x, 1, 5, 9, 13), quarter(x, 2, 6, 10, 14), quarter(x, 3, 7, 11, 15);
    quarter(x, 0, 5, 10, 15), quarter(x, 1, 6, 11, 12), quarter(x, 2, 7, 8, 13), quarter(x, 3, 4, 9, 14);
  }
  for (int i = 0; i < 16; i++) {
    uint32_t v = x[i] + in[i];
    for (int j = 0; j < 4; j++) a->stream[4 * i + j] = (uint8_t)(v >> 8 * j);
  }
  a->drawn++;
  a->left = sizeof a->stream;
}

static void draw(tb_auth *a, uint8_t *out, int64_t n) {
  if (!a->seeded) { // A query in a closure: nothing of it is replicated.
    sqlite3_randomness((int)n, out);
    return;
  }
  while (n > 0) {
    if (a->left == 0) block(a);
    int64_t m = n < a->left ? n : a->left;
    memcpy(out, a->stream + sizeof a->stream - a->left, m);
    a->left -= m, out += m, n -= m;
  }
}

// random_int never returns the smallest integer: abs() of it is an error.
static void random_int(sqlite3_context *c, int n, sqlite3_value **args) {
  (void)n;
  (void)args;
  uint8_t b[8];
  uint64_t v = 0;
  draw(sqlite3_user_data(c), b, 8);
  for (int i = 0; i < 8; i++) v |= (uint64_t)b[i] << 8 * i;
  int64_t r = (int64_t)(v >> 1);
  sqlite3_result_int64(c, v & 1 ? -r : r);
}

static void random_blob(sqlite3_context *c, int n, sqlite3_value **args) {
  (void)n;
  int64_t size = sqlite3_value_int64(args[0]);
  if (size < 1) size = 1; // As SQLite's own.
  if (size > TB_MAX_LENGTH) {
    sqlite3_result_error_toobig(c);
    return;
  }
  uint8_t *p = sqlite3_malloc64(size);
  if (p == 0) {
    sqlite3_result_error_nomem(c);
    return;
  }
  draw(sqlite3_user_data(c), p, size);
  sqlite3_result_blob64(c, p, size, sqlite3_free);
}

// tb_seed_functions puts the two in the place of SQLite's. They are no more deterministic
// to SQLite than those were: indexes and generated columns may not use them.
int tb_seed_functions(sqlite3 *db, tb_auth *a) {
  int flags = UTF8 | INNOCUOUS;
  int rc = sqlite3_create_function_v2(db, "random", 0, flags, a, random_int, 0, 0, 0);
  return rc != OK ? rc : sqlite3_create_function_v2(db, "randomblob", 1, flags, a, random_blob, 0, 0, 0);
}
