// What a copy of the catalog in a repository consists of: a header, the database, the certificate authority
// (docs/formats/repository.md section 12).
#ifndef UMBRA_SERVER_MAINTENANCE_CATALOG_COPY_H_
#define UMBRA_SERVER_MAINTENANCE_CATALOG_COPY_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "storage/base/filesystem.h"
#include "storage/repo/catalog_copies.h"
#include "umbra/store/v1/catalog_copy.pb.h"

namespace umbra::maintenance {

using CatalogCopyHeader = store::v1::CatalogCopyHeader;

// Asked after every piece of work of some milliseconds; its error ends the work.
using GoOn = absl::FunctionRef<absl::Status()>;

// The certificate authority's file: a key and a certificate.
inline constexpr uint64_t kAuthoritySizeMax = 64 * base::kKiB;

// What goes into a copy. `header` says everything but the files.
struct CatalogCopySource {
  CatalogCopyHeader header;
  std::string database;   // path of a whole database that nobody writes to
  std::string authority;  // path; empty: left out
};

// Writes a copy and forgets the generations that are not kept any more. Durable when OK; else there is no new copy (or,
// when the last step's outcome isn't known, a whole one).
absl::StatusOr<repo::CatalogCopyInfo> WriteCatalogCopy(repo::CatalogCopies& copies, base::Filesystem& filesystem,
                                                       CatalogCopySource source, GoOn go_on);

// A copy that was read from its first to its last byte.
struct CatalogCopyContent {
  CatalogCopyHeader header;
  std::string authority_pem;  // empty: there is none in it
};

// Writes the database in the copy to the new file `database`, durably, and returns the rest.
// DATA_LOSS / CATALOG_COPY_DAMAGED; NOT_FOUND / CATALOG_COPY_NOT_FOUND. On an error there is no file.
absl::StatusOr<CatalogCopyContent> ReadCatalogCopy(repo::CatalogCopies& copies, const std::string& id,
                                                   base::Filesystem& filesystem, const std::string& database);
// Only the header; reads the beginning of the copy.
absl::StatusOr<CatalogCopyHeader> ReadCatalogCopyHeader(repo::CatalogCopies& copies, const std::string& id);

}  // namespace umbra::maintenance

#endif  // UMBRA_SERVER_MAINTENANCE_CATALOG_COPY_H_
