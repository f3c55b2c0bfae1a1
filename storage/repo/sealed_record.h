// Small objects that say something about other objects: tombstones, holds, locks, sweeps, the repository's time.
//
// Text, one "key value" per line, closed by a seal and a plain checksum: the id of everything before it under the
// repository's key, so that only somebody with the key can make or change one (docs/formats/repository.md section 11).
// Pure functions, no I/O.
#ifndef UMBRA_STORAGE_REPO_SEALED_RECORD_H_
#define UMBRA_STORAGE_REPO_SEALED_RECORD_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/repo/chunk.h"

namespace umbra::repo {

inline constexpr char kTombstonePrefix[] = "tombstones/";
inline constexpr char kHoldPrefix[] = "holds/";
inline constexpr char kLockPrefix[] = "locks/";
inline constexpr char kTimePrefix[] = "time/";
inline constexpr char kSweepPrefix[] = "sweeps/";
// Every kind of record and where it is.
struct RecordKind {
  const char* prefix;
  const char* kind;
};
inline constexpr RecordKind kRecordKinds[] = {{kTombstonePrefix, "tombstone"},
                                              {kHoldPrefix, "hold"},
                                              {kLockPrefix, "lock"},
                                              {kTimePrefix, "time"},
                                              {kSweepPrefix, "sweep"}};

inline constexpr char kReserveName[] = "reserve/1.reserve";

// A sweep names a few thousand packs at most; the others are a few lines.
inline constexpr uint64_t kRecordSizeMax = 16 * base::kMiB;

class SealedRecord {
 public:
  // `kind` such as "tombstone"; `repository` is the uuid as text.
  SealedRecord(std::string_view kind, std::string_view repository);

  // Keys may repeat. Control characters in `value` become spaces.
  SealedRecord& Add(std::string_view key, std::string_view value);
  SealedRecord& Add(std::string_view key, int64_t value);
  SealedRecord& Add(std::string_view key, absl::Time time);  // unix microseconds

  std::string Encode(const ChunkHasher& hasher) const;

  // OK when the bytes are those that were written, as far as one can tell without the key; DATA_LOSS /
  // MANIFEST_DAMAGED.
  static absl::Status CheckStored(std::string_view text);
  // DATA_LOSS / MANIFEST_DAMAGED when the seal is wrong, or the record is of another kind or repository.
  static absl::StatusOr<SealedRecord> Decode(const ChunkHasher& hasher, std::string_view kind,
                                             std::string_view repository, std::string_view text);

  // The first value of `key`; empty, or 0, when there is none.
  std::string Text(std::string_view key) const;
  int64_t Number(std::string_view key) const;
  absl::Time Time(std::string_view key) const;
  std::vector<std::string> All(std::string_view key) const;

 private:
  SealedRecord() = default;

  std::string kind_;
  std::vector<std::pair<std::string, std::string>> fields_;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_SEALED_RECORD_H_
