// Settings of the C library's allocator for programs that move data.
#ifndef UMBRA_STORAGE_BASE_ALLOCATOR_H_
#define UMBRA_STORAGE_BASE_ALLOCATOR_H_

namespace umbra::base {

// Messages of a megabyte come and go thousands of times a second. By default glibc maps and unmaps each of them, and the
// kernel zeroes their pages again every time: a third of the system time of a restore. This keeps such blocks in the heap,
// which is still trimmed above 32 MiB. Call once, first thing in main.
void TuneAllocatorForBulkData();

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_ALLOCATOR_H_
