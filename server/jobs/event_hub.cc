#include "server/jobs/event_hub.h"

#include <algorithm>
#include <utility>

#include "storage/base/status.h"

namespace umbra::jobs {
namespace {

// Some hundredths of a second: others get their turn in between, also when millions of events are forgotten at once.
constexpr int64_t kPruneBatchMax = 5'000;

}  // namespace

EventHub::EventHub(catalog::Catalog& catalog, base::Clock& clock) : catalog_(catalog), clock_(clock) {
  const absl::StatusOr<int64_t> newest =
      catalog_.Read([](const catalog::Stores& stores) { return stores.events.Newest(); });
  {
    absl::MutexLock lock(&mu_);
    newest_ = newest.value_or(0);  // corrected by the first commit
  }
  catalog_.SetEventListener([this](int64_t sequence) { OnCommit(sequence); });
}

EventHub::~EventHub() {
  catalog_.SetEventListener(nullptr);
}

absl::Status EventHub::Append(catalog::Event event) {
  event.time = clock_.Now();
  return catalog_.Write([&](catalog::Stores& stores) { return stores.events.Append(event); }).status();
}

int64_t EventHub::Newest() const {
  absl::MutexLock lock(&mu_);
  return newest_;
}

int64_t EventHub::WaitPast(int64_t sequence, absl::Duration timeout) {
  absl::MutexLock lock(&mu_);
  const auto past = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return newest_ > sequence; };
  clock_.AwaitFor(mu_, absl::Condition(&past), timeout);
  return newest_;
}

absl::Status EventHub::Prune(absl::Duration kept_for) {
  const absl::Time before = clock_.Now() - kept_for;
  for (int64_t gone = kPruneBatchMax; gone == kPruneBatchMax;) {
    ASSIGN_OR_RETURN(gone, catalog_.Write([&](catalog::Stores& stores) {
      return stores.events.Prune(before, kEventsKeptMax, kPruneBatchMax);
    }));
  }
  return absl::OkStatus();
}

void EventHub::OnCommit(int64_t newest) {
  {
    absl::MutexLock lock(&mu_);
    newest_ = std::max(newest_, newest);
  }
  notifier_.Notify("");
}

}  // namespace umbra::jobs
