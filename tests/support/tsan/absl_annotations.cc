// Tells ThreadSanitizer what absl::Mutex and absl::Status do. Debian's libabsl is not compiled with it, so without this every
// access guarded by such a mutex would count as a race. The linker puts these functions in the place of its own (-Wl,--wrap).
//
// Between "pre" and "post" the sanitizer ignores what the thread does. That matters, because a mutex evaluates the conditions of
// waiting threads inside Unlock and Await of another one, after the sanitizer takes the mutex for released.
//
// Copies of a status share its text by a count of references. The last of them frees it, in whatever thread that is, and the
// sanitizer doesn't see the count that makes it the last one.
#include <sanitizer/tsan_interface.h>

#include <cstdint>

#include "absl/time/time.h"

namespace {

constexpr unsigned kRead = __tsan_mutex_read_lock;
constexpr unsigned kTry = __tsan_mutex_try_lock;

// Waiting for a condition is a release and a lock again.
template <typename Wait>
bool Await(void* mutex, Wait wait) {
  __tsan_mutex_pre_unlock(mutex, 0);
  __tsan_mutex_post_unlock(mutex, 0);
  __tsan_mutex_pre_lock(mutex, 0);
  const bool truth = wait();
  __tsan_mutex_post_lock(mutex, 0, 0);
  return truth;
}

template <typename LockIt>
bool LockWhen(void* mutex, LockIt lock) {
  __tsan_mutex_pre_lock(mutex, 0);
  const bool truth = lock();
  __tsan_mutex_post_lock(mutex, 0, 0);
  return truth;
}

}  // namespace

// From the sanitizer's dynamic annotations; no header of its own declares them.
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);

#define MUTEX(method) _ZN4absl7debian35Mutex##method
#define PASTE(a, b) a##b
#define NAME(prefix, symbol) PASTE(prefix, symbol)
#define REAL(method) NAME(__real_, MUTEX(method))
#define WRAP(method) NAME(__wrap_, MUTEX(method))

extern "C" {

void REAL(4LockEv)(void*);
void REAL(6UnlockEv)(void*);
bool REAL(7TryLockEv)(void*);
void REAL(10ReaderLockEv)(void*);
void REAL(12ReaderUnlockEv)(void*);
void REAL(5AwaitERKNS0_9ConditionE)(void*, const void*);
bool REAL(16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE)(void*, const void*, absl::Duration);
bool REAL(17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE)(void*, const void*, absl::Time);
void REAL(8LockWhenERKNS0_9ConditionE)(void*, const void*);
bool REAL(19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE)(void*, const void*, absl::Duration);
bool REAL(20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE)(void*, const void*, absl::Time);
void REAL(D1Ev)(void*);

void WRAP(4LockEv)(void* mutex) {
  LockWhen(mutex, [&] { return REAL(4LockEv)(mutex), true; });
}

void WRAP(6UnlockEv)(void* mutex) {
  __tsan_mutex_pre_unlock(mutex, 0);
  REAL(6UnlockEv)(mutex);
  __tsan_mutex_post_unlock(mutex, 0);
}

bool WRAP(7TryLockEv)(void* mutex) {
  __tsan_mutex_pre_lock(mutex, kTry);
  const bool locked = REAL(7TryLockEv)(mutex);
  __tsan_mutex_post_lock(mutex, locked ? kTry : kTry | __tsan_mutex_try_lock_failed, 0);
  return locked;
}

void WRAP(10ReaderLockEv)(void* mutex) {
  __tsan_mutex_pre_lock(mutex, kRead);
  REAL(10ReaderLockEv)(mutex);
  __tsan_mutex_post_lock(mutex, kRead, 0);
}

void WRAP(12ReaderUnlockEv)(void* mutex) {
  __tsan_mutex_pre_unlock(mutex, kRead);
  REAL(12ReaderUnlockEv)(mutex);
  __tsan_mutex_post_unlock(mutex, kRead);
}

void WRAP(5AwaitERKNS0_9ConditionE)(void* mutex, const void* condition) {
  Await(mutex, [&] { return REAL(5AwaitERKNS0_9ConditionE)(mutex, condition), true; });
}

bool WRAP(16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE)(void* mutex, const void* condition, absl::Duration timeout) {
  return Await(mutex, [&] { return REAL(16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE)(mutex, condition, timeout); });
}

bool WRAP(17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE)(void* mutex, const void* condition, absl::Time deadline) {
  return Await(mutex, [&] { return REAL(17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE)(mutex, condition, deadline); });
}

void WRAP(8LockWhenERKNS0_9ConditionE)(void* mutex, const void* condition) {
  LockWhen(mutex, [&] { return REAL(8LockWhenERKNS0_9ConditionE)(mutex, condition), true; });
}

bool WRAP(19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE)(void* mutex, const void* condition, absl::Duration timeout) {
  return LockWhen(mutex, [&] { return REAL(19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE)(mutex, condition, timeout); });
}

bool WRAP(20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE)(void* mutex, const void* condition, absl::Time deadline) {
  return LockWhen(mutex, [&] { return REAL(20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE)(mutex, condition, deadline); });
}

void WRAP(D1Ev)(void* mutex) {
  REAL(D1Ev)(mutex);
  __tsan_mutex_destroy(mutex, 0);
}

void NAME(__real_, _ZN4absl7debian36Status15UnrefNonInlinedEm)(uintptr_t status);

void NAME(__wrap_, _ZN4absl7debian36Status15UnrefNonInlinedEm)(uintptr_t status) {
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  NAME(__real_, _ZN4absl7debian36Status15UnrefNonInlinedEm)(status);
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
}

}  // extern "C"
