// Makes a repository for the second reader: both kinds of id, all codecs, three epochs, every kind of key, one removed.
//
// Usage: make_repository FOLDER. Leaves in it, for each of blake3 and hmac: the repository, NAME.key, NAME.recovery,
// NAME.passphrase, NAME.removed, NAME.catalog, what its copy of a catalog must be, and NAME.POINT.DISK.raw, what the disk must be.
#include <fmt/format.h>

#include <cstdio>
#include <map>
#include <random>

#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/status.h"
#include "storage/repo/catalog_copies.h"
#include "storage/repo/repository.h"

namespace umbra {
namespace {

constexpr uint32_t kChunkSize = repo::kMinChunkSizeBytes;

// Text that compresses or noise, by the seed; 0 gives zeros.
std::string Content(uint32_t seed, size_t length) {
  std::string content(length, '\0');
  if (seed == 0) return content;
  std::mt19937 engine(seed);
  for (size_t i = 0; i < length; ++i) {
    content[i] = static_cast<char>(seed % 2 == 1 ? engine() : "a stitch in time"[(i + i / 100 * seed) % 16]);
  }
  return content;
}

class Maker {
 public:
  Maker(std::string folder, std::string name, repo::IdSuite suite)
      : folder_(std::move(folder)), name_(std::move(name)) {
    repo::RepositoryOptions options;
    options.chunk_size_bytes = kChunkSize;
    options.id_suite = suite;
    options.pack_size_bytes = 4 * kChunkSize;
    options.passphrase_cost = {2, 1024};
    options.key = repo::NewKeyFileSecret(random_);
    Save("key", repo::PrintKeyFile(options.key, "for the second reader"));
    repository_ = *repo::Repository::Create(files_, clock_, random_, folder_ + "/" + name_, options);
  }

  void Make() {
    Backup(1);
    const repo::KeySecret recovery = repo::NewRecoverySecret(random_), removed = repo::NewRecoverySecret(random_);
    Save("recovery", repo::PrintRecoveryKey(recovery) + "\n");
    Save("removed", repo::PrintRecoveryKey(removed) + "\n");
    UMBRA_CHECK(repository_->AddKey(recovery, "paper").ok());
    const auto gone = repository_->AddKey(removed, "left");
    UMBRA_CHECK(gone.ok() && repository_->RemoveKey(gone->id).ok() && repository_->RotateKeys().ok());
    Backup(2);
    const std::string passphrase = "drei Zwerge über Nacht";
    Save("passphrase", passphrase + "\n");
    UMBRA_CHECK(repository_->AddKey(*repo::PassphraseSecret(passphrase), "ann").ok());
    UMBRA_CHECK(repository_->RotateKeys().ok());
    Backup(3);
    CopyCatalog();
  }

 private:
  // Some segments of both codecs; what a daemon would write has a head and files in it, which is no matter here.
  void CopyCatalog() {
    const std::string content = Content(2, 2'500'000) + Content(1, 1'200'000);
    auto writer = repository_->catalog_copies().Begin();
    UMBRA_CHECK(writer.ok() && (*writer)->Append(base::AsBytes(content)).ok() && (*writer)->Commit().ok());
    Save("catalog", content);
  }

  void Save(const std::string& what, const std::string& content) {
    UMBRA_CHECK(files_.WriteFileAtomic(fmt::format("{}/{}.{}", folder_, name_, what), content).ok());
  }

  void Backup(uint32_t round) {
    // One disk of more than a map page, mostly holes; one whose end is no whole chunk; one that is empty.
    std::map<std::string, std::pair<std::vector<uint32_t>, uint64_t>> disks;
    std::vector<uint32_t> sparse(1100, 0);
    for (uint32_t at : {0u, 7u, 1023u, 1024u}) sparse[at] = 10 * round + at % 5;
    disks["vda"] = {sparse, sparse.size() * kChunkSize};
    disks["vdb"] = {{1, 2, 100 + round, 0, 2, 104 + round}, 6 * kChunkSize - 12345};
    disks["vdc"] = {{0, 0}, 2 * kChunkSize};
    auto session = repository_->BeginSession();
    repo::Manifest manifest;
    manifest.set_recovery_point_id(random_.Uuid());
    manifest.set_host_id("h1");
    manifest.set_vm_uuid("vm");
    manifest.set_job_id("j1");
    for (const auto& [disk, content] : disks) {
      const std::string raw = Upload(*session, disk, content.first, content.second, round);
      manifest.add_disks()->set_name(disk);
      manifest.mutable_disks(manifest.disks_size() - 1)->set_capacity_bytes(static_cast<int64_t>(content.second));
      Save(fmt::format("{}.{}.raw", manifest.recovery_point_id(), disk), raw);
    }
    UMBRA_CHECK(session->Commit({manifest}).ok());
  }

  std::string Upload(repo::UploadSession& session, const std::string& disk, const std::vector<uint32_t>& seeds,
                     uint64_t capacity, uint32_t round) {
    std::string raw;
    std::vector<repo::ChunkId> ids;
    std::vector<std::byte> scratch;
    for (const uint32_t seed : seeds) {
      const std::string content = Content(seed, std::min<uint64_t>(kChunkSize, capacity - raw.size()));
      raw += content;
      const base::Bytes plain = base::AsBytes(content);
      ids.push_back(base::IsZero(plain) ? repo::kZeroChunkId : repository_->hasher().Id(plain));
      if (ids.back().IsZero()) continue;
      const repo::Codec codec = round % 2 == 0 ? repo::Codec::kLz4 : repo::Codec::kZstd;
      const repo::CompressedChunk chunk = repo::CompressChunk(plain, {codec, 1}, scratch);
      UMBRA_CHECK(session.Put({ids.back(), static_cast<uint32_t>(content.size()), chunk.codec, chunk.data}).ok());
    }
    auto map = session.AddDiskMap("vm", disk, capacity);
    UMBRA_CHECK(map.ok() && (*map)->Append(ids).ok() && (*map)->Finish().ok());
    return raw;
  }

  const std::string folder_, name_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SystemRandom random_;
  std::unique_ptr<repo::Repository> repository_;
};

}  // namespace
}  // namespace umbra

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: make_repository FOLDER\n");
    return 2;
  }
  umbra::Maker(argv[1], "blake3", umbra::repo::IdSuite::kBlake3Keyed).Make();
  umbra::Maker(argv[1], "hmac", umbra::repo::IdSuite::kHmacSha256).Make();
  return 0;
}
