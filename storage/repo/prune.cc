#include "storage/repo/prune.h"

#include <algorithm>
#include <set>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::repo {
namespace {

// A pack "of the future" by more than this was written while the clock was wrong, and is as old as any.
constexpr absl::Duration kFutureMax = absl::Hours(24);

}  // namespace

void IoBudget::Take(uint64_t bytes, const std::stop_token& stop) {
  if (rate_ == 0) return;
  taken_ += bytes;
  const absl::Duration due = absl::Seconds(static_cast<double>(taken_) / static_cast<double>(rate_));
  const absl::Duration wait = due - (clock_.Monotonic() - start_);
  if (wait <= absl::ZeroDuration()) return;
  const auto stopped = [&] { return stop.stop_requested(); };
  // A Mutex looks at its conditions when it is released: this ends the wait when stop is requested.
  const std::stop_callback wake(stop, [this] { absl::MutexLock lock(&mu_); });
  absl::MutexLock lock(&mu_);
  clock_.AwaitFor(mu_, absl::Condition(&stopped), wait);
}

absl::Status Pruner::Stopped() const {
  if (!stop_.stop_requested()) return absl::OkStatus();
  return base::MakeError(absl::StatusCode::kCancelled, "CANCELLED", "the prune was cancelled");
}

void Pruner::Advance(uint64_t bytes) {
  done_.done_bytes = std::min(done_.done_bytes + bytes, done_.total_bytes);
  if (progress_) progress_(done_);
}

absl::StatusOr<PruneReport> Pruner::Run() {
  report_.clock_jumped = core_.time.Now().jumped;
  // Before anything is looked at: whoever starts to rely on a chunk from here on is seen by Condemn.
  epoch_ = core_.index.BeginPrune();
  RETURN_IF_ERROR(DeletePoints());
  RETURN_IF_ERROR(Mark());
  for (const Candidate& candidate : dead_) done_.total_bytes += candidate.size_bytes;
  for (const Candidate& candidate : sparse_) done_.total_bytes += candidate.size_bytes;
  Advance(0);
  if (options_.dry_run) {
    for (const auto* candidates : {&dead_, &sparse_}) {
      report_.deleted_packs += candidates->size();
      for (const Candidate& candidate : *candidates) report_.freed_bytes += candidate.size_bytes;
    }
    report_.copied_packs = sparse_.size();
    for (const Candidate& candidate : sparse_) report_.copied_bytes += candidate.use.needed_bytes;
    report_.waiting_bytes = core_.index.CondemnedBytes();
    return std::move(report_);
  }
  CondemnDead();
  RETURN_IF_ERROR(Sweep());
  const absl::Status compacted = Compact();
  if (base::ReasonOf(compacted) == "STORAGE_FULL") {
    report_.problems.push_back(base::MessageOf(compacted));
  } else {
    RETURN_IF_ERROR(compacted);
  }
  RETURN_IF_ERROR(Sweep());
  TidyIndex();
  if (const absl::Status thinned = core_.catalogs.Thin(); !thinned.ok()) report_.problems.push_back(base::MessageOf(thinned));
  report_.waiting_bytes = core_.index.CondemnedBytes();
  return std::move(report_);
}

absl::Status Pruner::DeletePoints() {
  for (const std::string& id : core_.states.Deletable()) {
    RETURN_IF_ERROR(Stopped());
    if (options_.dry_run) {
      report_.deleted_points.push_back(id);
      continue;
    }
    const auto deleted = core_.states.Delete(id);
    if (base::ReasonOf(deleted.status()) == "RECOVERY_POINT_BUSY") {
      report_.problems.push_back(base::MessageOf(deleted.status()));
      continue;
    }
    RETURN_IF_ERROR(deleted.status());
    if (*deleted) report_.deleted_points.push_back(id);
  }
  return options_.dry_run ? absl::OkStatus() : core_.points.MakeDeletionsDurable();
}

absl::Status Pruner::Mark() {
  const absl::Duration start = core_.clock.Monotonic();
  const IndexSnapshot snapshot(core_.index);
  RETURN_IF_ERROR(NumberChunks(snapshot));
  marker_ = std::make_unique<Marker>(core_, *ordinals_, stop_);
  const auto& deleted = report_.deleted_points;
  RETURN_IF_ERROR(base::Annotate(marker_->MarkEverything({deleted.begin(), deleted.end()}), "nothing is given back"));
  RETURN_IF_ERROR(SumUp(snapshot));
  Choose(snapshot);
  report_.reference_count = marker_->reference_count();
  report_.read_reference_count = marker_->read_count();
  report_.mark_duration = core_.clock.Monotonic() - start;
  base::Log("repo")->info("prune marked points={} references={} needed_chunks={} of={} dead_packs={} sparse_packs={}",
                          marker_->point_count(), report_.reference_count, report_.needed_chunks, ordinals_->size(),
                          dead_.size(), sparse_.size());
  return absl::OkStatus();
}

absl::Status Pruner::NumberChunks(const IndexSnapshot& snapshot) {
  ordinals_ = std::make_unique<ChunkOrdinals>(snapshot.chunk_count_max());
  RETURN_IF_ERROR(snapshot.ForEach([&](const ChunkId& id, const ChunkLocation&) {
    ordinals_->Append(id);
    return absl::OkStatus();
  }));
  ordinals_->Finish();
  return Stopped();
}

absl::Status Pruner::SumUp(const IndexSnapshot& snapshot) {
  uses_.resize(snapshot.pack_count());
  uint32_t ordinal = 0;
  return snapshot.ForEach([&](const ChunkId&, const ChunkLocation& at) {
    if (!marker_->IsMarked(ordinal++)) return absl::OkStatus();
    uses_[at.pack].needed_bytes += at.stored_length;
    ++uses_[at.pack].needed_chunks;
    report_.needed_bytes += at.stored_length;
    ++report_.needed_chunks;
    return absl::OkStatus();
  });
}

bool Pruner::IsYoung(const IndexPack& pack) const {
  const absl::Duration age = core_.time.Now().removal - absl::FromUnixMicros(pack.create_time_us);
  return age < options_.young_pack_grace && age > -kFutureMax;
}

void Pruner::Choose(const IndexSnapshot& snapshot) {
  for (uint32_t pack = 0; pack < snapshot.pack_count(); ++pack) {
    if (snapshot.state(pack) != PackState::kPresent || !core_.index.IsCondemnable(pack, epoch_)) continue;
    const IndexPack info = core_.index.pack(pack);
    if (IsYoung(info)) continue;
    const Candidate candidate{pack, info.size_bytes, uses_[pack]};
    if (candidate.use.needed_chunks == 0) {
      dead_.push_back(candidate);
    } else if (candidate.use.KeptBytes() * 100 <
               info.size_bytes * static_cast<uint64_t>(options_.compact_below_percent)) {
      sparse_.push_back(candidate);
    }
  }
  std::ranges::sort(sparse_, {}, [](const Candidate& c) {
    return static_cast<double>(c.use.needed_bytes) / static_cast<double>(c.size_bytes);
  });
}

void Pruner::CondemnDead() {
  for (const Candidate& candidate : dead_) {
    core_.index.Condemn(candidate.pack, epoch_, core_.clock.Monotonic());
    Advance(candidate.size_bytes);
  }
}

absl::Status Pruner::Sweep() {
  ASSIGN_OR_RETURN(const PackSweeper::Swept swept, core_.sweeper.Sweep(options_.condemned_grace));
  report_.deleted_packs += swept.packs;
  report_.freed_bytes += swept.bytes;
  return absl::OkStatus();
}

absl::Status Pruner::Compact() {
  for (const Candidate& candidate : sparse_) {
    RETURN_IF_ERROR(Stopped());
    // Somebody began to rely on it: it can't go, so copying would only cost space.
    if (core_.index.IsCondemnable(candidate.pack, epoch_)) RETURN_IF_ERROR(CopyPack(candidate));
    Advance(candidate.size_bytes);
  }
  return SealTarget();
}

absl::StatusOr<std::vector<Pruner::Needed>> Pruner::NeededChunks(uint32_t pack) {
  ASSIGN_OR_RETURN(const auto blob, core_.packs.Open(pack));
  ASSIGN_OR_RETURN(auto contents, ReadPackContents(*blob, core_.index.pack(pack).id, core_.uuid));
  std::vector<Needed> needed;
  for (const PackSlot& slot : contents.slots) {
    if (!marker_->IsMarked(slot.id)) continue;
    // Of a chunk that is stored several times, the place counts where readers look.
    ASSIGN_OR_RETURN(const auto at, core_.index.Find(slot.id));
    if (at.has_value() && at->pack == pack && at->offset == slot.offset) needed.push_back({slot.id, *at});
  }
  return needed;
}

absl::Status Pruner::CopyPack(const Candidate& candidate) {
  const std::string name = PackName(core_.index.pack(candidate.pack).id);
  const auto chunks = NeededChunks(candidate.pack);
  if (chunks.status().code() == absl::StatusCode::kDataLoss) {
    report_.problems.push_back(fmt::format("{} is left alone: {}", name, base::MessageOf(chunks.status())));
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(chunks.status());
  bool damaged = false;
  for (const Needed& chunk : *chunks) {
    RETURN_IF_ERROR(Stopped());
    RETURN_IF_ERROR(OpenTarget());
    const absl::Status copied = CopyChunk(reader_, chunk.id, chunk.at, nullptr, *target_);
    if (copied.code() == absl::StatusCode::kDataLoss) {
      if (base::ReasonOf(copied) == "CHUNK_DAMAGED") core_.index.MarkDamaged(chunk.id, chunk.at);
      report_.problems.push_back(fmt::format("{} is left alone: chunk {} can't be read", name, chunk.id.ToHex()));
      damaged = true;
      continue;
    }
    RETURN_IF_ERROR(copied);
    report_.copied_bytes += chunk.at.stored_length;
    budget_.Take(2 * uint64_t{chunk.at.stored_length}, stop_);
    if (target_->size_bytes() >= core_.options.pack_size_bytes) RETURN_IF_ERROR(SealTarget());
  }
  if (damaged) return absl::OkStatus();  // it keeps what it has, for whoever looks into it
  copied_.push_back(candidate);
  return absl::OkStatus();
}

absl::Status Pruner::OpenTarget() {
  if (target_ != nullptr) return absl::OkStatus();
  const KeyedPack pack = NewPack(core_.keys(), core_.random, core_.uuid, absl::ToUnixMicros(core_.clock.Now()));
  ASSIGN_OR_RETURN(target_, PackWriter::Create(*core_.store, pack));
  return absl::OkStatus();
}

absl::Status Pruner::SealTarget() {
  if (target_ != nullptr && target_->slots().empty()) target_.reset();
  if (target_ != nullptr) {
    ASSIGN_OR_RETURN(const IndexPack sealed, target_->Seal());
    core_.index.AddPack(sealed, target_->slots());
    target_.reset();
  }
  // What a source holds that was needed is durable elsewhere, and readers find it there.
  for (const Candidate& source : copied_) {
    report_.copied_packs += core_.index.Condemn(source.pack, epoch_, core_.clock.Monotonic()) ? 1 : 0;
  }
  copied_.clear();
  return absl::OkStatus();
}

void Pruner::TidyIndex() {
  absl::Status tidy = core_.index.Flush();
  if (tidy.ok()) tidy = core_.index.DropSweptEntries();
  if (tidy.ok()) tidy = core_.index.MergeRuns();
  if (tidy.ok()) tidy = core_.sweeper.Forget();
  if (!tidy.ok()) base::Log("repo")->warn("index not tidied, tried again later error={}", base::Describe(tidy));
}

}  // namespace umbra::repo
