#include "server/restore_catalog.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "server/jobs/job_engine.h"
#include "server/jobs/job_recovery.h"
#include "server/maintenance/catalog_copy.h"
#include "server/repository_keys.h"
#include "storage/base/crash_point.h"
#include "storage/base/status.h"
#include "storage/catalog/catalog.h"
#include "storage/repo/repository.h"
#include "storage/tls/certificate_authority.h"

namespace umbra::server {
namespace {

// A warning is a transaction of its own; a queue of more is told of by the event alone.
constexpr size_t kWarnedJobsMax = 1000;

constexpr int kHostsPerRead = 1000;

struct OpenedRepository {
  repo::KeySecret secret;
  std::unique_ptr<repo::Repository> repository;
};

absl::StatusOr<OpenedRepository> OpenWith(const RestoreCatalogConfig& what, std::string_view typed,
                                          base::Filesystem& filesystem, base::Clock& clock, base::Random& random) {
  OpenedRepository opened;
  ASSIGN_OR_RETURN(opened.secret,
                   what.key_file.empty() ? ParseTypedKey(typed) : ReadKeyFile(what.key_file, filesystem));
  repo::RepositoryOptions options;
  options.key = opened.secret;
  ASSIGN_OR_RETURN(opened.repository, repo::Repository::Open(filesystem, clock, random, what.repository, options));
  return opened;
}

absl::StatusOr<std::unique_ptr<base::File>> LockState(const Config& config, base::Filesystem& filesystem,
                                                      std::string_view advice) {
  auto lock = filesystem.Lock(config.data_dir + "/umbrad.lock");
  return lock.ok() ? std::move(lock) : base::Annotate(lock.status(), "umbrad uses {}: {}", config.data_dir, advice);
}

absl::StatusOr<bool> IsThere(base::Filesystem& filesystem, const std::string& path, std::string_view content) {
  auto there = filesystem.ReadFile(path, maintenance::kAuthoritySizeMax);
  if (absl::IsNotFound(there.status())) return false;
  RETURN_IF_ERROR(there.status());
  return *there != content;
}

class Restorer {
 public:
  Restorer(const Config& config, const RestoreCatalogConfig& what, base::Filesystem& filesystem, base::Clock& clock,
           base::Random& random)
      : config_(config),
        what_(what),
        filesystem_(filesystem),
        clock_(clock),
        random_(random),
        target_(config.data_dir + "/catalog.db"),
        work_(config.data_dir + "/restore"),
        made_(work_ + "/catalog.db") {}

  absl::StatusOr<RestoreCatalogReport> Run(std::string_view typed) {
    RETURN_IF_ERROR(filesystem_.MakeDirectories(config_.data_dir));
    ASSIGN_OR_RETURN(const auto lock, LockState(config_, filesystem_, "stop it first"));
    RETURN_IF_ERROR(RequireFree());
    ASSIGN_OR_RETURN(OpenedRepository opened, OpenWith(what_, typed, filesystem_, clock_, random_));
    RETURN_IF_ERROR(filesystem_.MakeDirectories(work_));
    ClearWork();
    const absl::Status done = Restore(opened);
    ClearWork();
    RETURN_IF_ERROR(done);
    return std::move(report_);
  }

 private:
  absl::Status RequireFree() {
    if (what_.replace) return absl::OkStatus();
    ASSIGN_OR_RETURN(const bool exists, filesystem_.Exists(target_));
    if (!exists) return absl::OkStatus();
    return base::Error(absl::StatusCode::kAlreadyExists, "TARGET_EXISTS",
                       "there is a catalog already: {}; with --replace it is moved aside", target_);
  }

  void ClearWork() {
    catalog::RemoveDatabase(filesystem_, made_);
    (void)filesystem_.Remove(tls::CertificateAuthority::PathIn(work_));
  }

  absl::Status Restore(OpenedRepository& opened) {
    ASSIGN_OR_RETURN(auto catalog, TakeCopy(opened.repository->catalog_copies()));
    RETURN_IF_ERROR(CheckAuthority());
    const RepositoryConfig entry = EntryOf(opened.repository->info());
    report_.repository = entry.id;
    ASSIGN_OR_RETURN(auto repositories, SortOut(*catalog, entry, std::move(opened.repository)));
    catalog.reset();  // what is in its log goes to its file
    base::CrashPoint("restore_catalog.made");
    RETURN_IF_ERROR(PlaceAuthority());
    RETURN_IF_ERROR(EnsureKeyFile(entry, *repositories.Default().repository, opened.secret, filesystem_, random_));
    RETURN_IF_ERROR(PlaceCatalog());
    SayWhatIsMissing(entry);
    return absl::OkStatus();
  }

  // ---- The copy ----

  // The database of the newest sound copy, open; a new one when there is no copy.
  absl::StatusOr<std::unique_ptr<catalog::Catalog>> TakeCopy(repo::CatalogCopies& copies) {
    ASSIGN_OR_RETURN(auto list, copies.List());
    if (!what_.copy.empty()) {
      std::erase_if(list, [&](const auto& copy) { return copy.id != what_.copy; });
      if (list.empty()) return copies.Open(what_.copy).status();
    }
    for (const repo::CatalogCopyInfo& copy : list) {
      auto catalog = OpenCopy(copies, copy.id);
      if (catalog.ok()) {
        report_.copy = copy;
        return catalog;
      }
      content_ = {};
      catalog::RemoveDatabase(filesystem_, made_);
      // Whatever isn't the copy's own fault would hit the next one as well; an older one must not pass for this one.
      if (!absl::IsDataLoss(catalog.status())) return base::Annotate(catalog.status(), "copy {}", copy.id);
      report_.passed_over.push_back(fmt::format("{}: {}", copy.id, base::MessageOf(catalog.status())));
    }
    if (!what_.copy.empty()) {
      return base::Error(absl::StatusCode::kDataLoss, "CATALOG_COPY_DAMAGED", "{}", report_.passed_over.front());
    }
    return catalog::Catalog::Open(filesystem_, made_);
  }

  absl::StatusOr<std::unique_ptr<catalog::Catalog>> OpenCopy(repo::CatalogCopies& copies, const std::string& id) {
    ASSIGN_OR_RETURN(content_, maintenance::ReadCatalogCopy(copies, id, filesystem_, made_));
    return catalog::Catalog::Open(filesystem_, made_);  // checks, and migrates
  }

  // Which repository of the configuration this is: the copy knows by its uuid, else its folder says.
  RepositoryConfig EntryOf(const repo::RepositoryInfo& info) const {
    std::string id;
    for (const auto& repository : content_.header.repositories()) {
      if (repository.uuid() == info.uuid) id = repository.id();
    }
    for (const RepositoryConfig& entry : config_.repositories) {
      if (id.empty() ? entry.path == what_.repository : entry.id == id) return entry;
    }
    if (id.empty()) return config_.repositories.front();
    return {.id = id, .path = what_.repository, .key_file = fmt::format("{}/keys/{}.key", config_.data_dir, id)};
  }

  // ---- What is in it ----

  absl::StatusOr<maintenance::RepositorySet> SortOut(catalog::Catalog& catalog, const RepositoryConfig& entry,
                                                     std::unique_ptr<repo::Repository> repository) {
    std::vector<maintenance::OpenRepository> one;
    one.push_back({catalog::RepositoryId(entry.id), what_.repository, std::move(repository)});
    maintenance::RepositorySet repositories(std::move(one));
    RETURN_IF_ERROR(EndJobs(catalog, repositories));
    RETURN_IF_ERROR(catalog.Write([](catalog::Stores& stores) { return stores.tokens.Prune(absl::InfiniteFuture()); }));
    ASSIGN_OR_RETURN(report_.points, maintenance::RebuildCatalog(catalog, repositories.Default(), clock_,
                                                                 maintenance::RebuildMode::kFull));
    RETURN_IF_ERROR(Count(catalog));
    RETURN_IF_ERROR(Tell(catalog));
    return repositories;
  }

  absl::Status EndJobs(catalog::Catalog& catalog, const maintenance::RepositorySet& repositories) {
    jobs::JobEngine engine(catalog, clock_, random_);
    maintenance::PointsOfJobs points(repositories);
    RETURN_IF_ERROR(
        jobs::RecoverJobs(catalog, engine, [&](const catalog::Job& job) { return points.Of(job); }).status());
    ASSIGN_OR_RETURN(const auto active, engine.Active());
    report_.jobs_ended = static_cast<int64_t>(active.size());
    std::vector<jobs::Change> changes;
    for (const jobs::ActiveJob& job : active) {
      if (changes.size() < kWarnedJobsMax) {
        RETURN_IF_ERROR(engine.AddWarning(job.id, jobs::kCurrentAttempt,
                                          {"CATALOG_RESTORED",
                                           "it waited or ran when the catalog was copied from which "
                                           "the daemon was restored"}));
      }
      changes.push_back({job.id, jobs::kCurrentAttempt, jobs::JobEvent::kCancelRequested});
    }
    return engine.ApplyAll(changes).status();
  }

  absl::Status Count(catalog::Catalog& catalog) {
    return catalog.Read([&](const catalog::Stores& stores) -> absl::Status {
      ASSIGN_OR_RETURN(const auto policies, stores.policies.All());
      report_.policy_count = static_cast<int64_t>(policies.size());
      catalog::ListOptions<catalog::HostId> options{.page_size = kHostsPerRead};
      do {
        ASSIGN_OR_RETURN(const auto page, stores.hosts.List(options));
        report_.host_count += static_cast<int64_t>(page.items.size());
        options.after_key = page.next_key;
      } while (options.after_key.has_value());
      return absl::OkStatus();
    });
  }

  absl::Status Tell(catalog::Catalog& catalog) {
    catalog::Event event;
    event.time = clock_.Now();
    event.type = "CATALOG_RESTORED";
    event.resource = fmt::format("repositories/{}", report_.repository);
    event.severity = catalog::Severity::kWarning;
    event.message =
        report_.copy.id.empty()
            ? std::string("the daemon was restored from the recovery points alone: there was no copy of its catalog")
            : fmt::format(
                  "the daemon was restored from the copy {} of its catalog, made at {}; {} jobs that "
                  "waited or ran then were ended",
                  report_.copy.id, absl::FormatTime(report_.copy.create_time, absl::UTCTimeZone()), report_.jobs_ended);
    return catalog.Write([&](catalog::Stores& stores) { return stores.events.Append(event).status(); });
  }

  // ---- Into place ----

  absl::Status CheckAuthority() {
    if (content_.authority_pem.empty()) return absl::OkStatus();
    const std::string path = tls::CertificateAuthority::PathIn(config_.data_dir);
    ASSIGN_OR_RETURN(const bool other, IsThere(filesystem_, path, content_.authority_pem));
    if (other && !what_.replace) {
      return base::Error(absl::StatusCode::kAlreadyExists, "TARGET_EXISTS",
                         "{} is another certificate authority than that of the copy; with --replace it is moved aside",
                         path);
    }
    RETURN_IF_ERROR(filesystem_.WriteFileAtomic(tls::CertificateAuthority::PathIn(work_), content_.authority_pem));
    return tls::CertificateAuthority::Open(filesystem_, clock_, random_, work_).status();
  }

  absl::Status PlaceAuthority() {
    if (content_.authority_pem.empty()) return absl::OkStatus();
    const std::string path = tls::CertificateAuthority::PathIn(config_.data_dir);
    ASSIGN_OR_RETURN(const bool other, IsThere(filesystem_, path, content_.authority_pem));
    if (other) RETURN_IF_ERROR(MoveAside(path));
    report_.authority_restored = true;
    return filesystem_.WriteFileAtomic(path, content_.authority_pem);
  }

  absl::Status MoveAside(const std::string& path) {
    const std::string aside = fmt::format("{}.replaced-{}", path, absl::ToUnixSeconds(clock_.Now()));
    const absl::Status moved = filesystem_.Rename(path, aside);
    if (absl::IsNotFound(moved)) return absl::OkStatus();
    RETURN_IF_ERROR(moved);
    report_.moved_aside.push_back(aside);
    return absl::OkStatus();
  }

  absl::Status PlaceCatalog() {
    // The log of the old database must never meet the new one.
    for (const char* suffix : {"-wal", "-shm", ""}) RETURN_IF_ERROR(MoveAside(target_ + suffix));
    RETURN_IF_ERROR(filesystem_.SyncDirectory(config_.data_dir));
    base::CrashPoint("restore_catalog.aside");
    RETURN_IF_ERROR(filesystem_.Rename(made_, target_));
    return filesystem_.SyncDirectory(config_.data_dir);
  }

  void SayWhatIsMissing(const RepositoryConfig& entry) {
    auto& said = report_.not_restored;
    if (report_.copy.id.empty()) {
      said.push_back("policies, hosts, jobs and history: the repository has no copy of the catalog that can be read");
    } else {
      said.push_back(
          fmt::format("what happened after {}: jobs, events, changes of policies; hosts that were removed since "
                      "are known again: umbra host list",
                      absl::FormatTime("%Y-%m-%d %H:%M:%S", report_.copy.create_time, absl::LocalTimeZone())));
      said.push_back("enrolment tokens: make new ones with umbra host token");
    }
    if (content_.authority_pem.empty()) {
      said.push_back(
          "the certificate authority isn't in the copy: unless its file is put back (authority.pem), every "
          "agent has to enrol again");
    }
    for (const auto& other : content_.header.repositories()) {
      if (other.id() == entry.id) continue;
      said.push_back(
          fmt::format("the key of repository {} ({}), which was at {}: put its key file back, and name it in "
                      "the configuration",
                      other.id(), other.uuid(), other.location()));
    }
    const bool configured = std::any_of(config_.repositories.begin(), config_.repositories.end(),
                                        [&](const auto& r) { return r.id == entry.id && r.path == what_.repository; });
    if (!configured) {
      said.push_back(fmt::format("the configuration: it needs a [[repository]] with id = \"{}\" and path = \"{}\"",
                                 entry.id, what_.repository));
    }
  }

  const Config& config_;
  const RestoreCatalogConfig& what_;
  base::Filesystem& filesystem_;
  base::Clock& clock_;
  base::Random& random_;
  const std::string target_;
  const std::string work_;
  const std::string made_;  // the new catalog, until it takes its place
  maintenance::CatalogCopyContent content_;
  RestoreCatalogReport report_;
};

}  // namespace

absl::StatusOr<std::vector<ListedCopy>> ListCatalogCopies(const RestoreCatalogConfig& what, std::string_view typed,
                                                          base::Filesystem& filesystem, base::Clock& clock,
                                                          base::Random& random) {
  ASSIGN_OR_RETURN(const OpenedRepository opened, OpenWith(what, typed, filesystem, clock, random));
  repo::CatalogCopies& copies = opened.repository->catalog_copies();
  ASSIGN_OR_RETURN(const auto list, copies.List());
  std::vector<ListedCopy> listed;
  for (const repo::CatalogCopyInfo& info : list) {
    ListedCopy& copy = listed.emplace_back();
    copy.info = info;
    const auto header = maintenance::ReadCatalogCopyHeader(copies, info.id);
    copy.problem = header.ok() ? "" : base::MessageOf(header.status());
    if (!header.ok()) continue;
    copy.machine = header->machine();
    copy.daemon_version = header->daemon_version();
    copy.schema_version = header->schema_version();
  }
  return listed;
}

absl::StatusOr<RestoreCatalogReport> RestoreCatalog(const Config& config, const RestoreCatalogConfig& what,
                                                    std::string_view typed, base::Filesystem& filesystem,
                                                    base::Clock& clock, base::Random& random) {
  return Restorer(config, what, filesystem, clock, random).Run(typed);
}

absl::StatusOr<int> CheckCatalog(const Config& config, base::Filesystem& filesystem) {
  ASSIGN_OR_RETURN(const bool exists, filesystem.Exists(config.data_dir + "/catalog.db"));
  if (!exists) {
    return base::Error(absl::StatusCode::kNotFound, "FILE_NOT_FOUND", "there is no catalog in {}", config.data_dir);
  }
  ASSIGN_OR_RETURN(const auto lock, LockState(config, filesystem, "ask it instead: umbra catalog check"));
  return catalog::Catalog::CheckFile(filesystem, config.data_dir + "/catalog.db");
}

}  // namespace umbra::server
