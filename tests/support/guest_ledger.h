// A bank in a simulated guest: an application with real data on the guest's disk and a writer of its own, for tests of
// backups inside a guest.
//
// Two files on "vda": the journal of transfers and the balances. A transfer is several writes to both; only between
// transfers do they agree, so a copy that was taken in the middle of one is found out by Verify. The writer brings the
// ledger between two transfers when it freezes, and keeps it there until the thaw. What real writers do wrong has a
// switch in LedgerFaults.
#ifndef UMBRA_TESTS_SUPPORT_GUEST_LEDGER_H_
#define UMBRA_TESTS_SUPPORT_GUEST_LEDGER_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/guest/guest_writers.h"
#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "storage/base/clock.h"

namespace umbra::testing {

inline constexpr char kLedgerName[] = "Ledger of the bank";
inline constexpr vss::Guid kLedgerWriterId = vss::Guid::Literal("5b0c9f64-2e1a-4f7d-8a35-c96e10d4b7f2");

// Each at most one event; what isn't named works.
struct LedgerFaults {
  std::optional<vss::WriterEvent> veto;  // answers `veto_code`
  vss::Code veto_code = vss::Code::kWriterErrorNonRetryable;
  std::optional<vss::WriterEvent> hang;  // answers OK, but only after `hang_for`
  absl::Duration hang_for;
  std::optional<vss::WriterEvent> die;  // the application is gone from here on: nobody answers, nothing is held still
};

// Thread-safe. The references outlive the ledger.
class GuestLedger {
 public:
  static constexpr int kAccounts = 8;
  static constexpr int kWritesPerTransfer = 4;
  static constexpr uint64_t kBytesNeeded = 512 * 1024;  // of the guest's disk

  // Writes the opening balances.
  GuestLedger(hypervisor::SimulatedHypervisor& hypervisor, base::Clock& clock, std::string vm_uuid);

  // One transfer. With fewer `writes` it stops in the middle, and the next one, or a freeze, ends it first.
  // UNAVAILABLE / GUEST_FROZEN while the ledger or the guest is frozen, RESOURCE_EXHAUSTED after some 30,000.
  absl::Status Transfer(int writes = kWritesPerTransfer);

  void SetFaults(const LedgerFaults& faults);
  bool frozen() const;
  // What the writer was told, in order: "Freeze". Cleared by this.
  std::vector<std::string> TakeEvents();

  // The writer's limit of every event; short ones make a test of hanging short.
  void SetLimit(absl::Duration limit);

  std::unique_ptr<vss::Writer> NewWriter();

  // Reads `length` bytes at `offset` of the disk that is to be verified.
  using ReadAt = std::function<absl::StatusOr<std::string>(uint64_t offset, uint64_t length)>;
  // The number of transfers; DATA_LOSS when journal and balances don't agree.
  static absl::StatusOr<int64_t> Verify(const ReadAt& read);

 private:
  class Writer;
  struct Open {
    int64_t number = 0;
    int writes_done = 0;
  };

  absl::Status Told(vss::WriterEvent event, const std::function<absl::Status()>& work);
  absl::Status Freeze();
  absl::Status Release();
  absl::Status FinishLocked(int writes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status WriteNumberLocked(uint64_t offset, int64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  hypervisor::SimulatedHypervisor& hypervisor_;
  base::Clock& clock_;
  const std::string vm_uuid_;
  mutable absl::Mutex mu_;
  LedgerFaults faults_ ABSL_GUARDED_BY(mu_);
  absl::Duration limit_ ABSL_GUARDED_BY(mu_) = absl::Seconds(60);
  bool frozen_ ABSL_GUARDED_BY(mu_) = false;
  bool dead_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::string> events_ ABSL_GUARDED_BY(mu_);
  int64_t transfers_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<int64_t> balances_ ABSL_GUARDED_BY(mu_);
  std::optional<Open> open_ ABSL_GUARDED_BY(mu_);  // a transfer that was begun
};

// Brings each guest's ledger. Thread-safe once set up.
class GuestLedgers final : public guest::GuestWriters {
 public:
  // The ledger outlives this object.
  void Add(const std::string& vm_uuid, GuestLedger& ledger) { ledgers_[vm_uuid] = &ledger; }

  absl::StatusOr<std::vector<std::unique_ptr<vss::Writer>>> WritersOf(const std::string& vm_uuid) override;

 private:
  std::map<std::string, GuestLedger*> ledgers_;
};

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_GUEST_LEDGER_H_
