// How long transactions of the catalog wait and take, for whoever watches over it.
#ifndef UMBRA_STORAGE_CATALOG_TRANSACTION_TIMING_H_
#define UMBRA_STORAGE_CATALOG_TRANSACTION_TIMING_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"

namespace umbra::catalog {

enum class TransactionKind { kRead = 1, kWrite = 2 };

struct TransactionFacts {
  TransactionKind kind;
  absl::Duration waited;  // for its turn: kReadersMax read and one writes at a time
  absl::Duration took;    // from its turn to its end; of a write that went well the sync of its commit is in it
  absl::Status status;    // as the caller gets it
};

// Called after each transaction on the thread that made it, with no lock of the catalog held. Must not call the
// catalog.
using TransactionObserver = std::function<void(const TransactionFacts&)>;

// Of one transaction, from the wish for it on; tells the observer, when there is one, as it is destroyed. Used by
// Catalog.
class TransactionTiming {
 public:
  TransactionTiming(base::Clock* clock, const TransactionObserver& observer, TransactionKind kind)
      : clock_(clock), observer_(observer), kind_(kind), wished_(Now()), began_(wished_), ended_(wished_) {}
  ~TransactionTiming() {
    if (observer_) observer_({kind_, began_ - wished_, ended_ - began_, status_});
  }
  TransactionTiming(const TransactionTiming&) = delete;
  TransactionTiming& operator=(const TransactionTiming&) = delete;

  void Begins() { began_ = ended_ = Now(); }
  void Ends(const absl::Status& status) {
    ended_ = Now();
    status_ = status;
  }
  template <typename T>
  void Ends(const absl::StatusOr<T>& result) {
    Ends(result.status());
  }

 private:
  absl::Duration Now() const { return observer_ ? clock_->Monotonic() : absl::ZeroDuration(); }

  base::Clock* const clock_;
  const TransactionObserver& observer_;
  const TransactionKind kind_;
  const absl::Duration wished_;
  absl::Duration began_;
  absl::Duration ended_;
  absl::Status status_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_TRANSACTION_TIMING_H_
