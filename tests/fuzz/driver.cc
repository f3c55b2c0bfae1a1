// Runs a target over the inputs that once broke it (tests/fuzz/corpus), its seeds, and mutations of both.
// UMBRA_FUZZ_SEED repeats a run, UMBRA_FUZZ_RUNS sets its length.
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
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

std::vector<std::string> Corpus() {
  std::vector<std::string> inputs;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(UMBRA_FUZZ_CORPUS, none)) {
    std::ifstream file(entry.path(), std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  std::sort(inputs.begin(), inputs.end());  // a seed is one run on every machine
  return inputs;
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
  std::vector<std::string> seeds = umbra::fuzz::Seeds();
  umbra::fuzz::Require(!seeds.empty(), "a target has seeds");
  const std::vector<std::string> corpus = Corpus();
  seeds.insert(seeds.end(), corpus.begin(), corpus.end());
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
