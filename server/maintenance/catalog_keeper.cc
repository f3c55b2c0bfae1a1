#include "server/maintenance/catalog_keeper.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "storage/base/crash_point.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::maintenance {
namespace {

constexpr int kEventsPerRead = 1000;

// Changes that a person, or an agent's enrolment, made: no repository and no agent could tell them again.
constexpr std::string_view kChanges[] = {"POLICY_CREATED", "POLICY_UPDATED",           "POLICY_DELETED",
                                         "POLICY_PAUSED",  "POLICY_RESUMED",           "HOST_ENROLLED",
                                         "HOST_REMOVED",   "HOST_CERTIFICATE_RENEWED", "HOST_DRAINED",
                                         "HOST_UNDRAINED", "CATALOG_REBUILT",          "CATALOG_RESTORED"};

bool WantsACopy(const catalog::Event& event) {
  return std::find(std::begin(kChanges), std::end(kChanges), event.type) != std::end(kChanges);
}

absl::StatusOr<uint64_t> SizeOf(base::Filesystem& filesystem, const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, filesystem.Open(path, base::OpenMode::kRead));
  return file->Size();
}

// The newest copy that can be read, as far as its head tells.
CatalogKeeper::State NewestCopy(const OpenRepository& repository) {
  CatalogKeeper::State state;
  repo::CatalogCopies& copies = repository.repository->catalog_copies();
  const auto list = copies.List();
  if (!list.ok()) return state;
  for (const repo::CatalogCopyInfo& copy : *list) {
    const auto header = ReadCatalogCopyHeader(copies, copy.id);
    if (!header.ok()) continue;
    state.time = copy.create_time;
    state.newest_event = header->newest_event();
    break;
  }
  return state;
}

}  // namespace

CatalogKeeper::CatalogKeeper(catalog::Catalog& catalog, jobs::EventHub& events, const RepositorySet& repositories,
                             base::Filesystem& filesystem, base::Clock& clock, CatalogKeeperOptions options,
                             base::Threads& threads)
    : catalog_(catalog),
      events_(events),
      repositories_(repositories),
      filesystem_(filesystem),
      clock_(clock),
      options_(std::move(options)),
      started_(clock.Monotonic()),
      looked_at_(events.Newest()),
      ticker_(clock, threads, [this] {
        if (const absl::Status done = Tick(); !done.ok()) {
          base::Log("maintenance")->warn("catalog not copied error={}", base::Describe(done));
        }
        return kCatalogLookInterval;
      }) {
  catalog::RemoveDatabase(filesystem_, options_.scratch);  // of a copy that was killed
}

void CatalogKeeper::Start() {
  if (options_.every == absl::ZeroDuration()) return;
  running_ = true;
  ticker_.Start();
}

void CatalogKeeper::Stop() {
  ticker_.Stop();
  if (!std::exchange(running_, false)) return;
  Load();
  std::vector<const OpenRepository*> targets;
  {
    absl::MutexLock lock(&mu_);
    for (const OpenRepository& repository : repositories_.All()) {
      if (states_[repository.id].newest_event != events_.Newest()) targets.push_back(&repository);
    }
  }
  const absl::Duration deadline = clock_.Monotonic() + kCatalogStopMax;
  const absl::Status copied = Copy(targets, [&]() -> absl::Status {
    if (clock_.Monotonic() < deadline) return absl::OkStatus();
    return base::MakeError(absl::StatusCode::kCancelled, "CANCELLED", "the daemon stops, and this takes too long");
  });
  if (!copied.ok()) base::Log("maintenance")->warn("catalog not copied at the stop error={}", base::Describe(copied));
}

void CatalogKeeper::Load() {
  {
    absl::MutexLock lock(&mu_);
    if (std::exchange(loaded_, true)) return;
  }
  for (const OpenRepository& repository : repositories_.All()) {
    State state = NewestCopy(repository);
    absl::MutexLock lock(&mu_);
    states_.try_emplace(repository.id, std::move(state));
  }
}

absl::Status CatalogKeeper::FollowEvents() {
  int64_t after = 0;
  {
    absl::MutexLock lock(&mu_);
    after = looked_at_;
  }
  while (after < events_.Newest()) {
    ASSIGN_OR_RETURN(const auto page, catalog_.Read([&](const catalog::Stores& stores) {
      return stores.events.List("", {.page_size = kEventsPerRead, .after_key = after});
    }));
    if (page.items.empty()) break;
    after = page.items.back().sequence;
    absl::MutexLock lock(&mu_);
    for (const catalog::Event& event : page.items) {
      if (!WantsACopy(event)) continue;
      change_event_ = event.sequence;
      change_seen_ = std::min(change_seen_, clock_.Monotonic());
    }
    looked_at_ = after;
  }
  return absl::OkStatus();
}

std::vector<const OpenRepository*> CatalogKeeper::Due() {
  const absl::Duration now = clock_.Monotonic();
  const absl::Time wall = clock_.Now();
  const int64_t newest = events_.Newest();
  std::vector<const OpenRepository*> due;
  absl::MutexLock lock(&mu_);
  for (const OpenRepository& repository : repositories_.All()) {
    const State& state = states_[repository.id];
    if (!state.last.ok() && now - state.last_try < kCatalogRetryAfter) continue;
    const bool changed = state.newest_event < change_event_ && now - change_seen_ >= options_.after_change;
    const bool never = state.newest_event < 0 && now - started_ >= options_.after_change;
    // A time to come is that of a clock which went wrong.
    const bool old = state.newest_event >= 0 && state.newest_event != newest &&
                     (wall - state.time >= options_.every || state.time > wall);
    if (changed || never || old) due.push_back(&repository);
  }
  return due;
}

absl::Status CatalogKeeper::Tick() {
  Load();
  RETURN_IF_ERROR(FollowEvents());
  return Copy(Due(), [this]() -> absl::Status {
    if (!ticker_.stopping()) return absl::OkStatus();
    return base::MakeError(absl::StatusCode::kCancelled, "CANCELLED", "the daemon stops");
  });
}

absl::Status CatalogKeeper::CopyNow() {
  Load();
  std::vector<const OpenRepository*> all;
  for (const OpenRepository& repository : repositories_.All()) all.push_back(&repository);
  return Copy(all, [] { return absl::OkStatus(); });
}

std::map<catalog::RepositoryId, CatalogKeeper::State> CatalogKeeper::States() const {
  absl::MutexLock lock(&mu_);
  return states_;
}

absl::Status CatalogKeeper::Copy(const std::vector<const OpenRepository*>& targets, GoOn go_on) {
  if (targets.empty()) return absl::OkStatus();
  absl::MutexLock copy_lock(&copy_mu_);
  const absl::Cleanup tidy = [this] { catalog::RemoveDatabase(filesystem_, options_.scratch); };
  const absl::StatusOr<CatalogCopySource> source = MakeSource(go_on);
  base::CrashPoint("daemon.catalog_copied");
  for (const OpenRepository* repository : targets) {
    repo::CatalogCopies& copies = repository->repository->catalog_copies();
    const absl::StatusOr<repo::CatalogCopyInfo> copied =
        source.ok() ? WriteCatalogCopy(copies, filesystem_, *source, go_on) : source.status();
    if (absl::IsCancelled(copied.status())) return copied.status();
    Record(*repository, copied, source.ok() ? source->header.newest_event() : 0);
  }
  absl::MutexLock lock(&mu_);
  const bool all_have_it = std::all_of(states_.begin(), states_.end(), [change = change_event_](const auto& s) {
    return s.second.newest_event >= change;
  });
  if (all_have_it) change_seen_ = absl::InfiniteDuration();
  return source.status();
}

absl::Status CatalogKeeper::CheckRoom() const {
  ASSIGN_OR_RETURN(const uint64_t size, SizeOf(filesystem_, catalog_.path()));
  ASSIGN_OR_RETURN(const uint64_t free, filesystem_.FreeSpace(base::DirectoryOf(options_.scratch)));
  if (free >= size + kCatalogRoomBytes) return absl::OkStatus();
  return base::Error(absl::StatusCode::kResourceExhausted, "STORAGE_FULL",
                     "{} bytes are free on the file system of {}, and a copy of the catalog needs {}", free,
                     options_.scratch, size + kCatalogRoomBytes);
}

absl::StatusOr<CatalogCopySource> CatalogKeeper::MakeSource(GoOn go_on) {
  RETURN_IF_ERROR(CheckRoom());
  CatalogCopySource source;
  source.database = options_.scratch;
  source.authority = options_.authority;
  source.header.set_daemon_version(options_.daemon_version);
  source.header.set_machine(options_.machine);
  source.header.set_schema_version(catalog_.schema_version());
  const int64_t now_us = absl::ToUnixMicros(clock_.Now());
  source.header.mutable_time()->set_seconds(now_us / 1'000'000);
  source.header.mutable_time()->set_nanos(static_cast<int32_t>(now_us % 1'000'000 * 1000));
  // At least these events are in it.
  source.header.set_newest_event(events_.Newest());
  for (const OpenRepository& repository : repositories_.All()) {
    auto* entry = source.header.add_repositories();
    entry->set_id(repository.id.value);
    entry->set_uuid(repository.repository->info().uuid);
    entry->set_location(repository.location);
  }
  catalog::RemoveDatabase(filesystem_, options_.scratch);
  RETURN_IF_ERROR(catalog_.CopyTo(filesystem_, options_.scratch, go_on));
  return source;
}

void CatalogKeeper::Record(const OpenRepository& repository, const absl::StatusOr<repo::CatalogCopyInfo>& copied,
                           int64_t newest_event) {
  bool failed_before = false;
  {
    absl::MutexLock lock(&mu_);
    State& state = states_[repository.id];
    failed_before = !state.last.ok();
    state.last = copied.status();
    if (copied.ok()) {
      state.time = clock_.Now();
      state.newest_event = newest_event;
    } else {
      state.last_try = clock_.Monotonic();
    }
  }
  const auto log = base::Log("maintenance");
  if (copied.ok()) {
    log->info("catalog copied repository={} copy={} stored_bytes={}", repository.id, copied->id, copied->stored_bytes);
  } else {
    log->error("catalog not copied repository={} error={}", repository.id, base::Describe(copied.status()));
  }
  if (copied.ok() != failed_before) return;  // nothing new to tell
  catalog::Event event;
  event.type = copied.ok() ? "CATALOG_COPIED" : "CATALOG_COPY_FAILED";
  event.resource = fmt::format("repositories/{}", repository.id);
  event.severity = copied.ok() ? catalog::Severity::kInfo : catalog::Severity::kError;
  event.message = copied.ok() ? "the catalog is copied to the repository again"
                              : fmt::format("the catalog can't be copied to the repository: {} [{}]",
                                            base::MessageOf(copied.status()), base::ReasonOf(copied.status()));
  if (const absl::Status told = events_.Append(event); !told.ok()) {
    log->warn("event not written type={} error={}", event.type, base::Describe(told));
  }
}

}  // namespace umbra::maintenance
