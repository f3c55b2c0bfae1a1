// The bytes of a catalog copy (docs/formats/repository.md section 12). Pure functions, no I/O.
#ifndef UMBRA_STORAGE_REPO_CATALOG_FORMAT_H_
#define UMBRA_STORAGE_REPO_CATALOG_FORMAT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/repo/format.h"

namespace umbra::repo {

inline constexpr char kCatalogPrefix[] = "catalogs/";

// Plain bytes of a segment; the last one has the rest, which may be none.
inline constexpr uint32_t kCatalogSegmentSize = 1024 * 1024;
inline constexpr size_t kCatalogHeaderSize = 144;      // with its hash
inline constexpr size_t kCatalogSegmentHeadSize = 12;  // what comes before the sealed bytes
inline constexpr size_t kCatalogSegmentHashSize = 32;  // what comes after them

// "<sequence>-<suffix>", 16 and 8 hexadecimal digits: what names a copy, for people and in its object's name.
std::string CatalogCopyId(uint64_t sequence, std::string_view suffix);
std::string CatalogName(std::string_view id);
// False when `id` isn't the id of a copy.
bool ParseCatalogCopyId(std::string_view id, uint64_t& sequence);
// The id in an object's name; empty when it isn't the name of a copy.
std::string CatalogCopyIdOf(std::string_view name);

struct CatalogHeader {
  RawUuid repository{};
  uint32_t epoch = 0;
  Salt salt{};
  int64_t create_time_us = 0;
  uint64_t sequence = 0;
  Hash commitment{};
};

// A copy's header and the key that goes with it.
struct KeyedCatalog {
  CatalogHeader header;
  Key key;
};

// A new copy of `repository`, with fresh salt and key.
KeyedCatalog NewCatalogCopy(const DataKeys& keys, base::Random& random, const RawUuid& repository, uint64_t sequence,
                            int64_t create_time_us);
std::string EncodeCatalogHeader(const CatalogHeader& header);
// DATA_LOSS / CATALOG_COPY_DAMAGED for all of these when the bytes are wrong.
absl::StatusOr<CatalogHeader> DecodeCatalogHeader(base::Bytes bytes);
// Also when the header was made with other keys.
absl::StatusOr<Key> KeyOfCatalog(const DataKeys& keys, const CatalogHeader& header);

// What is in clear before a segment's sealed bytes.
struct SegmentHead {
  uint32_t stored_length = 0;  // with the tag
  uint32_t plain_length = 0;
  Codec codec = Codec::kRaw;
  bool last = false;
};

// Segment `number` (from 0) with head and hash, ready to be written. `sealer` has the copy's key.
std::string EncodeSegment(Sealer& sealer, uint64_t number, base::Bytes plain, bool last,
                          std::vector<std::byte>& scratch);
absl::StatusOr<SegmentHead> DecodeSegmentHead(base::Bytes bytes);
// `bytes`: the whole segment, head and hash included. OK when they are those that were written, as far as one can tell
// without the key.
absl::Status CheckSegment(base::Bytes bytes);
// The plain bytes. `opener` has the copy's key.
absl::StatusOr<std::string> OpenSegment(Opener& opener, uint64_t number, base::Bytes bytes);

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_CATALOG_FORMAT_H_
