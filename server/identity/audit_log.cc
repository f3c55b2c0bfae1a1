#include "server/identity/audit_log.h"

#include <algorithm>
#include <utility>

#include "storage/base/bytes.h"
#include "storage/base/log.h"
#include "storage/base/sha256.h"
#include "storage/base/status.h"
#include "storage/base/utf8.h"

namespace umbra::identity {
namespace {

using catalog::AuditAnchor;
using catalog::Stores;

constexpr std::string_view kPurpose = "umbra audit v1";
constexpr int kReadAtOnce = 1000;
constexpr int64_t kPruneAtOnce = 5000;

// Most significant byte first.
void PutNumber(std::string& bytes, uint64_t value, int size) {
  for (int i = size - 1; i >= 0; --i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
}

void PutText(std::string& bytes, std::string_view text) {
  PutNumber(bytes, text.size(), 4);
  bytes += text;
}

void Tidy(std::string& text, size_t size_max) {
  text = base::ValidUtf8(std::string_view(text).substr(0, size_max));
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
}

// Follows the chain from the anchor on.
class ChainReader {
 public:
  explicit ChainReader(AuditAnchor anchor, const std::optional<AuditAnchor>& known) : known_(known) {
    check_.head = std::move(anchor);
    Compare();
  }

  // False: it is broken, and what follows says nothing any more.
  bool Take(const AuditEntry& entry) {
    const int64_t expected = check_.head.number + 1;
    if (entry.number != expected) return Break(expected, fmt::format("entry {} is missing", expected));
    if (entry.hash != AuditHash(check_.head.hash, entry)) {
      return Break(expected, fmt::format("entry {} isn't what was written, or the one before was changed", expected));
    }
    if (check_.first_number == 0) check_.first_number = entry.number;
    ++check_.entry_count;
    check_.head = {entry.number, entry.hash};
    return Compare();
  }

  bool sound() const { return check_.sound(); }

  AuditCheck Finish() {
    if (check_.sound() && known_.has_value() && known_->number > check_.head.number) {
      Break(check_.head.number + 1,
            fmt::format("the log ends at {}, but once had an entry {}", check_.head.number, known_->number));
    }
    return std::move(check_);
  }

 private:
  bool Compare() {
    if (!known_.has_value() || known_->number != check_.head.number || known_->hash == check_.head.hash) return true;
    return Break(
        known_->number,
        fmt::format("entry {} has another hash than was noted: all up to it may have been changed", known_->number));
  }
  bool Break(int64_t number, std::string problem) {
    check_.broken_number = number;
    check_.problem = std::move(problem);
    return false;
  }

  const std::optional<AuditAnchor>& known_;
  AuditCheck check_;
};

}  // namespace

std::string AuditHash(const std::string& previous_hash, const AuditEntry& entry) {
  std::string bytes(kPurpose);
  PutText(bytes, previous_hash);
  PutNumber(bytes, static_cast<uint64_t>(entry.number), 8);
  PutNumber(bytes, static_cast<uint64_t>(absl::ToUnixMicros(entry.time)), 8);
  for (const std::string* text :
       {&entry.principal, &entry.peer, &entry.method, &entry.object, &entry.summary, &entry.reason}) {
    PutText(bytes, *text);
  }
  PutNumber(bytes, static_cast<uint32_t>(entry.code), 4);
  return base::ToHex(base::Sha256(bytes));
}

bool AuditLog::AdmitNobody(int64_t& left_out) {
  absl::MutexLock lock(&mu_);
  const absl::Duration now = clock_.Monotonic();
  nobody_left_ = std::min<double>(options_.nobody_burst,
                                  nobody_left_ + absl::FDivDuration(now - nobody_time_, options_.nobody_interval));
  nobody_time_ = now;
  if (nobody_left_ < 1) {
    ++nobody_left_out_;
    return false;
  }
  nobody_left_ -= 1;
  left_out = std::exchange(nobody_left_out_, 0);
  return true;
}

absl::Status AuditLog::Append(AuditEntry entry) {
  if (entry.principal.empty()) entry.principal = kNobody;
  if (entry.principal == kNobody) {
    int64_t left_out = 0;
    if (!AdmitNobody(left_out)) return absl::OkStatus();
    if (left_out > 0) entry.summary = fmt::format("({} more before were not written) {}", left_out, entry.summary);
  }
  return catalog_.Write([&](Stores& stores) { return AppendIn(stores, std::move(entry), clock_.Now()); });
}

absl::Status AuditLog::AppendIn(Stores& stores, AuditEntry entry, absl::Time now) {
  Tidy(entry.principal, kAuditTextSizeMax);
  Tidy(entry.peer, kAuditTextSizeMax);
  Tidy(entry.method, kAuditTextSizeMax);
  Tidy(entry.object, kAuditTextSizeMax);
  Tidy(entry.reason, kAuditTextSizeMax);
  Tidy(entry.summary, kAuditSummarySizeMax);
  ASSIGN_OR_RETURN(const AuditAnchor head, stores.audit.Head());
  entry.number = head.number + 1;
  entry.time = absl::FromUnixMicros(absl::ToUnixMicros(now));
  entry.hash = AuditHash(head.hash, entry);
  return stores.audit.Insert(entry);
}

absl::StatusOr<catalog::Page<AuditEntry, int64_t>> AuditLog::List(const AuditFilter& filter,
                                                                  const catalog::ListOptions<int64_t>& options) {
  return catalog_.Read([&](const Stores& stores) { return stores.audit.List(filter, options); });
}

absl::StatusOr<AuditCheck> AuditLog::Verify(const std::optional<AuditAnchor>& known) {
  AuditAnchor anchor;
  std::vector<AuditEntry> entries;
  RETURN_IF_ERROR(catalog_.Read([&](const Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(anchor, stores.audit.Anchor());
    ASSIGN_OR_RETURN(entries, stores.audit.After(anchor.number, kReadAtOnce));
    return absl::OkStatus();
  }));
  ChainReader chain(std::move(anchor), known);
  while (chain.sound() && !entries.empty()) {
    for (const AuditEntry& entry : entries) {
      if (!chain.Take(entry)) return chain.Finish();
    }
    const int64_t last = entries.back().number;
    ASSIGN_OR_RETURN(entries,
                     catalog_.Read([&](const Stores& stores) { return stores.audit.After(last, kReadAtOnce); }));
  }
  return chain.Finish();
}

absl::StatusOr<int64_t> AuditLog::Prune(absl::Time before) {
  int64_t total = 0;
  for (;;) {
    ASSIGN_OR_RETURN(const int64_t count,
                     catalog_.Write([&](Stores& stores) { return stores.audit.Prune(before, kPruneAtOnce); }));
    total += count;
    if (count < kPruneAtOnce) return total;
  }
}

absl::Status AuditLog::Keep(absl::Duration kept_for) {
  ASSIGN_OR_RETURN(const int64_t removed, Prune(clock_.Now() - kept_for));
  ASSIGN_OR_RETURN(const AuditAnchor head, catalog_.Read([](const Stores& stores) { return stores.audit.Head(); }));
  base::Log("identity")->info("audit log head={}:{} pruned={}", head.number, head.hash, removed);
  return absl::OkStatus();
}

}  // namespace umbra::identity
