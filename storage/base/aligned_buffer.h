// Memory for transfers past the page cache, which the kernel takes only from and to aligned addresses.
#ifndef UMBRA_STORAGE_BASE_ALIGNED_BUFFER_H_
#define UMBRA_STORAGE_BASE_ALIGNED_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "storage/base/bytes.h"

namespace umbra::base {

// What address, offset and length of such a transfer are multiples of: the page, which covers every block size in use.
inline constexpr size_t kDirectAlignment = 4096;

inline bool IsDirectAligned(uint64_t offset, Bytes data) {
  return ((offset | data.size() | reinterpret_cast<uintptr_t>(data.data())) & (kDirectAlignment - 1)) == 0;
}

// Zeroed memory that starts at a multiple of kDirectAlignment. It comes from the kernel and goes back there, because
// large aligned blocks that come and go tear the heap: with them in it, a backup held 30 to 50 MiB more. A pack or a
// restore makes its buffers once and uses them over and over.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t size) : data_(Take(size), Deleter{size}), size_(size) {}

  std::byte* data() const { return data_.get(); }
  size_t size() const { return size_; }
  MutableBytes bytes() const { return {data_.get(), size_}; }

 private:
  struct Deleter {
    size_t size;
    void operator()(std::byte* p) const;
  };
  static std::byte* Take(size_t size);

  std::unique_ptr<std::byte, Deleter> data_{nullptr, Deleter{0}};
  size_t size_ = 0;
};

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_ALIGNED_BUFFER_H_
