#include "storage/base/random.h"

#include <openssl/rand.h>

#include <cstring>

#include "storage/base/bytes.h"
#include "storage/base/status.h"

namespace umbra::base {

std::string Random::Uuid() {
  std::byte b[16];
  Fill(b);
  b[6] = (b[6] & std::byte{0x0f}) | std::byte{0x40};
  b[8] = (b[8] & std::byte{0x3f}) | std::byte{0x80};
  std::string hex = ToHex(b);
  return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" + hex.substr(16, 4) + "-" +
         hex.substr(20);
}

std::string Random::Hex(size_t byte_count) {
  std::string raw(byte_count, '\0');
  Fill(std::as_writable_bytes(std::span(raw.data(), raw.size())));
  return ToHex(AsBytes(raw));
}

double Random::Fraction() {
  uint64_t value;
  Fill(std::as_writable_bytes(std::span(&value, 1)));
  return static_cast<double>(value >> 11) * 0x1.0p-53;
}

void SystemRandom::Fill(std::span<std::byte> bytes) {
  UMBRA_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size())) == 1);
}

void SeededRandom::Fill(std::span<std::byte> bytes) {
  absl::MutexLock lock(&mu_);
  for (size_t i = 0; i < bytes.size(); i += sizeof(uint64_t)) {
    const uint64_t value = engine_();
    std::memcpy(bytes.data() + i, &value, std::min(sizeof(value), bytes.size() - i));
  }
}

}  // namespace umbra::base
