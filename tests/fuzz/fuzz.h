// A fuzz target: bytes from an enemy go into one parser, which must neither crash nor break what it promises.
//
// Each target is one file with the two functions below. Built with clang and UMBRA_FUZZ=ON it is a libFuzzer program; in every
// other build it is a test that feeds the seeds and a bounded number of mutations of them (driver.cc).
#ifndef UMBRA_TESTS_FUZZ_FUZZ_H_
#define UMBRA_TESTS_FUZZ_FUZZ_H_

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace umbra::fuzz {

// Good inputs to start from.
std::vector<std::string> Seeds();

// Aborts when the parser breaks a promise.
void TestOneInput(std::string_view input);

inline void Require(bool condition, const char* promise) {
  if (condition) return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

}  // namespace umbra::fuzz

#endif  // UMBRA_TESTS_FUZZ_FUZZ_H_
