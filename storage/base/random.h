// Randomness, injected: uuids, secrets and jitter come from here, so that a simulation can repeat a run from one seed.
#ifndef UMBRA_STORAGE_BASE_RANDOM_H_
#define UMBRA_STORAGE_BASE_RANDOM_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace umbra::base {

// Thread-safe.
class Random {
 public:
  virtual ~Random() = default;

  virtual void Fill(std::span<std::byte> bytes) = 0;

  // Lower-case RFC 4122 version 4 text, 36 characters.
  std::string Uuid();
  // `byte_count` random bytes as lower-case hexadecimal.
  std::string Hex(size_t byte_count);
  // Uniform in [0, 1).
  double Fraction();
};

// The operating system's cryptographic generator. Aborts when the system can give none.
class SystemRandom final : public Random {
 public:
  void Fill(std::span<std::byte> bytes) override;
};

// Repeatable, for tests and simulation; never for secrets.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(uint64_t seed) : engine_(seed) {}
  void Fill(std::span<std::byte> bytes) override;

 private:
  absl::Mutex mu_;
  std::mt19937_64 engine_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_RANDOM_H_
