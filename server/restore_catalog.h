// umbrad restore-catalog: the state of a daemon from nothing but a repository and one of its keys.
#ifndef UMBRA_SERVER_RESTORE_CATALOG_H_
#define UMBRA_SERVER_RESTORE_CATALOG_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/config.h"
#include "server/maintenance/rebuild.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/repo/catalog_copies.h"

namespace umbra::server {

// A copy, for people.
struct ListedCopy {
  repo::CatalogCopyInfo info;
  std::string machine;  // on which the daemon ran; empty when the copy can't be read
  std::string daemon_version;
  int schema_version = 0;
  std::string problem;  // why it can't be read
};

struct RestoreCatalogReport {
  std::string repository;  // what the catalog calls it
  // The copy that was taken; an empty id: there was none, and everything comes from the recovery points alone.
  repo::CatalogCopyInfo copy;
  std::vector<std::string> passed_over;  // newer copies that couldn't be used, and why
  int64_t host_count = 0;
  int64_t policy_count = 0;
  int64_t jobs_ended = 0;  // that waited or ran when the copy was made, and whose outcome isn't known
  bool authority_restored = false;
  maintenance::RebuildReport points;
  // What a person has to know or do, a sentence each.
  std::vector<std::string> not_restored;
  std::vector<std::string> moved_aside;  // new names of what was in the way
};

// The copies in the repository, newest first. Changes nothing. `typed` is read when there is no key file.
absl::StatusOr<std::vector<ListedCopy>> ListCatalogCopies(const RestoreCatalogConfig& what, std::string_view typed,
                                                          base::Filesystem& filesystem, base::Clock& clock,
                                                          base::Random& random);

// Puts catalog, certificate authority and key file into the state folder that `config` names; the catalog comes last,
// so that a restore which was cut is simply made again. Takes the newest copy that is sound to its last page, migrates
// it, ends the jobs that it has waiting or running (whoever runs one twice would do harm), forgets enrolment tokens
// (some may have been used since), and brings the recovery points of the repository in line with what it holds.
// FAILED_PRECONDITION / FILE_LOCKED         umbrad runs with this state folder.
// ALREADY_EXISTS / TARGET_EXISTS            there is a catalog, or another authority, and `what` doesn't say replace.
// FAILED_PRECONDITION / CATALOG_NEWER       the copy was made by a newer umbrad.
// and those of opening the repository.
absl::StatusOr<RestoreCatalogReport> RestoreCatalog(const Config& config, const RestoreCatalogConfig& what,
                                                    std::string_view typed, base::Filesystem& filesystem,
                                                    base::Clock& clock, base::Random& random);

// umbrad check-catalog: the schema's version when the catalog in the state folder is sound.
// FAILED_PRECONDITION / FILE_LOCKED  umbrad runs; and the errors of catalog::Catalog::CheckFile.
absl::StatusOr<int> CheckCatalog(const Config& config, base::Filesystem& filesystem);

}  // namespace umbra::server

#endif  // UMBRA_SERVER_RESTORE_CATALOG_H_
