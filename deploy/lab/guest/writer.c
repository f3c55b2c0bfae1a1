// The witness inside the lab's guest: it keeps committing data whose loss or damage can be proven afterwards.
//
//   writer DIR run INTERVAL_MS   writes until SIGTERM, one step every INTERVAL_MS (0: as fast as it can)
//   writer DIR count             prints the number of committed rows
//   writer DIR verify            re-reads everything, prints one JSON line, exits 1 when a promise was broken or there is no data;
//                                a and lazy count good records, bad counts broken promises, integrity: ok, damaged or missing
//   writer needs-recovery DEV    prints 1 when the ext4 on DEV was not cleanly unmounted or frozen (journal replay due), else 0
//
// One step of number N (1, 2, 3, ... without a gap, over all boots):
//   1. record N is written to A.log and fsynced       (durable from here on)
//   2. record N is written to lazy.log, no fsync      (only a clean unmount or a freeze makes it durable)
//   3. row N is committed to rows.db                  (SQLite, WAL, synchronous=FULL: durable when COMMIT returns)
// So at any instant, also in a copy taken by pulling the plug: rows 1..n intact, A.log intact for 1..n and perhaps n+1.
// Only a frozen or unmounted file system has lazy.log complete too; that tells a quiesced copy from a crash copy.
//
// Record N lies at byte (N-1)*64 of its log. Numbers are little endian. After an unclean stop both logs are cut or
// extended to the last row; what lazy.log lost stays visible as records of zeros.
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

enum { kRecordBytes = 64, kPayloadBytes = 512, kBusyTimeoutMs = 10000 };

struct record {
  uint64_t seq;
  uint64_t time_us;
  uint8_t filler[44];
  uint32_t crc;  // of everything before it
};
_Static_assert(sizeof(struct record) == kRecordBytes, "a record is 64 bytes without padding");

static volatile sig_atomic_t stop_asked;

static void on_term(int signo) {
  (void)signo;
  stop_asked = 1;
}

static void die(const char *what, const char *why) {
  fprintf(stderr, "writer: %s: %s\n", what, why);
  exit(2);
}

// CRC-32 (IEEE 802.3), `crc` being that of the bytes before. By table: the guest's processor is emulated and slow.
static uint32_t crc32_of(uint32_t crc, const void *data, size_t size) {
  static uint32_t table[256];
  if (table[1] == 0) {
    for (uint32_t i = 0; i < 256; i++) {
      table[i] = i;
      for (int bit = 0; bit < 8; bit++) table[i] = (table[i] >> 1) ^ (0xEDB88320u & -(table[i] & 1));
    }
  }
  const uint8_t *bytes = data;
  crc = ~crc;
  for (size_t i = 0; i < size; i++) crc = (crc >> 8) ^ table[(crc ^ bytes[i]) & 0xFF];
  return ~crc;
}

// Bytes that follow from `seed` alone, and do not compress.
static void fill_from_seed(uint64_t seed, uint8_t *out, size_t size) {
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (size_t i = 0; i < size; i++) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    out[i] = (uint8_t)(state >> 32);
  }
}

static uint64_t now_us(void) {
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

// ---- the logs

static struct record make_record(uint64_t seq, uint64_t time_us) {
  struct record r = {.seq = htole64(seq), .time_us = htole64(time_us)};
  fill_from_seed(seq, r.filler, sizeof r.filler);
  r.crc = htole32(crc32_of(0, &r, offsetof(struct record, crc)));
  return r;
}

static int record_is_good(const struct record *r, uint64_t seq) {
  return le64toh(r->seq) == seq && le32toh(r->crc) == crc32_of(0, r, offsetof(struct record, crc));
}

static int open_log(const char *dir, const char *name, int flags) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  int fd = open(path, flags | O_CLOEXEC, 0644);
  if (fd < 0 && !(errno == ENOENT && !(flags & O_CREAT))) die(path, strerror(errno));
  return fd;
}

static void write_record(int fd, const struct record *r, uint64_t seq) {
  ssize_t done = pwrite(fd, r, sizeof *r, (off_t)((seq - 1) * kRecordBytes));
  if (done != (ssize_t)sizeof *r) die("log", done < 0 ? strerror(errno) : "short write");
}

// Cuts or extends a log to exactly `records` records, durably.
static void fit_log(int fd, uint64_t records) {
  if (ftruncate(fd, (off_t)(records * kRecordBytes)) != 0 || fsync(fd) != 0) die("log", strerror(errno));
}

struct log_facts {
  uint64_t size_records;   // whole records in the file, good or not
  uint64_t good;           // all good records
  uint64_t good_promised;  // good records among the first `promised`
};

static struct log_facts read_log(const char *dir, const char *name, uint64_t promised) {
  struct log_facts facts = {0, 0, 0};
  int fd = open_log(dir, name, O_RDONLY);
  if (fd < 0) return facts;
  FILE *in = fdopen(fd, "r");
  if (!in) die(name, strerror(errno));
  struct record r;
  while (fread(&r, sizeof r, 1, in) == 1) {
    facts.size_records++;
    if (!record_is_good(&r, facts.size_records)) continue;
    facts.good++;
    if (facts.size_records <= promised) facts.good_promised++;
  }
  if (ferror(in)) die(name, strerror(errno));
  fclose(in);
  return facts;
}

// ---- the database

static sqlite3 *open_db(const char *dir, int flags) {
  char path[4096];
  sqlite3 *db = NULL;
  snprintf(path, sizeof path, "%s/rows.db", dir);
  if (sqlite3_open_v2(path, &db, flags, NULL) != SQLITE_OK) die(path, sqlite3_errmsg(db));
  sqlite3_busy_timeout(db, kBusyTimeoutMs);
  return db;
}

static void exec_sql(sqlite3 *db, const char *sql) {
  if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) die(sql, sqlite3_errmsg(db));
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql) {
  sqlite3_stmt *stmt = NULL;
  if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK) die(sql, sqlite3_errmsg(db));
  return stmt;
}

static uint64_t query_number(sqlite3 *db, const char *sql) {
  sqlite3_stmt *stmt = prepare(db, sql);
  if (sqlite3_step(stmt) != SQLITE_ROW) die(sql, sqlite3_errmsg(db));
  uint64_t value = (uint64_t)sqlite3_column_int64(stmt, 0);
  sqlite3_finalize(stmt);
  return value;
}

static int file_exists(const char *dir, const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return access(path, F_OK) == 0;
}

// Right after the first start there may be a database without its table yet.
static int has_table(sqlite3 *db) { return query_number(db, "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'rows'") == 1; }

static uint32_t row_crc(uint64_t seq, uint64_t time_us, const void *payload, size_t size) {
  uint64_t head[2] = {htole64(seq), htole64(time_us)};
  return crc32_of(crc32_of(0, head, sizeof head), payload, size);
}

static void insert_row(sqlite3 *db, sqlite3_stmt *insert, uint64_t seq, uint64_t time_us) {
  uint8_t payload[kPayloadBytes];
  fill_from_seed(~seq, payload, sizeof payload);
  sqlite3_bind_int64(insert, 1, (sqlite3_int64)seq);
  sqlite3_bind_int64(insert, 2, (sqlite3_int64)time_us);
  sqlite3_bind_blob(insert, 3, payload, sizeof payload, SQLITE_STATIC);
  sqlite3_bind_int64(insert, 4, row_crc(seq, time_us, payload, sizeof payload));
  if (sqlite3_step(insert) != SQLITE_DONE) die("insert", sqlite3_errmsg(db));
  sqlite3_reset(insert);
}

// ---- commands

static void pause_ms(long ms) {
  struct timespec ts = {ms / 1000, (ms % 1000) * 1000000L};
  if (ms > 0) nanosleep(&ts, NULL);  // a signal ends the pause early, which is what is wanted
}

static int run(const char *dir, long interval_ms) {
  struct sigaction action = {.sa_handler = on_term};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);

  sqlite3 *db = open_db(dir, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  exec_sql(db, "PRAGMA journal_mode=WAL");
  exec_sql(db, "PRAGMA synchronous=FULL");
  exec_sql(db, "CREATE TABLE IF NOT EXISTS rows (seq INTEGER PRIMARY KEY, time_us INTEGER NOT NULL, payload BLOB NOT NULL, "
               "crc INTEGER NOT NULL) STRICT");
  sqlite3_stmt *insert = prepare(db, "INSERT INTO rows (seq, time_us, payload, crc) VALUES (?, ?, ?, ?)");
  uint64_t seq = query_number(db, "SELECT COALESCE(MAX(seq), 0) FROM rows");

  int a = open_log(dir, "A.log", O_RDWR | O_CREAT), lazy = open_log(dir, "lazy.log", O_RDWR | O_CREAT);
  if (read_log(dir, "A.log", seq).good_promised < seq) die("A.log", "lost records it had promised; not continuing over the evidence");
  fit_log(a, seq);
  fit_log(lazy, seq);
  printf("writer: continues after %llu\n", (unsigned long long)seq);
  fflush(stdout);

  while (!stop_asked) {
    uint64_t time_us = now_us();
    struct record r = make_record(++seq, time_us);
    write_record(a, &r, seq);
    if (fsync(a) != 0) die("A.log", strerror(errno));
    write_record(lazy, &r, seq);
    insert_row(db, insert, seq, time_us);
    pause_ms(interval_ms);
  }
  sqlite3_finalize(insert);
  sqlite3_close(db);
  return 0;
}

static int count(const char *dir) {
  uint64_t rows = 0;
  if (file_exists(dir, "rows.db")) {
    sqlite3 *db = open_db(dir, SQLITE_OPEN_READWRITE);
    if (has_table(db)) rows = query_number(db, "SELECT COUNT(*) FROM rows");
    sqlite3_close(db);
  }
  printf("%llu\n", (unsigned long long)rows);
  return 0;
}

struct row_facts {
  uint64_t rows, last_seq, bad;
};

static struct row_facts read_rows(sqlite3 *db) {
  struct row_facts facts = {0, 0, 0};
  sqlite3_stmt *stmt = prepare(db, "SELECT seq, time_us, payload, crc FROM rows ORDER BY seq");
  int rc;
  while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
    uint64_t seq = (uint64_t)sqlite3_column_int64(stmt, 0), time_us = (uint64_t)sqlite3_column_int64(stmt, 1);
    uint32_t crc = row_crc(seq, time_us, sqlite3_column_blob(stmt, 2), (size_t)sqlite3_column_bytes(stmt, 2));
    facts.rows++;
    if (seq != facts.last_seq + 1 || crc != (uint32_t)sqlite3_column_int64(stmt, 3)) facts.bad++;
    facts.last_seq = seq;
  }
  if (rc != SQLITE_DONE) facts.bad++;
  sqlite3_finalize(stmt);
  return facts;
}

static int integrity_is_ok(sqlite3 *db) {
  sqlite3_stmt *stmt = NULL;
  int ok = sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &stmt, NULL) == SQLITE_OK &&
           sqlite3_step(stmt) == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") == 0;
  sqlite3_finalize(stmt);
  return ok;
}

// Broken promises about A.log: a row without its record, or more records than the step in flight can explain.
static uint64_t broken_in_a(const struct log_facts *a, uint64_t last_seq_before, uint64_t last_seq_after) {
  return last_seq_before - a->good_promised + (a->size_records > last_seq_after + 1 ? 1 : 0);
}

static int verify(const char *dir) {
  struct row_facts rows = {0, 0, 0};
  const char *integrity = "missing";
  sqlite3 *db = NULL;
  if (file_exists(dir, "rows.db")) {
    db = open_db(dir, SQLITE_OPEN_READWRITE);
    integrity = !integrity_is_ok(db) ? "damaged" : has_table(db) ? "ok" : "missing";
  }
  int readable = strcmp(integrity, "ok") == 0;
  if (readable) rows = read_rows(db);
  // The logs are read between two looks at the rows, since this may run beside the writer.
  struct log_facts a = read_log(dir, "A.log", rows.last_seq), lazy = read_log(dir, "lazy.log", 0);
  uint64_t last_seq_after = readable ? query_number(db, "SELECT COALESCE(MAX(seq), 0) FROM rows") : 0;
  sqlite3_close(db);
  uint64_t bad = rows.bad + broken_in_a(&a, rows.last_seq, last_seq_after);
  printf("{\"rows\":%llu,\"last_seq\":%llu,\"integrity\":\"%s\",\"a\":%llu,\"lazy\":%llu,\"bad\":%llu}\n",
         (unsigned long long)rows.rows, (unsigned long long)rows.last_seq, integrity, (unsigned long long)a.good,
         (unsigned long long)lazy.good, (unsigned long long)bad);
  return readable && bad == 0 ? 0 : 1;
}

// Source: Linux Documentation/filesystems/ext4/super.rst: superblock at byte 1024, s_magic 0x38, s_feature_incompat 0x60,
// INCOMPAT_RECOVER 0x4.
static int needs_recovery(const char *device) {
  uint8_t super[1024];
  int fd = open(device, O_RDONLY | O_CLOEXEC);
  if (fd < 0) die(device, strerror(errno));
  if (pread(fd, super, sizeof super, 1024) != (ssize_t)sizeof super) die(device, "cannot read the superblock");
  close(fd);
  if (super[0x38] != 0x53 || super[0x39] != 0xEF) die(device, "no ext4 file system");
  puts(super[0x60] & 0x4 ? "1" : "0");
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "needs-recovery") == 0) return needs_recovery(argv[2]);
  if (argc == 3 && strcmp(argv[2], "count") == 0) return count(argv[1]);
  if (argc == 3 && strcmp(argv[2], "verify") == 0) return verify(argv[1]);
  if (argc == 4 && strcmp(argv[2], "run") == 0) return run(argv[1], strtol(argv[3], NULL, 10));
  fprintf(stderr, "usage: writer DIR run INTERVAL_MS | writer DIR count | writer DIR verify | writer needs-recovery DEV\n");
  return 2;
}
