#include "tests/support/guest_ledger.h"

#include <cstring>
#include <utility>

#include "agent/guest/child_provider.h"
#include "agent/vss/errors.h"
#include "storage/base/status.h"

namespace umbra::testing {
namespace {

constexpr char kDisk[] = "vda";
constexpr uint64_t kCountAt = 0;              // how many transfers the journal has
constexpr uint64_t kJournalAt = 4096;         // their amounts, 8 bytes each
constexpr uint64_t kBalancesAt = 256 * 1024;  // one number per 4 KiB, as a database has its pages
constexpr uint64_t kPage = 4096;
constexpr int64_t kTransfersMax = (kBalancesAt - kJournalAt) / 8;
constexpr int64_t kOpeningBalance = 1'000'000;

// Which transfer does what follows from its number.
int PayerOf(int64_t number) {
  return static_cast<int>(number * 5 % GuestLedger::kAccounts);
}
int PayeeOf(int64_t number) {
  return static_cast<int>((number * 5 + 3) % GuestLedger::kAccounts);
}
int64_t AmountOf(int64_t number) {
  return 1 + number * 37 % 999;
}

uint64_t BalanceAt(int account) {
  return kBalancesAt + static_cast<uint64_t>(account) * kPage;
}

int64_t NumberIn(const std::string& bytes, size_t index) {
  int64_t number = 0;
  std::memcpy(&number, bytes.data() + index * sizeof(number), sizeof(number));
  return number;
}

}  // namespace

class GuestLedger::Writer final : public vss::Writer {
 public:
  explicit Writer(GuestLedger& ledger)
      : ledger_(ledger),
        identity_{kLedgerWriterId, kLedgerWriterId, kLedgerName, "", vss::ApplicationLevel::kFrontEnd} {}

  const vss::WriterIdentity& identity() const override { return identity_; }

  vss::WriterLimits limits() const override {
    absl::MutexLock lock(&ledger_.mu_);
    const absl::Duration l = ledger_.limit_;
    return {l, l, l, l, l, l, l, l, l, l};
  }

  absl::StatusOr<vss::WriterMetadata> OnIdentify(const vss::EventContext&) override {
    vss::WriterMetadata metadata;
    metadata.writer_id = identity_.writer_id;
    metadata.instance_id = identity_.instance_id;
    metadata.writer_name = identity_.name;
    metadata.usage = vss::UsageType::kUserData;
    metadata.source = vss::SourceType::kTransactedDb;
    vss::Component component;
    component.type = vss::ComponentType::kDatabase;
    component.name = "ledger";
    component.files = {{"/bank", "balances", false}};
    component.log_files = {{"/bank", "journal", false}};
    component.volumes = {guest::VolumeOf(kDisk)};
    metadata.components.push_back(std::move(component));
    RETURN_IF_ERROR(ledger_.Told(vss::WriterEvent::kIdentify, [] { return absl::OkStatus(); }));
    return metadata;
  }
  absl::Status OnPrepareBackup(vss::EventContext&) override { return Nothing(vss::WriterEvent::kPrepareBackup); }
  absl::Status OnPrepareSnapshot(vss::EventContext&) override { return Nothing(vss::WriterEvent::kPrepareSnapshot); }
  absl::Status OnFreeze(vss::EventContext&) override {
    return ledger_.Told(vss::WriterEvent::kFreeze, [this] { return ledger_.Freeze(); });
  }
  absl::Status OnThaw(vss::EventContext&) override {
    return ledger_.Told(vss::WriterEvent::kThaw, [this] { return ledger_.Release(); });
  }
  absl::Status OnPostSnapshot(vss::EventContext&) override { return Nothing(vss::WriterEvent::kPostSnapshot); }
  absl::Status OnBackupComplete(vss::EventContext&) override { return Nothing(vss::WriterEvent::kBackupComplete); }
  absl::Status OnBackupShutdown(vss::EventContext&) override {
    return ledger_.Told(vss::WriterEvent::kBackupShutdown, [this] { return ledger_.Release(); });
  }
  absl::Status OnAbort(vss::EventContext&) override {
    return ledger_.Told(vss::WriterEvent::kAbort, [this] { return ledger_.Release(); });
  }

 private:
  absl::Status Nothing(vss::WriterEvent event) {
    return ledger_.Told(event, [] { return absl::OkStatus(); });
  }

  GuestLedger& ledger_;
  const vss::WriterIdentity identity_;
};

GuestLedger::GuestLedger(hypervisor::SimulatedHypervisor& hypervisor, base::Clock& clock, std::string vm_uuid)
    : hypervisor_(hypervisor), clock_(clock), vm_uuid_(std::move(vm_uuid)), balances_(kAccounts, kOpeningBalance) {
  absl::MutexLock lock(&mu_);
  for (int account = 0; account < kAccounts; ++account) {
    UMBRA_CHECK(WriteNumberLocked(BalanceAt(account), kOpeningBalance).ok());
  }
}

absl::Status GuestLedger::WriteNumberLocked(uint64_t offset, int64_t number) {
  return hypervisor_.GuestWrite(vm_uuid_, kDisk, offset, std::as_bytes(std::span(&number, 1)));
}

// The open transfer, up to so many of its writes.
absl::Status GuestLedger::FinishLocked(int writes) {
  const int64_t number = open_->number;
  while (open_->writes_done < writes) {
    switch (open_->writes_done) {
      case 0:
        RETURN_IF_ERROR(WriteNumberLocked(kJournalAt + static_cast<uint64_t>(number) * 8, AmountOf(number)));
        break;
      case 1:
        RETURN_IF_ERROR(WriteNumberLocked(kCountAt, number + 1));
        break;
      case 2:
        RETURN_IF_ERROR(WriteNumberLocked(BalanceAt(PayerOf(number)), balances_[PayerOf(number)] - AmountOf(number)));
        break;
      default:
        RETURN_IF_ERROR(WriteNumberLocked(BalanceAt(PayeeOf(number)), balances_[PayeeOf(number)] + AmountOf(number)));
    }
    ++open_->writes_done;
  }
  if (open_->writes_done < kWritesPerTransfer) return absl::OkStatus();
  balances_[PayerOf(number)] -= AmountOf(number);
  balances_[PayeeOf(number)] += AmountOf(number);
  ++transfers_;
  open_.reset();
  return absl::OkStatus();
}

absl::Status GuestLedger::Transfer(int writes) {
  absl::MutexLock lock(&mu_);
  if (frozen_) return base::Error(absl::StatusCode::kUnavailable, "GUEST_FROZEN", "the ledger is frozen");
  if (open_.has_value()) RETURN_IF_ERROR(FinishLocked(kWritesPerTransfer));
  if (transfers_ == kTransfersMax) {
    return base::Error(absl::StatusCode::kResourceExhausted, "INTERNAL", "the journal is full");
  }
  open_ = Open{transfers_, 0};
  return FinishLocked(writes);
}

absl::Status GuestLedger::Freeze() {
  absl::MutexLock lock(&mu_);
  if (open_.has_value()) RETURN_IF_ERROR(FinishLocked(kWritesPerTransfer));
  frozen_ = true;
  return absl::OkStatus();
}

absl::Status GuestLedger::Release() {
  absl::MutexLock lock(&mu_);
  frozen_ = false;
  return absl::OkStatus();
}

absl::Status GuestLedger::Told(vss::WriterEvent event, const std::function<absl::Status()>& work) {
  LedgerFaults faults;
  {
    absl::MutexLock lock(&mu_);
    events_.emplace_back(vss::NameOf(event));
    faults = faults_;
    if (faults.die == event) {
      dead_ = true;
      frozen_ = false;
    }
    if (dead_) return base::Error(absl::StatusCode::kUnavailable, "GUEST_STOPPED", "the ledger doesn't run any more");
  }
  if (faults.hang == event) clock_.Sleep(faults.hang_for);
  if (faults.veto == event) return vss::Error(faults.veto_code, "the ledger says no");
  return work();
}

void GuestLedger::SetFaults(const LedgerFaults& faults) {
  absl::MutexLock lock(&mu_);
  faults_ = faults;
  dead_ = false;
}

void GuestLedger::SetLimit(absl::Duration limit) {
  absl::MutexLock lock(&mu_);
  limit_ = limit;
}

bool GuestLedger::frozen() const {
  absl::MutexLock lock(&mu_);
  return frozen_;
}

std::vector<std::string> GuestLedger::TakeEvents() {
  absl::MutexLock lock(&mu_);
  return std::exchange(events_, {});
}

std::unique_ptr<vss::Writer> GuestLedger::NewWriter() {
  return std::make_unique<Writer>(*this);
}

absl::StatusOr<int64_t> GuestLedger::Verify(const ReadAt& read) {
  ASSIGN_OR_RETURN(const std::string head, read(kCountAt, 8));
  const int64_t count = NumberIn(head, 0);
  if (count < 0 || count > kTransfersMax) {
    return base::Error(absl::StatusCode::kDataLoss, "INTERNAL", "the journal has {} transfers", count);
  }
  ASSIGN_OR_RETURN(const std::string journal, read(kJournalAt, static_cast<uint64_t>(count + 1) * 8));
  std::vector<int64_t> expected(kAccounts, kOpeningBalance);
  for (int64_t number = 0; number < count; ++number) {
    expected[PayerOf(number)] -= NumberIn(journal, static_cast<size_t>(number));
    expected[PayeeOf(number)] += NumberIn(journal, static_cast<size_t>(number));
  }
  if (count < kTransfersMax && NumberIn(journal, static_cast<size_t>(count)) != 0) {
    return base::Error(absl::StatusCode::kDataLoss, "INTERNAL", "the journal has an entry beyond its {}", count);
  }
  for (int account = 0; account < kAccounts; ++account) {
    ASSIGN_OR_RETURN(const std::string balance, read(BalanceAt(account), 8));
    if (NumberIn(balance, 0) == expected[account]) continue;
    return base::Error(absl::StatusCode::kDataLoss, "INTERNAL", "account {} has {}, by the journal it is {}", account,
                       NumberIn(balance, 0), expected[account]);
  }
  return count;
}

absl::StatusOr<std::vector<std::unique_ptr<vss::Writer>>> GuestLedgers::WritersOf(const std::string& vm_uuid) {
  std::vector<std::unique_ptr<vss::Writer>> writers;
  if (const auto found = ledgers_.find(vm_uuid); found != ledgers_.end()) writers.push_back(found->second->NewWriter());
  return writers;
}

}  // namespace umbra::testing
