#include "tests/support/sqlite_faults.h"

#include <sqlite3.h>

#include <cstddef>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/status.h"

namespace umbra::testing {
namespace {

struct State {
  absl::Mutex mu;
  uint64_t countdown ABSL_GUARDED_BY(mu) = 0;  // 0: no fault is due
  SqliteFault fault ABSL_GUARDED_BY(mu) = SqliteFault::kNoSpace;
  bool for_good ABSL_GUARDED_BY(mu) = false;
  bool struck ABSL_GUARDED_BY(mu) = false;
};
State state;
sqlite3_vfs* real_vfs = nullptr;

// SQLITE_OK, or what this call meets.
int Meet(int io_error) {
  absl::MutexLock lock(&state.mu);
  if (state.countdown == 0) return SQLITE_OK;
  if (state.countdown > 1) {
    --state.countdown;
    return SQLITE_OK;
  }
  state.struck = true;
  if (!state.for_good) state.countdown = 0;
  return state.fault == SqliteFault::kNoSpace ? SQLITE_FULL : io_error;
}

// The real file lies behind ours in one piece of memory.
struct FaultFile {
  sqlite3_file base;
};
sqlite3_file* RealOf(sqlite3_file* file) {
  return reinterpret_cast<sqlite3_file*>(reinterpret_cast<std::byte*>(file) + sizeof(FaultFile));
}
const sqlite3_io_methods& M(sqlite3_file* file) {
  return *RealOf(file)->pMethods;
}

const sqlite3_io_methods kMethods = {
    3,
    [](sqlite3_file* f) { return M(f).xClose(RealOf(f)); },
    [](sqlite3_file* f, void* out, int size, sqlite3_int64 at) { return M(f).xRead(RealOf(f), out, size, at); },
    [](sqlite3_file* f, const void* data, int size, sqlite3_int64 at) {
      const int met = Meet(SQLITE_IOERR_WRITE);
      return met == SQLITE_OK ? M(f).xWrite(RealOf(f), data, size, at) : met;
    },
    [](sqlite3_file* f, sqlite3_int64 size) {
      const int met = Meet(SQLITE_IOERR_TRUNCATE);
      return met == SQLITE_OK ? M(f).xTruncate(RealOf(f), size) : met;
    },
    [](sqlite3_file* f, int flags) {
      const int met = Meet(SQLITE_IOERR_FSYNC);
      return met == SQLITE_OK ? M(f).xSync(RealOf(f), flags) : met;
    },
    [](sqlite3_file* f, sqlite3_int64* size) { return M(f).xFileSize(RealOf(f), size); },
    [](sqlite3_file* f, int level) { return M(f).xLock(RealOf(f), level); },
    [](sqlite3_file* f, int level) { return M(f).xUnlock(RealOf(f), level); },
    [](sqlite3_file* f, int* held) { return M(f).xCheckReservedLock(RealOf(f), held); },
    [](sqlite3_file* f, int op, void* argument) { return M(f).xFileControl(RealOf(f), op, argument); },
    [](sqlite3_file* f) { return M(f).xSectorSize(RealOf(f)); },
    [](sqlite3_file* f) { return M(f).xDeviceCharacteristics(RealOf(f)); },
    [](sqlite3_file* f, int page, int size, int extend, void volatile** out) {
      const int met = extend != 0 ? Meet(SQLITE_IOERR_SHMSIZE) : SQLITE_OK;
      return met == SQLITE_OK ? M(f).xShmMap(RealOf(f), page, size, extend, out) : met;
    },
    [](sqlite3_file* f, int offset, int count, int flags) { return M(f).xShmLock(RealOf(f), offset, count, flags); },
    [](sqlite3_file* f) { M(f).xShmBarrier(RealOf(f)); },
    [](sqlite3_file* f, int remove) { return M(f).xShmUnmap(RealOf(f), remove); },
    [](sqlite3_file* f, sqlite3_int64 at, int size, void** out) { return M(f).xFetch(RealOf(f), at, size, out); },
    [](sqlite3_file* f, sqlite3_int64 at, void* page) { return M(f).xUnfetch(RealOf(f), at, page); },
};

int Open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  file->pMethods = nullptr;
  const int met = (flags & SQLITE_OPEN_CREATE) != 0 ? Meet(SQLITE_CANTOPEN) : SQLITE_OK;
  if (met != SQLITE_OK) return met;
  const int opened = real_vfs->xOpen(real_vfs, name, RealOf(file), flags, out_flags);
  if (RealOf(file)->pMethods != nullptr) file->pMethods = &kMethods;
  return opened;
}

// Everything else is the real one's; it only looks at what it is given.
bool Install() {
  static sqlite3_vfs vfs;
  real_vfs = sqlite3_vfs_find(nullptr);
  UMBRA_CHECK(real_vfs != nullptr);
  vfs = *real_vfs;
  vfs.zName = "umbra-faults";
  vfs.szOsFile = static_cast<int>(sizeof(FaultFile)) + real_vfs->szOsFile;
  vfs.xOpen = Open;
  return sqlite3_vfs_register(&vfs, 1) == SQLITE_OK;
}
// Before any database is opened.
const bool installed = Install();

}  // namespace

void FailSqliteAt(uint64_t call, SqliteFault fault, bool for_good) {
  UMBRA_CHECK(installed);
  absl::MutexLock lock(&state.mu);
  state.countdown = call;
  state.fault = fault;
  state.for_good = for_good;
  state.struck = false;
}

bool HealSqlite() {
  absl::MutexLock lock(&state.mu);
  state.countdown = 0;
  return state.struck;
}

}  // namespace umbra::testing
