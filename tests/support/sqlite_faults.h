// SQLite's writes that fail on purpose, as on a disk that is full or breaks: the N-th one, once or from then on.
//
// Takes the place of the library's way to the disk (its default VFS) in the whole test program; everything but a failed
// call goes on to the real one. Counts writes, truncations, syncs, and openings of files that are made. Thread-safe.
#ifndef UMBRA_TESTS_SUPPORT_SQLITE_FAULTS_H_
#define UMBRA_TESTS_SUPPORT_SQLITE_FAULTS_H_

#include <cstdint>

namespace umbra::testing {

enum class SqliteFault {
  kNoSpace,  // SQLITE_FULL
  kIoError,  // SQLITE_IOERR
};

// Fails the `call`-th call from now on (1 = the next); `for_good`: and all after it.
void FailSqliteAt(uint64_t call, SqliteFault fault, bool for_good);
// Ends that; returns whether a call has failed.
bool HealSqlite();

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_SQLITE_FAULTS_H_
