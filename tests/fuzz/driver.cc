// Runs a target over its seeds and over mutations of them. UMBRA_FUZZ_SEED repeats a run, UMBRA_FUZZ_RUNS sets its length.
#include <csignal>
#include <random>

#include "tests/fuzz/fuzz.h"

#ifdef UMBRA_LIBFUZZER

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  umbra::fuzz::TestOneInput({reinterpret_cast<const char*>(data), size});
  return 0;
}

// libFuzzer mutates; now and then it starts from one of our seeds.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  static const std::vector<std::string> seeds = umbra::fuzz::Seeds();
  if (!seeds.empty() && seed % 16 == 0) {
    const std::string& start = seeds[seed / 16 % seeds.size()];
    size = std::min(start.size(), max_size);
    std::copy_n(start.begin(), size, data);
  }
  return LLVMFuzzerMutate(data, size, max_size);
}

#else

namespace {

uint64_t Number(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::string Mutated(std::string input, std::mt19937_64& random) {
  for (uint64_t edits = 1 + random() % 8; edits > 0; --edits) {
    const size_t at = input.empty() ? 0 : random() % input.size();
    switch (random() % 6) {
      case 0:
        if (!input.empty()) input[at] = static_cast<char>(input[at] ^ (1 << random() % 8));
        break;
      case 1:
        input.insert(at, 1 + random() % 16, static_cast<char>(random()));
        break;
      case 2:
        input.erase(at, 1 + random() % 64);
        break;
      case 3:
        input.resize(at);
        break;
      case 4:
        for (size_t i = at; i < std::min(at + 8, input.size()); ++i) input[i] = random() % 2 == 0 ? '\xff' : '\0';
        break;
      case 5:
        input.insert(at, input.substr(random() % (input.size() + 1), random() % 256));
        break;
    }
  }
  return input;
}

// A crash leaves its input behind, for a seed of the target.
const std::string* current_input = nullptr;
void SaveInput(int signal_number) {
  if (current_input != nullptr) {
    if (FILE* file = std::fopen("fuzz-crash-input", "wb")) {
      std::fwrite(current_input->data(), 1, current_input->size(), file);
      std::fclose(file);
    }
  }
  std::signal(signal_number, SIG_DFL);
  std::raise(signal_number);
}

}  // namespace

int main() {
  for (const int fatal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE}) std::signal(fatal, SaveInput);
  const uint64_t seed = Number("UMBRA_FUZZ_SEED", std::random_device()());
  const uint64_t runs = Number("UMBRA_FUZZ_RUNS", 100000);
  std::printf("seed %llu, %llu runs\n", static_cast<unsigned long long>(seed), static_cast<unsigned long long>(runs));
  std::fflush(stdout);
  const std::vector<std::string> seeds = umbra::fuzz::Seeds();
  umbra::fuzz::Require(!seeds.empty(), "a target has seeds");
  for (const std::string& input : seeds) umbra::fuzz::TestOneInput(input);
  std::mt19937_64 random(seed);
  for (uint64_t i = 0; i < runs; ++i) {
    const std::string input = Mutated(seeds[random() % seeds.size()], random);
    current_input = &input;
    umbra::fuzz::TestOneInput(input);
  }
  return 0;
}

#endif
