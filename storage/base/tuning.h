// Settings of the libraries below us for programs that move data.
#ifndef UMBRA_STORAGE_BASE_TUNING_H_
#define UMBRA_STORAGE_BASE_TUNING_H_

namespace umbra::base {

// Call once, first thing in main.
//
// Messages of a megabyte come and go thousands of times a second. By default glibc maps and unmaps each of them, and
// the kernel zeroes their pages again every time: a third of the system time of a restore. This keeps such blocks in
// the heap, which is still trimmed above 32 MiB.
//
// Debian builds Abseil with its search for lock cycles turned on, which follows every lock that is taken (2 % of a
// backup's processor time). It stays on in the tests, which are there to find such cycles.
void TuneForBulkData();

// When it ends, what the heap holds of free memory goes back to the kernel (some ms): the first member of what needs much
// of it for a while, so that one after another don't add up what each left torn. Only in programs that called
// TuneForBulkData.
class GivesBackMemory {
 public:
  GivesBackMemory() = default;
  ~GivesBackMemory();
  GivesBackMemory(const GivesBackMemory&) = delete;
  GivesBackMemory& operator=(const GivesBackMemory&) = delete;
};

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_TUNING_H_
