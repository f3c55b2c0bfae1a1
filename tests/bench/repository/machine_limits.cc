// What the steps of a backup cost when each is done by itself: the least processor time that a machine needs for the
// same work.
//
// One thread; a chunk goes through the steps one after another while it is in the processor's cache, and each step's
// processor time is summed up apart. Several images are disks that were backed up one after another: only what those
// before don't have is compressed, encrypted and written.
#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "storage/base/aligned_buffer.h"
#include "storage/base/filesystem.h"
#include "storage/base/status.h"
#include "storage/repo/chunk.h"
#include "tests/bench/repository/bench.h"

namespace umbra::bench {
namespace {

constexpr size_t kChunk = repo::kDefaultChunkSizeBytes;
constexpr size_t kRead = base::kMiB;

class Aead {
 public:
  Aead() : context_(EVP_CIPHER_CTX_new()) {}
  ~Aead() { EVP_CIPHER_CTX_free(context_); }
  Aead(const Aead&) = delete;

  // AES-256-GCM in either direction costs the same.
  void Run(base::Bytes data, std::vector<std::byte>& out) {
    unsigned char key[32] = {1}, nonce[12] = {2}, tag[16];
    int length = 0;
    if (out.size() < data.size()) out.resize(data.size());
    auto* to = reinterpret_cast<unsigned char*>(out.data());
    UMBRA_CHECK(EVP_EncryptInit_ex(context_, EVP_aes_256_gcm(), nullptr, key, nonce) == 1);
    UMBRA_CHECK(EVP_EncryptUpdate(context_, to, &length, reinterpret_cast<const unsigned char*>(data.data()),
                                  static_cast<int>(data.size())) == 1);
    UMBRA_CHECK(EVP_EncryptFinal_ex(context_, to + length, &length) == 1);
    UMBRA_CHECK(EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_GCM_GET_TAG, 16, tag) == 1);
  }

 private:
  EVP_CIPHER_CTX* const context_;
};

// Bytes on their way to a file, written in large aligned pieces past the page cache, which is the cheapest way there
// is.
class Output {
 public:
  Output(base::Filesystem& files, const std::string& path)
      : file_(Require(files.Open(path, base::OpenMode::kTruncate))), buffer_(kRead) {
    file_->SkipCache();
  }

  void Add(base::Bytes data) {
    while (!data.empty()) {
      const base::Bytes part = data.first(std::min(data.size(), buffer_.size() - used_));
      std::memcpy(buffer_.data() + used_, part.data(), part.size());
      used_ += part.size();
      data = data.subspan(part.size());
      if (used_ == buffer_.size()) Flush();
    }
  }
  // Writes what is left; the processor time of all writes and of the sync.
  double Finish() {
    Flush();
    const double start = ThreadSeconds();
    Require(file_->Sync());
    return seconds_ + ThreadSeconds() - start;
  }

 private:
  void Flush() {
    const double start = ThreadSeconds();
    Require(file_->WriteAt(at_, {buffer_.data(), used_}));
    seconds_ += ThreadSeconds() - start;
    at_ += used_;
    used_ = 0;
  }

  const std::unique_ptr<base::File> file_;
  const base::AlignedBuffer buffer_;
  size_t used_ = 0;
  uint64_t at_ = 0;
  double seconds_ = 0;
};

class Steps {
 public:
  Steps(const std::string& folder, int level) : folder_(folder), level_(level) {}

  // The costs of one disk that is backed up after the disks before it, by name of the step.
  std::map<std::string, double> Image(const std::string& path) {
    std::map<std::string, double> cost{{"zstd", 0},     {"gcm", 0},     {"unzstd", 0},
                                       {"data_mib", 0}, {"new_mib", 0}, {"stored_mib", 0}};
    const auto image = Require(files_.Open(path, base::OpenMode::kRead));
    const uint64_t size = Require(image->Size());
    Output packs(files_, folder_ + "/limits.pack"), disk(files_, folder_ + "/limits.disk");
    base::AlignedBuffer buffer(kRead);
    for (uint64_t at = 0; at < size; at += kRead) {
      const size_t length = std::min<uint64_t>(kRead, size - at);
      Timed(cost["read"], [&] { Require(image->ReadAt(at, {buffer.data(), length})); });
      for (size_t i = 0; i < length; i += kChunk)
        Chunk({buffer.data() + i, std::min(kChunk, length - i)}, cost, packs, disk);
    }
    cost["write"] = packs.Finish();
    cost["write_disk"] = disk.Finish();
    for (const char* name : {"/limits.pack", "/limits.disk"}) Require(files_.Remove(folder_ + name));
    return cost;
  }

 private:
  template <typename Work>
  static void Timed(double& sum, Work work) {
    const double start = ThreadSeconds();
    work();
    sum += ThreadSeconds() - start;
  }

  void Chunk(base::Bytes plain, std::map<std::string, double>& cost, Output& packs, Output& disk) {
    bool zero = false;
    Timed(cost["zero_test"], [&] { zero = base::IsZero(plain); });
    if (zero) return;
    repo::ChunkId id;
    Timed(cost["hash"], [&] { id = hasher_.Id(plain); });
    cost["data_mib"] += static_cast<double>(plain.size()) / base::kMiB;
    disk.Add(plain);
    if (!known_.insert(id).second) return;
    cost["new_mib"] += static_cast<double>(plain.size()) / base::kMiB;
    repo::CompressedChunk stored;
    Timed(cost["zstd"], [&] { stored = repo::CompressChunk(plain, {repo::Codec::kZstd, level_}, scratch_); });
    Timed(cost["gcm"], [&] { aead_.Run(stored.data, sealed_); });
    Timed(cost["unzstd"], [&] { Require(repo::DecompressChunk(stored.codec, stored.data, plain_)); });
    cost["stored_mib"] += static_cast<double>(stored.data.size()) / base::kMiB;
    packs.Add({sealed_.data(), stored.data.size()});
  }

  const std::string folder_;
  const int level_;
  base::PosixFilesystem files_;
  Aead aead_;
  const std::vector<std::byte> key_ = std::vector<std::byte>(repo::kIdKeySize);
  const repo::ChunkHasher hasher_{repo::IdSuite::kBlake3Keyed, key_};
  absl::flat_hash_set<repo::ChunkId, repo::ChunkIdHash> known_;
  std::vector<std::byte> scratch_, sealed_, plain_ = std::vector<std::byte>(kChunk);
};

}  // namespace

void MeasureLimits(const std::vector<std::string>& images, const std::string& folder, int level) {
  Steps steps(folder, level);
  for (const std::string& image : images) {
    std::string line = fmt::format("{{\"image\": \"{}\"", image);
    for (const auto& [step, value] : steps.Image(image)) line += fmt::format(", \"{}\": {:.4f}", step, value);
    std::printf("%s}\n", line.c_str());
  }
}

}  // namespace umbra::bench
