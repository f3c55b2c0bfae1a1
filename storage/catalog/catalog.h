// The daemon's memory: one SQLite file, opened, checked, brought to the newest schema, and handed out as stores.
//
//   ASSIGN_OR_RETURN(Host host, catalog.Read([&](const Stores& s) { return s.hosts.Get(id); }));
//   RETURN_IF_ERROR(catalog.Write([&](Stores& s) -> absl::Status {
//     RETURN_IF_ERROR(s.tokens.Consume(hash, name, now));
//     return s.hosts.Insert(host);
//   }));
//
// The format is described in docs/formats/catalog.md.
#ifndef UMBRA_STORAGE_CATALOG_CATALOG_H_
#define UMBRA_STORAGE_CATALOG_CATALOG_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/catalog/audit_store.h"
#include "storage/catalog/event_store.h"
#include "storage/catalog/figures_store.h"
#include "storage/catalog/file_set_store.h"
#include "storage/catalog/host_store.h"
#include "storage/catalog/identity_store.h"
#include "storage/catalog/job_store.h"
#include "storage/catalog/label_store.h"
#include "storage/catalog/notification_store.h"
#include "storage/catalog/policy_store.h"
#include "storage/catalog/recovery_point_store.h"
#include "storage/catalog/request_store.h"
#include "storage/catalog/token_store.h"
#include "storage/catalog/transaction_timing.h"
#include "storage/catalog/verify_store.h"
#include "storage/catalog/vm_store.h"
#include "storage/sqlite/database.h"
#include "storage/sqlite/transaction.h"

namespace umbra::catalog {

// The stores on one connection. Only const calls work on a reading one, and only those compile.
struct Stores {
  explicit Stores(sqlite::Database& db)
      : hosts(db), vms(db), file_sets(db), tokens(db), jobs(db), events(db), recovery_points(db), requests(db), verify(db), figures(db),
        policies(db), notifications(db), labels(db), identity(db), audit(db) {}

  HostStore hosts;
  VmStore vms;
  FileSetStore file_sets;
  TokenStore tokens;
  JobStore jobs;
  EventStore events;
  RecoveryPointStore recovery_points;
  RequestStore requests;
  VerifyStore verify;
  FiguresStore figures;
  PolicyStore policies;
  NotificationStore notifications;
  LabelStore labels;
  IdentityStore identity;
  AuditStore audit;
};

struct CatalogOptions {
  // The check at the opening ends after this time, by this clock; what wasn't read by then is taken for sound. Null: it
  // reads everything, which takes a second per GiB.
  base::Clock* clock = nullptr;
  absl::Duration check_time_max = absl::InfiniteDuration();
};

// A database is this file and, while it is open or after a crash, the other two.
inline constexpr const char* kDatabaseSuffixes[] = {"", "-wal", "-shm"};
// Removes what is there of a database that nobody has open.
void RemoveDatabase(base::Filesystem& filesystem, const std::string& path);

// What a person can do about it is added to the message, when `status` tells that the file at `path` is damaged, newer
// than this program, or on a full disk.
absl::Status WithAdvice(const absl::Status& status, std::string_view path);

// Side by side: an answer to a person doesn't wait for one that reads all machines, nor does an agent's certificate.
// Each keeps a page cache of 2 MiB at most.
inline constexpr size_t kReadersMax = 4;

// Thread-safe. Writers take turns on one connection, readers share kReadersMax others, and a reader never waits for a
// writer's sync. Besides what each call documents, every call may return the errors of sqlite::Database.
class Catalog {
 public:
  // Opens `path`, or creates it and its folder (readable by the owner only). Applies missing migrations.
  // DATA_LOSS / CATALOG_CORRUPT              damaged, or no database: restore the file, or rebuild from the repository.
  // FAILED_PRECONDITION / CATALOG_NEWER      written by a newer umbrad.
  // RESOURCE_EXHAUSTED / STORAGE_FULL         there is no room, not even to begin.
  static absl::StatusOr<std::unique_ptr<Catalog>> Open(base::Filesystem& filesystem, const std::string& path,
                                                       const CatalogOptions& options = {});

  // Reads the file of a catalog that nobody has open and checks its structure; changes nothing of what is in it. Returns
  // its schema's version. NOT_FOUND / FILE_NOT_FOUND, CATALOG_CORRUPT, CATALOG_NEWER.
  static absl::StatusOr<int> CheckFile(base::Filesystem& filesystem, const std::string& path);

  // Runs `work(const Stores&)`, which returns a Status or a StatusOr, on a consistent view that has every finished
  // Write. `work` must not call Read or Write, and should be short: the fifth reader waits.
  template <typename Work>
  std::invoke_result_t<Work, const Stores&> Read(Work&& work) ABSL_LOCKS_EXCLUDED(readers_mu_) {
    TransactionTiming timing(clock_, observer_, TransactionKind::kRead);
    const ReaderTurn turn(*this);
    timing.Begins();
    auto result = View(turn.reader(), std::forward<Work>(work));
    timing.Ends(result);
    return Advised(std::move(result));
  }

  // Runs `work(Stores&)`, which returns a Status or a StatusOr, in one transaction: committed when it returns OK,
  // rolled back otherwise. When Write returns OK the change is durable (synced). `work` must not call Read or Write.
  template <typename Work>
  std::invoke_result_t<Work, Stores&> Write(Work&& work) ABSL_LOCKS_EXCLUDED(writer_mu_) {
    int64_t newest_event = 0;
    auto result = Transact(std::forward<Work>(work), newest_event);
    if (result.ok() && newest_event != 0 && on_events_) on_events_(newest_event);
    return Advised(std::move(result));
  }

  // Writes what is committed now to the new file `path`: a whole database by itself, checked. Nobody waits for it.
  // `between` is called after every MiB or so, and ends the copy with its error. On an error there is no file.
  // DATA_LOSS / CATALOG_CORRUPT: what was copied isn't sound.
  absl::Status CopyTo(base::Filesystem& filesystem, const std::string& path, absl::FunctionRef<absl::Status()> between);

  // Reads the whole file and checks its structure, while everything else goes on. DATA_LOSS / CATALOG_CORRUPT.
  absl::Status Check();

  const std::string& path() const { return path_; }
  // The newest migration that was applied.
  int schema_version() const { return schema_version_; }

  // `listener(newest sequence)` is called after each commit that appended events, on the writing thread and with no
  // lock held; calls may overlap and overtake each other. Set it once, before other threads use the catalog.
  void SetEventListener(std::function<void(int64_t)> listener) { on_events_ = std::move(listener); }
  // From now on, by `clock`, which outlives the catalog. Set it once, before other threads use the catalog.
  void SetObserver(base::Clock& clock, TransactionObserver observer) {
    clock_ = &clock;
    observer_ = std::move(observer);
  }

 private:
  // A connection that one transaction at a time reads on.
  struct Reader {
    explicit Reader(std::unique_ptr<sqlite::Database> database) : db(std::move(database)), stores(*db) {}

    const std::unique_ptr<sqlite::Database> db;
    const Stores stores;
  };

  // Has a reader to itself as long as it lives.
  class ReaderTurn {
   public:
    explicit ReaderTurn(Catalog& catalog) : catalog_(catalog), reader_(catalog.TakeReader()) {}
    ~ReaderTurn() { catalog_.GiveBack(reader_); }
    ReaderTurn(const ReaderTurn&) = delete;
    ReaderTurn& operator=(const ReaderTurn&) = delete;

    Reader& reader() const { return reader_; }

   private:
    Catalog& catalog_;
    Reader& reader_;
  };

  Catalog(std::string path, int schema_version, std::unique_ptr<sqlite::Database> writer,
          std::vector<std::unique_ptr<Reader>> readers);

  Reader& TakeReader() ABSL_LOCKS_EXCLUDED(readers_mu_);
  void GiveBack(Reader& reader) ABSL_LOCKS_EXCLUDED(readers_mu_);

  template <typename Result>
  Result Advised(Result result) const {
    if (result.ok()) return result;
    absl::Status status;
    if constexpr (std::is_same_v<Result, absl::Status>) {
      status = result;
    } else {
      status = result.status();
    }
    if (!absl::IsDataLoss(status) && !absl::IsResourceExhausted(status)) return result;
    return WithAdvice(status, path_);
  }

  template <typename Work>
  static std::invoke_result_t<Work, const Stores&> View(Reader& reader, Work&& work) {
    sqlite::Transaction transaction(*reader.db);
    if (absl::Status s = transaction.Begin(sqlite::Transaction::Kind::kRead); !s.ok()) return s;
    return std::forward<Work>(work)(reader.stores);
  }

  template <typename Work>
  std::invoke_result_t<Work, Stores&> Transact(Work&& work, int64_t& newest_event) ABSL_LOCKS_EXCLUDED(writer_mu_) {
    TransactionTiming timing(clock_, observer_, TransactionKind::kWrite);
    absl::MutexLock lock(&writer_mu_);
    timing.Begins();
    auto result = Change(std::forward<Work>(work), newest_event);
    timing.Ends(result);
    return result;
  }

  template <typename Work>
  std::invoke_result_t<Work, Stores&> Change(Work&& work, int64_t& newest_event)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mu_) {
    sqlite::Transaction transaction(*writer_);
    if (absl::Status s = transaction.Begin(sqlite::Transaction::Kind::kWrite); !s.ok()) return s;
    writer_stores_.events.ResetAppended();
    auto result = std::forward<Work>(work)(writer_stores_);
    if (!result.ok()) return result;
    if (absl::Status s = transaction.Commit(); !s.ok()) return s;
    newest_event = writer_stores_.events.appended();
    return result;
  }

  const std::string path_;
  const int schema_version_;
  // Makes the writing transactions one at a time; held across the sync of a commit, which is what orders the changes. The
  // pointer is constant after construction, what it points to is guarded.
  absl::Mutex writer_mu_;
  const std::unique_ptr<sqlite::Database> writer_;
  Stores writer_stores_ ABSL_GUARDED_BY(writer_mu_);
  absl::Mutex readers_mu_;
  const std::vector<std::unique_ptr<Reader>> readers_;
  std::vector<Reader*> idle_readers_ ABSL_GUARDED_BY(readers_mu_);  // the last one was used last: its cache is warm
  std::function<void(int64_t)> on_events_;
  base::Clock* clock_ = nullptr;  // set together with the observer
  TransactionObserver observer_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_CATALOG_H_
