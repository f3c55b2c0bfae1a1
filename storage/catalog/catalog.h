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
#include <type_traits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/filesystem.h"
#include "storage/catalog/event_store.h"
#include "storage/catalog/figures_store.h"
#include "storage/catalog/file_set_store.h"
#include "storage/catalog/host_store.h"
#include "storage/catalog/job_store.h"
#include "storage/catalog/label_store.h"
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
        policies(db), labels(db) {}

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
  LabelStore labels;
};

// Thread-safe. Two connections: writers take turns on one, readers on the other, and a reader never waits for a
// writer's sync. Besides what each call documents, every call may return the errors of sqlite::Database.
class Catalog {
 public:
  // Opens `path`, or creates it and its folder (readable by the owner only). Applies missing migrations.
  // DATA_LOSS / CATALOG_CORRUPT              damaged, or no database: restore the file, or rebuild from the repository.
  // FAILED_PRECONDITION / CATALOG_NEWER      written by a newer umbrad.
  static absl::StatusOr<std::unique_ptr<Catalog>> Open(base::Filesystem& filesystem, const std::string& path);

  // Runs `work(const Stores&)`, which returns a Status or a StatusOr, on a consistent view that has every finished
  // Write. `work` must not call Read or Write, and should be short: other readers wait.
  template <typename Work>
  std::invoke_result_t<Work, const Stores&> Read(Work&& work) ABSL_LOCKS_EXCLUDED(reader_mu_) {
    TransactionTiming timing(clock_, observer_, TransactionKind::kRead);
    absl::MutexLock lock(&reader_mu_);
    timing.Begins();
    auto result = View(std::forward<Work>(work));
    timing.Ends(result);
    return result;
  }

  // Runs `work(Stores&)`, which returns a Status or a StatusOr, in one transaction: committed when it returns OK,
  // rolled back otherwise. When Write returns OK the change is durable (synced). `work` must not call Read or Write.
  template <typename Work>
  std::invoke_result_t<Work, Stores&> Write(Work&& work) ABSL_LOCKS_EXCLUDED(writer_mu_) {
    int64_t newest_event = 0;
    auto result = Transact(std::forward<Work>(work), newest_event);
    if (result.ok() && newest_event != 0 && on_events_) on_events_(newest_event);
    return result;
  }

  // `listener(newest sequence)` is called after each commit that appended events, on the writing thread and with no
  // lock held; calls may overlap and overtake each other. Set it once, before other threads use the catalog.
  void SetEventListener(std::function<void(int64_t)> listener) { on_events_ = std::move(listener); }
  // From now on, by `clock`, which outlives the catalog. Set it once, before other threads use the catalog.
  void SetObserver(base::Clock& clock, TransactionObserver observer) {
    clock_ = &clock;
    observer_ = std::move(observer);
  }

 private:
  Catalog(std::unique_ptr<sqlite::Database> writer, std::unique_ptr<sqlite::Database> reader)
      : writer_(std::move(writer)), reader_(std::move(reader)), writer_stores_(*writer_), reader_stores_(*reader_) {}

  template <typename Work>
  std::invoke_result_t<Work, const Stores&> View(Work&& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(reader_mu_) {
    sqlite::Transaction transaction(*reader_);
    if (absl::Status s = transaction.Begin(sqlite::Transaction::Kind::kRead); !s.ok()) return s;
    const Stores& stores = reader_stores_;
    return std::forward<Work>(work)(stores);
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

  // Each lock makes its connection's transactions one at a time; held across the sync of a commit, which is what orders
  // the changes. The pointers are constant after construction, what they point to is guarded.
  absl::Mutex writer_mu_;
  absl::Mutex reader_mu_;
  const std::unique_ptr<sqlite::Database> writer_;
  const std::unique_ptr<sqlite::Database> reader_;
  Stores writer_stores_ ABSL_GUARDED_BY(writer_mu_);
  Stores reader_stores_ ABSL_GUARDED_BY(reader_mu_);
  std::function<void(int64_t)> on_events_;
  base::Clock* clock_ = nullptr;  // set together with the observer
  TransactionObserver observer_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_CATALOG_H_
