#include "storage/catalog/catalog.h"

#include <thread>

#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/catalog/migrations.h"

namespace umbra::catalog {
namespace {

// Makes the file ourselves: the library would make it readable for everybody, and its name must be durable too.
absl::Status EnsureFile(base::Filesystem& filesystem, const std::string& path) {
  const std::string folder = base::DirectoryOf(path);
  RETURN_IF_ERROR(filesystem.MakeDirectories(folder));
  ASSIGN_OR_RETURN(const bool exists, filesystem.Exists(path));
  if (exists) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::unique_ptr<base::File> file, filesystem.Open(path, base::OpenMode::kCreate));
  RETURN_IF_ERROR(file->Sync());
  return filesystem.SyncDirectory(folder);
}

// Interrupts what `db` does when the time is over.
class Deadline {
 public:
  Deadline(sqlite::Database& db, base::Clock& clock, absl::Duration time_max)
      : thread_([this, &db, &clock, time_max] {
          absl::MutexLock lock(&mu_);
          if (!clock.AwaitFor(mu_, absl::Condition(&over_), time_max)) db.Interrupt();
        }) {}
  ~Deadline() {
    absl::MutexLock lock(&mu_);
    over_ = true;
  }

 private:
  absl::Mutex mu_;
  bool over_ ABSL_GUARDED_BY(mu_) = false;
  std::jthread thread_;  // last: joined before the others go
};

absl::Status CheckAtOpening(sqlite::Database& db, const CatalogOptions& options) {
  if (options.clock == nullptr || options.check_time_max == absl::InfiniteDuration()) return db.CheckIntegrity();
  absl::Status checked;
  {
    const Deadline deadline(db, *options.clock, options.check_time_max);
    checked = db.CheckIntegrity();
  }
  if (!absl::IsCancelled(checked)) return checked;
  base::Log("catalog")->info("check at start cut short after={} (umbra catalog check reads everything)",
                             absl::FormatDuration(options.check_time_max));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<sqlite::Database>> OpenWriter(const std::string& path, const CatalogOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<sqlite::Database> db, sqlite::Database::Open(path, {}));
  RETURN_IF_ERROR(CheckAtOpening(*db, options));
  RETURN_IF_ERROR(sqlite::Migrate(*db, Migrations()));
  return db;
}

absl::Status CopyAndCheck(const std::string& from, const std::string& to, absl::FunctionRef<absl::Status()> between) {
  {
    ASSIGN_OR_RETURN(const auto source, sqlite::Database::Open(from, {}));
    RETURN_IF_ERROR(source->CopyTo(to, between));
  }
  ASSIGN_OR_RETURN(const auto copy, sqlite::Database::Open(to, {}));
  return copy->CheckIntegrity();
}

}  // namespace

absl::Status WithAdvice(const absl::Status& status, std::string_view path) {
  const auto with = [&](std::string_view advice) {
    return base::MakeError(status.code(), base::ReasonOf(status), fmt::format("{}; {}", base::MessageOf(status), advice));
  };
  const std::string reason = base::ReasonOf(status);
  if (reason == "CATALOG_CORRUPT") {
    return with("stop umbrad and restore the catalog from the newest copy in a repository: umbrad restore-catalog --replace");
  }
  if (reason == "CATALOG_NEWER") return with("start the version of umbrad that wrote it");
  if (reason == "STORAGE_FULL") {
    return with(fmt::format("nothing of it was written; free space on the file system of {}", base::DirectoryOf(std::string(path))));
  }
  return status;
}

absl::StatusOr<std::unique_ptr<Catalog>> Catalog::Open(base::Filesystem& filesystem, const std::string& path,
                                                       const CatalogOptions& options) {
  const auto failed = [&](const absl::Status& status) {
    return WithAdvice(base::Annotate(status, "catalog {}", path), path);
  };
  if (const absl::Status made = EnsureFile(filesystem, path); !made.ok()) return failed(made);
  absl::StatusOr<std::unique_ptr<sqlite::Database>> writer = OpenWriter(path, options);
  if (!writer.ok()) return failed(writer.status());
  const auto version = sqlite::ReadSchemaVersion(**writer);
  if (!version.ok()) return failed(version.status());
  std::vector<std::unique_ptr<Reader>> readers;
  while (readers.size() < kReadersMax) {
    absl::StatusOr<std::unique_ptr<sqlite::Database>> reader = sqlite::Database::Open(path, {});
    if (!reader.ok()) return failed(reader.status());
    readers.push_back(std::make_unique<Reader>(*std::move(reader)));
  }
  return std::unique_ptr<Catalog>(new Catalog(path, version->version, *std::move(writer), std::move(readers)));
}

Catalog::Catalog(std::string path, int schema_version, std::unique_ptr<sqlite::Database> writer,
                 std::vector<std::unique_ptr<Reader>> readers)
    : path_(std::move(path)),
      schema_version_(schema_version),
      writer_(std::move(writer)),
      writer_stores_(*writer_),
      readers_(std::move(readers)) {
  for (const std::unique_ptr<Reader>& reader : readers_) idle_readers_.push_back(reader.get());
}

Catalog::Reader& Catalog::TakeReader() {
  absl::MutexLock lock(&readers_mu_);
  const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(readers_mu_) { return !idle_readers_.empty(); };
  readers_mu_.Await(absl::Condition(&idle));
  Reader& taken = *idle_readers_.back();
  idle_readers_.pop_back();
  return taken;
}

void Catalog::GiveBack(Reader& reader) {
  absl::MutexLock lock(&readers_mu_);
  idle_readers_.push_back(&reader);
}

absl::StatusOr<int> Catalog::CheckFile(base::Filesystem& filesystem, const std::string& path) {
  ASSIGN_OR_RETURN(const bool exists, filesystem.Exists(path));
  if (!exists) return base::Error(absl::StatusCode::kNotFound, "FILE_NOT_FOUND", "there is no catalog {}", path);
  const auto version = [&]() -> absl::StatusOr<int> {
    ASSIGN_OR_RETURN(const auto db, sqlite::Database::Open(path, {}));
    RETURN_IF_ERROR(db->CheckIntegrity());
    ASSIGN_OR_RETURN(const sqlite::SchemaVersion found, sqlite::ReadSchemaVersion(*db));
    RETURN_IF_ERROR(sqlite::CheckCompatible(found, Migrations()));
    return found.version;
  }();
  if (version.ok()) return version;
  return WithAdvice(base::Annotate(version.status(), "catalog {}", path), path);
}

absl::Status Catalog::CopyTo(base::Filesystem& filesystem, const std::string& path,
                             absl::FunctionRef<absl::Status()> between) {
  ASSIGN_OR_RETURN(const bool exists, filesystem.Exists(path));
  if (exists) return base::Error(absl::StatusCode::kAlreadyExists, "FILE_EXISTS", "{} exists already", path);
  absl::Status copied = EnsureFile(filesystem, path);
  if (copied.ok()) copied = CopyAndCheck(path_, path, between);
  if (copied.ok()) return copied;
  RemoveDatabase(filesystem, path);
  return WithAdvice(base::Annotate(copied, "copy the catalog {} to {}", path_, path), path);
}

absl::Status Catalog::Check() {
  const auto db = sqlite::Database::Open(path_, {});
  const absl::Status checked = db.ok() ? (*db)->CheckIntegrity() : db.status();
  return WithAdvice(base::Annotate(checked, "catalog {}", path_), path_);
}

void RemoveDatabase(base::Filesystem& filesystem, const std::string& path) {
  for (const char* suffix : kDatabaseSuffixes) (void)filesystem.Remove(path + suffix);
}

}  // namespace umbra::catalog
