// Memory for transfers past the page cache, which the kernel takes only from and to aligned addresses.
#ifndef UMBRA_STORAGE_BASE_ALIGNED_BUFFER_H_
#define UMBRA_STORAGE_BASE_ALIGNED_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "storage/base/bytes.h"

namespace umbra::base {

// What address, offset and length of such a transfer are multiples of: the page, which covers every block size in use.
inline constexpr size_t kDirectAlignment = 4096;

inline bool IsDirectAligned(uint64_t offset, Bytes data) {
  return ((offset | data.size() | reinterpret_cast<uintptr_t>(data.data())) & (kDirectAlignment - 1)) == 0;
}

// Uninitialized memory that starts at a multiple of kDirectAlignment.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t size)
      : data_(static_cast<std::byte*>(::operator new(size, std::align_val_t(kDirectAlignment)))), size_(size) {}

  std::byte* data() const { return data_.get(); }
  size_t size() const { return size_; }
  MutableBytes bytes() const { return {data_.get(), size_}; }

 private:
  struct Deleter {
    void operator()(std::byte* p) const { ::operator delete(p, std::align_val_t(kDirectAlignment)); }
  };
  std::unique_ptr<std::byte, Deleter> data_;
  size_t size_ = 0;
};

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_ALIGNED_BUFFER_H_
