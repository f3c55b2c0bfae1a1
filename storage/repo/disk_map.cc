#include "storage/repo/disk_map.h"

#include <blake3.h>
#include <openssl/evp.h>

#include "storage/base/status.h"

namespace umbra::repo {

absl::StatusOr<std::span<const ChunkId>> DiskMapCursor::Page(uint64_t page) {
  if (pages_[page].IsZero()) return std::span<const ChunkId>();
  if (loaded_ == page) return std::span<const ChunkId>(ids_);
  loaded_.reset();
  const uint64_t entries = geometry_.EntriesOf(page);
  ASSIGN_OR_RETURN(const base::Bytes bytes,
                   reader_.FetchPlain(pages_[page], static_cast<uint32_t>(entries * kChunkIdSize)));
  ids_.resize(entries);
  std::memcpy(ids_.data(), bytes.data(), bytes.size());
  loaded_ = page;
  return std::span<const ChunkId>(ids_);
}

struct MapHasher::State {
  blake3_hasher blake3;
  EVP_MD_CTX* sha256 = nullptr;  // only in suite 2
};

MapHasher::MapHasher(IdSuite suite) : state_(std::make_unique<State>()) {
  if (suite == IdSuite::kHmacSha256) {
    state_->sha256 = EVP_MD_CTX_new();
    UMBRA_CHECK(EVP_DigestInit_ex(state_->sha256, EVP_sha256(), nullptr) == 1);
  } else {
    blake3_hasher_init(&state_->blake3);
  }
}

MapHasher::~MapHasher() { EVP_MD_CTX_free(state_->sha256); }

void MapHasher::Add(std::span<const ChunkId> ids) {
  if (state_->sha256 != nullptr) {
    UMBRA_CHECK(EVP_DigestUpdate(state_->sha256, ids.data(), ids.size_bytes()) == 1);
  } else {
    blake3_hasher_update(&state_->blake3, ids.data(), ids.size_bytes());
  }
}

std::string MapHasher::Finish() {
  std::string hash(32, '\0');
  auto* out = reinterpret_cast<uint8_t*>(hash.data());
  if (state_->sha256 != nullptr) {
    UMBRA_CHECK(EVP_DigestFinal_ex(state_->sha256, out, nullptr) == 1);
  } else {
    blake3_hasher_finalize(&state_->blake3, out, hash.size());
  }
  return hash;
}

}  // namespace umbra::repo
