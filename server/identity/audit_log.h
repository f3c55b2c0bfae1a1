// The log of who did what: entries only come at the end, and each stands on the one before by a hash, so that one that
// was changed, taken out or put in shows. docs/formats/catalog.md has the bytes that are hashed.
#ifndef UMBRA_SERVER_IDENTITY_AUDIT_LOG_H_
#define UMBRA_SERVER_IDENTITY_AUDIT_LOG_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"

namespace umbra::identity {

using AuditEntry = catalog::AuditEntry;
using AuditFilter = catalog::AuditFilter;

// Principal of calls that nobody known made.
inline constexpr char kNobody[] = "nobody";

inline constexpr size_t kAuditTextSizeMax = 512;
inline constexpr size_t kAuditSummarySizeMax = 2048;

struct AuditOptions {
  // Calls of nobody, which anybody can make as many of as he likes: so many at once, and one more after each interval.
  // The others are counted, and the next entry of nobody's says how many there were.
  int nobody_burst = 60;
  absl::Duration nobody_interval = absl::Seconds(1);
};

// What came of reading the whole log.
struct AuditCheck {
  int64_t first_number = 0;  // of the oldest entry that is there; 0: there is none
  int64_t entry_count = 0;   // that were read and stand on each other
  catalog::AuditAnchor
      head;  // the newest sound entry: noted elsewhere, it proves later that nothing up to it was changed
  int64_t broken_number = 0;  // the first entry that isn't as it was written, or is missing; 0: none
  std::string problem;        // for people; empty: the log is sound

  bool sound() const { return problem.empty(); }
};

// The hash that `entry`, all but its own, has after one with `previous_hash`.
std::string AuditHash(const std::string& previous_hash, const AuditEntry& entry);

// Thread-safe. What it is given outlives it.
class AuditLog {
 public:
  AuditLog(catalog::Catalog& catalog, base::Clock& clock, const AuditOptions& options = {})
      : catalog_(catalog), clock_(clock), options_(options), nobody_left_(options.nobody_burst) {}

  // Gives it number, time and hash; texts are cut to their sizes and made valid UTF-8. Durable when OK. An entry
  // without principal may be counted only. Blocks for a synced write of the catalog.
  absl::Status Append(AuditEntry entry) ABSL_LOCKS_EXCLUDED(mu_);
  // The same inside a transaction that does what the entry tells of; never left out.
  static absl::Status AppendIn(catalog::Stores& stores, AuditEntry entry, absl::Time now);

  // Newest first unless the filter says otherwise; the key is the number.
  absl::StatusOr<catalog::Page<AuditEntry, int64_t>> List(const AuditFilter& filter,
                                                          const catalog::ListOptions<int64_t>& options);
  // Reads everything, in pieces: others read and write meanwhile. A log that was tampered with is no error of the call.
  // `known`, an earlier head that was noted elsewhere, is compared too: who can write the file can also make all hashes
  // anew, but not so that they fit a head that is out of his reach.
  absl::StatusOr<AuditCheck> Verify(const std::optional<catalog::AuditAnchor>& known = std::nullopt);

  // Removes what is older than `before`, in pieces. What stays can be verified as before.
  absl::StatusOr<int64_t> Prune(absl::Time before);

  // Prunes what is older than `kept_for`, and writes the head to the daemon's log, which is kept elsewhere.
  absl::Status Keep(absl::Duration kept_for);

 private:
  // Whether an entry of nobody's may be written now, and how many weren't since the last one.
  bool AdmitNobody(int64_t& left_out) ABSL_LOCKS_EXCLUDED(mu_);

  catalog::Catalog& catalog_;
  base::Clock& clock_;
  const AuditOptions options_;
  absl::Mutex mu_;
  double nobody_left_ ABSL_GUARDED_BY(mu_);
  absl::Duration nobody_time_ ABSL_GUARDED_BY(mu_) = absl::ZeroDuration();  // monotonic, of the last look
  int64_t nobody_left_out_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace umbra::identity

#endif  // UMBRA_SERVER_IDENTITY_AUDIT_LOG_H_
