#include "storage/base/aligned_buffer.h"

#include <sys/mman.h>

#include "storage/base/status.h"

namespace umbra::base {

std::byte* AlignedBuffer::Take(size_t size) {
  if (size == 0) return nullptr;
  void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  UMBRA_CHECK(memory != MAP_FAILED);
  return static_cast<std::byte*>(memory);
}

void AlignedBuffer::Deleter::operator()(std::byte* p) const {
  munmap(p, size);
}

}  // namespace umbra::base
