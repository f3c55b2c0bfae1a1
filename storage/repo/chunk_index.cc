#include "storage/repo/chunk_index.h"

#include <algorithm>
#include <set>

#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/repo/pack.h"

namespace umbra::repo {
namespace {

// A run joins the newer ones when it has at most this many times their entries: every entry is rewritten only a
// logarithmic number of times.
constexpr uint64_t kMergeRatio = 4;
// Fewer runs than this are left alone; every run costs a filter test per look-up.
constexpr size_t kMergeRunsMin = 4;
// Blocks read at a time from each run that is merged.
constexpr uint64_t kMergeReadBlocks = 64;
// A run with entries of swept packs is written again when it is this small (56 MB), or when one in kRewrittenShare of its packs
// is swept: a lookup that meets such an entry costs a read for nothing, writing a large run costs more.
constexpr uint64_t kAlwaysRewrittenMax = 1'000'000;
constexpr uint64_t kRewrittenShare = 10;

ChunkLocation LocationOf(const PackSlot& slot, uint32_t pack) {
  return {pack, slot.offset, slot.stored_length, slot.plain_length, slot.codec, CheckOf(slot.stored_hash)};
}

// Walks a run in order of ids.
class RunCursor {
 public:
  explicit RunCursor(const IndexRun& run) : run_(&run) {}

  // Must be called first, and after each use of entry(). False at the end.
  absl::StatusOr<bool> Next() {
    if (++position_ < entries_.size()) return true;
    if (block_ == run_->block_count()) return false;
    const uint64_t count = std::min(kMergeReadBlocks, run_->block_count() - block_);
    ASSIGN_OR_RETURN(entries_, run_->ReadEntries(block_, count));
    block_ += count;
    position_ = 0;
    return true;
  }
  const IndexEntry& entry() const { return entries_[position_]; }

 private:
  const IndexRun* run_;
  uint64_t block_ = 0;
  std::vector<IndexEntry> entries_;
  size_t position_ = 0;
};

// Numbers packs in the order in which a new run meets them.
class PackTable {
 public:
  uint32_t Add(uint32_t number, const IndexPack& info) {
    const auto [at, added] = positions_.try_emplace(number, static_cast<uint32_t>(packs_.size()));
    if (added) packs_.push_back(info);
    return at->second;
  }
  const std::vector<IndexPack>& packs() const { return packs_; }

 private:
  absl::flat_hash_map<uint32_t, uint32_t> positions_;
  std::vector<IndexPack> packs_;
};

}  // namespace

absl::Status ChunkIndex::Load(const std::set<PackId>& swept) {
  RETURN_IF_ERROR(quarantine_.Load());
  ASSIGN_OR_RETURN(const auto run_names, store_.List(kIndexPrefix));
  ASSIGN_OR_RETURN(const auto pack_names, store_.List(kPackPrefix));
  std::vector<PackId> present;
  for (const std::string& name : pack_names) {
    PackId id;
    if (ParsePackName(name, id) && !swept.contains(id)) present.push_back(id);
  }
  {
    absl::MutexLock lock(&mu_);
    for (const PackId& id : present) RegisterLocked({id, 0, 0}, PackState::kPresent);
    for (const PackId& id : swept) RegisterLocked({id, 0, 0}, PackState::kSwept);
  }
  for (const auto& [id, damage] : quarantine_.All()) {
    if (std::ranges::find(present, id) == present.end()) quarantine_.Forget(id);
  }
  RETURN_IF_ERROR(LoadRuns(run_names));
  return LoadUnindexedPacks(present);
}

absl::Status ChunkIndex::LoadRuns(const std::vector<std::string>& names) {
  std::set<PackId> covered;
  Runs loaded;
  // Names begin with the sequence number in hexadecimal: backwards is newest first.
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    auto run = IndexRun::Load(store_, *name, repository_);
    if (base::ReasonOf(run.status()) == "IO_ERROR") {
      // Its packs are read instead. It stays: the disk may have a better day.
      base::Log("repo")->error("index run not readable run={} error={}", *name, base::Describe(run.status()));
      continue;
    }
    const bool damaged = run.status().code() == absl::StatusCode::kDataLoss;
    if (!run.ok() && !damaged) return run.status();
    const auto is_swept = [this](const PackId& id) {
      absl::ReaderMutexLock lock(&mu_);
      const auto at = pack_numbers_.find(id);
      return at != pack_numbers_.end() && packs_[at->second].state == PackState::kSwept;
    };
    const bool superseded = run.ok() && !(*run)->packs().empty() && std::ranges::all_of((*run)->packs(), [&](const IndexPack& pack) {
      return covered.contains(pack.id) || is_swept(pack.id);
    });
    if (damaged || superseded) {
      base::Log("repo")->warn("index run dropped run={} reason={}", *name, damaged ? "damaged" : "superseded");
      if (const auto deleted = store_.Delete(*name); !deleted.ok()) {
        base::Log("repo")->warn("index run not deleted run={} error={}", *name, base::Describe(deleted));
      }
      continue;
    }
    absl::MutexLock lock(&mu_);
    next_sequence_ = std::max(next_sequence_, (*run)->sequence() + 1);
    auto open = std::make_shared<OpenRun>();
    for (const IndexPack& pack : (*run)->packs()) {
      covered.insert(pack.id);
      open->packs.push_back(RegisterLocked(pack, PackState::kMissing));
    }
    open->run = *std::move(run);
    loaded.push_back(std::move(open));
  }
  absl::MutexLock lock(&mu_);
  runs_ = std::make_shared<const Runs>(std::move(loaded));
  return absl::OkStatus();
}

absl::StatusOr<PackContents> ChunkIndex::ReadContents(const PackId& id) const {
  ASSIGN_OR_RETURN(auto blob, store_.Open(PackName(id)));
  return ReadPackContents(*blob, id, repository_);
}

int64_t ChunkIndex::CreateTimeOf(const PackId& id) const {
  const auto blob = store_.Open(PackName(id));
  if (!blob.ok()) return 0;
  std::vector<std::byte> bytes(std::min<uint64_t>(kPackHeaderSize, (*blob)->size()));
  if (!(*blob)->ReadAt(0, bytes).ok()) return 0;
  const auto header = DecodePackHeader(bytes);
  return header.ok() ? header->create_time_us : 0;
}

absl::Status ChunkIndex::LoadUnindexedPacks(const std::vector<PackId>& ids) {
  std::set<PackId> indexed;
  const auto all = runs();
  for (const auto& run : *all) {
    for (const IndexPack& pack : run->run->packs()) indexed.insert(pack.id);
  }
  // First the headers, since a chunk that is in several packs is to be read from the youngest.
  std::vector<std::pair<int64_t, PackId>> missing;
  for (const PackId& id : ids) {
    if (indexed.contains(id)) continue;
    missing.emplace_back(CreateTimeOf(id), id);
  }
  std::sort(missing.begin(), missing.end());
  for (const auto& [time, id] : missing) {
    const auto contents = ReadContents(id);
    if (contents.ok()) {
      AddPack(contents->pack, contents->slots);
      continue;
    }
    const bool one_pack = contents.status().code() == absl::StatusCode::kDataLoss || base::ReasonOf(contents.status()) == "IO_ERROR";
    if (!one_pack) return contents.status();
    base::Log("repo")->error("pack not readable pack={} error={}", base::ToHex(id), base::Describe(contents.status()));
    absl::MutexLock lock(&mu_);
    unreadable_packs_.push_back(fmt::format("{}: {}", PackName(id), base::MessageOf(contents.status())));
    packs_[pack_numbers_.at(id)].state = PackState::kMissing;
  }
  if (missing.empty()) return absl::OkStatus();
  base::Log("repo")->info("packs indexed count={}", missing.size());
  if (const auto flushed = Flush(); !flushed.ok()) {
    // The chunks are known all the same; a full disk must not keep anybody from restoring.
    base::Log("repo")->warn("index run not written error={}", base::Describe(flushed));
  }
  return absl::OkStatus();
}

uint32_t ChunkIndex::RegisterLocked(const IndexPack& pack, PackState state) {
  const auto [at, added] = pack_numbers_.try_emplace(pack.id, static_cast<uint32_t>(packs_.size()));
  if (added) packs_.emplace_back();
  Pack& known = packs_[at->second];
  if (known.info.size_bytes == 0) known.info = pack;
  if (known.state == PackState::kMissing) known.state = state;
  return at->second;
}

void ChunkIndex::AddPack(const IndexPack& pack, const std::vector<PackSlot>& slots, PackLease* lease) {
  bool many = false;
  {
    absl::MutexLock lock(&mu_);
    const uint32_t number = RegisterLocked(pack, PackState::kPresent);
    packs_[number].used_epoch = epoch_;
    if (lease != nullptr) {
      absl::MutexLock leasing(&lease->mu_);
      if (lease->packs_.insert(number).second) ++packs_[number].pins;
    }
    recent_.packs.push_back(number);
    for (const PackSlot& slot : slots) RememberLocked(slot.id, LocationOf(slot, number));
    many = recent_.chunks.size() >= unindexed_chunks_max_;
  }
  if (!many) return;
  if (const auto flushed = Flush(); !flushed.ok()) {
    base::Log("repo")->warn("index run not written, tried again later error={}", base::Describe(flushed));
  }
}

void ChunkIndex::RememberLocked(const ChunkId& id, const ChunkLocation& location) {
  const auto [at, added] = recent_.chunks.try_emplace(id, location);
  if (added) return;
  if (!quarantine_.empty() && TrustLocked(location) > TrustLocked(at->second)) return;
  at->second = location;
}

Quarantine::Trust ChunkIndex::TrustLocked(const ChunkLocation& location) const {
  if (quarantine_.empty()) return Quarantine::Trust::kSound;
  return quarantine_.TrustOf(packs_[location.pack].info.id, location.offset);
}

Quarantine::Trust ChunkIndex::TrustOf(const ChunkLocation& location) const {
  if (quarantine_.empty()) return Quarantine::Trust::kSound;
  absl::ReaderMutexLock lock(&mu_);
  return TrustLocked(location);
}

std::shared_ptr<const ChunkIndex::Runs> ChunkIndex::runs() const {
  absl::ReaderMutexLock lock(&mu_);
  return runs_;
}

std::optional<ChunkLocation> ChunkIndex::Locate(const OpenRun& run, const IndexEntry& entry) const {
  const uint32_t number = run.packs[entry.pack];
  absl::ReaderMutexLock lock(&mu_);
  if (!packs_[number].IsReadable()) return std::nullopt;
  return ChunkLocation{number, entry.offset, entry.stored_length, entry.plain_length, entry.codec, entry.check};
}

namespace {

// The best of the copies seen so far. Looking ends with one that can be trusted, so the newest of those wins.
class BestCopy {
 public:
  explicit BestCopy(const ChunkIndex& index) : index_(index) {}
  // True when there is no need to look further.
  bool Offer(const ChunkLocation& location) {
    const Quarantine::Trust trust = index_.TrustOf(location);
    if (!best_.has_value() || trust < trust_) {
      best_ = location;
      trust_ = trust;
    }
    return trust_ == Quarantine::Trust::kSound;
  }
  const std::optional<ChunkLocation>& best() const { return best_; }
  void Clear() { best_.reset(); }

 private:
  const ChunkIndex& index_;
  std::optional<ChunkLocation> best_;
  Quarantine::Trust trust_ = Quarantine::Trust::kSound;
};

}  // namespace

absl::StatusOr<std::optional<ChunkLocation>> ChunkIndex::Find(const ChunkId& id) const {
  while (true) {
    uint64_t sweeps = 0;
    ASSIGN_OR_RETURN(const auto location, FindOnce(id, sweeps));
    if (location.has_value()) return location;
    // A pack that was swept since the runs were fetched may have had it; it was copied to another before, which the next
    // look finds.
    absl::ReaderMutexLock lock(&mu_);
    if (sweeps == sweeps_) return location;
  }
}

absl::StatusOr<std::optional<ChunkLocation>> ChunkIndex::FindOnce(const ChunkId& id, uint64_t& sweeps) const {
  std::optional<ChunkLocation> recent, flushing;
  std::shared_ptr<const Runs> runs;
  {
    absl::ReaderMutexLock lock(&mu_);
    sweeps = sweeps_;
    const auto look = [&](const Unindexed& table, std::optional<ChunkLocation>& found) ABSL_SHARED_LOCKS_REQUIRED(mu_) {
      const auto at = table.chunks.find(id);
      if (at != table.chunks.end() && packs_[at->second.pack].IsReadable()) found = at->second;
    };
    look(recent_, recent);
    if (flushing_ != nullptr) look(*flushing_, flushing);
    runs = runs_;
  }
  BestCopy copy(*this);
  for (const auto& unindexed : {recent, flushing}) {
    if (unindexed.has_value() && copy.Offer(*unindexed)) return copy.best();
  }
  for (const auto& run : *runs) {
    ASSIGN_OR_RETURN(const auto entry, run->run->Find(id));
    if (!entry.has_value()) continue;
    const auto location = Locate(*run, *entry);
    if (location.has_value() && copy.Offer(*location)) break;
  }
  return copy.best();
}

absl::StatusOr<std::optional<ChunkLocation>> ChunkIndex::FindHealthy(const ChunkId& id) const {
  ASSIGN_OR_RETURN(const auto location, Find(id));
  if (!location.has_value() || TrustOf(*location) == Quarantine::Trust::kSound) return location;
  return std::nullopt;
}

bool ChunkIndex::KnowsOfDamage() const {
  absl::ReaderMutexLock lock(&mu_);
  return !quarantine_.empty() || !unreadable_packs_.empty() ||
         std::ranges::any_of(packs_, [](const Pack& pack) { return pack.state == PackState::kMissing; });
}

absl::StatusOr<std::optional<ChunkLocation>> ChunkIndex::FindAndPin(const ChunkId& id, PackLease& lease) {
  while (true) {
    ASSIGN_OR_RETURN(const auto location, FindHealthy(id));
    if (!location.has_value() || Pin(location->pack, lease)) return location;
    // Swept between the two: it isn't found again.
  }
}

void ChunkIndex::MarkDamaged(const ChunkId& id, const ChunkLocation& location) {
  const PackId in = pack(location.pack).id;
  base::Log("repo")->error("chunk in quarantine chunk={} pack={} offset={}", id.ToHex(), base::ToHex(in), location.offset);
  quarantine_.Add(in, {.whole = false, .chunks = {{location.offset, location.stored_length}}});
}

void ChunkIndex::MarkGone(uint32_t pack) {
  absl::MutexLock lock(&mu_);
  if (packs_[pack].state != PackState::kSwept) packs_[pack].state = PackState::kMissing;
  // Look-ups in runs ask whether the pack is there; these don't.
  absl::erase_if(recent_.chunks, [pack](const auto& entry) { return entry.second.pack == pack; });
  std::erase(recent_.packs, pack);
}

uint64_t ChunkIndex::NextSequence() {
  absl::MutexLock lock(&mu_);
  return next_sequence_++;
}

absl::Status ChunkIndex::Flush() {
  absl::MutexLock writing(&write_mu_);
  std::shared_ptr<const Unindexed> taken;
  {
    absl::MutexLock lock(&mu_);
    if (recent_.packs.empty()) return absl::OkStatus();
    flushing_ = taken = std::make_shared<const Unindexed>(std::move(recent_));
    recent_ = Unindexed();
  }
  std::string name;
  absl::Status status = WriteRun(*taken, NextSequence(), name);
  if (status.ok()) status = Install(name, {});
  absl::MutexLock lock(&mu_);
  if (!status.ok()) {
    for (const auto& [id, location] : taken->chunks) recent_.chunks.try_emplace(id, location);
    recent_.packs.insert(recent_.packs.end(), taken->packs.begin(), taken->packs.end());
  }
  flushing_ = nullptr;
  return base::Annotate(status, "write index run");
}

absl::Status ChunkIndex::WriteRun(const Unindexed& unindexed, uint64_t sequence, std::string& name) {
  std::vector<std::pair<ChunkId, ChunkLocation>> sorted(unindexed.chunks.begin(), unindexed.chunks.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  name = RunName(sequence, random_.Hex(4));
  ASSIGN_OR_RETURN(auto blob, store_.Create(name));
  IndexRunWriter writer(std::move(blob), repository_, sequence);
  PackTable packs;
  for (const auto& [id, at] : sorted) {
    const uint32_t number = packs.Add(at.pack, pack(at.pack));
    RETURN_IF_ERROR(writer.Append({id, number, at.offset, at.stored_length, at.plain_length, at.codec, at.check}));
  }
  for (const uint32_t number : unindexed.packs) packs.Add(number, pack(number));
  return writer.Finish(packs.packs());
}

absl::Status ChunkIndex::Install(const std::string& name, const Runs& replaced) {
  auto open = std::make_shared<OpenRun>();
  ASSIGN_OR_RETURN(open->run, IndexRun::Load(store_, name, repository_));
  absl::MutexLock lock(&mu_);
  for (const IndexPack& pack : open->run->packs()) open->packs.push_back(RegisterLocked(pack, PackState::kMissing));
  Runs next{std::move(open)};
  for (const auto& run : *runs_) {
    if (std::find(replaced.begin(), replaced.end(), run) == replaced.end()) next.push_back(run);
  }
  runs_ = std::make_shared<const Runs>(std::move(next));
  return absl::OkStatus();
}

ChunkIndex::Runs ChunkIndex::RunsToMerge() const {
  const auto all = runs();
  Runs chosen;
  uint64_t entries = 0;
  for (const auto& run : *all) {
    if (!chosen.empty() && run->run->entry_count() > kMergeRatio * entries) break;
    entries += run->run->entry_count();
    chosen.push_back(run);
  }
  if (chosen.size() < kMergeRunsMin) chosen.clear();
  return chosen;
}

absl::Status ChunkIndex::MergeRuns() {
  absl::MutexLock writing(&write_mu_);
  const Runs chosen = RunsToMerge();
  if (chosen.empty()) return absl::OkStatus();
  std::string name;
  RETURN_IF_ERROR(base::Annotate(WriteMerged(chosen, NextSequence(), name), "merge index runs"));
  RETURN_IF_ERROR(Install(name, chosen));
  for (const auto& run : chosen) RETURN_IF_ERROR(store_.Delete(run->run->name()));
  base::Log("repo")->info("index runs merged count={} run={}", chosen.size(), name);
  return absl::OkStatus();
}

absl::Status ChunkIndex::WriteMerged(const Runs& merged, uint64_t sequence, std::string& name) {
  name = RunName(sequence, random_.Hex(4));
  ASSIGN_OR_RETURN(auto blob, store_.Create(name));
  IndexRunWriter writer(std::move(blob), repository_, sequence);
  PackTable packs;
  struct Input {
    const OpenRun* run;
    RunCursor cursor;
  };
  std::vector<Input> inputs;  // newest first, as `merged`
  for (const auto& run : merged) {
    Input input{run.get(), RunCursor(*run->run)};
    ASSIGN_OR_RETURN(const bool more, input.cursor.Next());
    if (more) inputs.push_back(std::move(input));
  }
  const auto by_id = [](const Input& a, const Input& b) { return a.cursor.entry().id < b.cursor.entry().id; };
  std::optional<IndexEntry> next;  // the entry that will be written for its id; `pack` is still the number in packs_
  Quarantine::Trust trust = Quarantine::Trust::kSound;
  const auto write_next = [&]() -> absl::Status {
    if (!next.has_value()) return absl::OkStatus();
    next->pack = packs.Add(next->pack, pack(next->pack));
    return writer.Append(*next);
  };
  while (!inputs.empty()) {
    const auto least = std::min_element(inputs.begin(), inputs.end(), by_id);  // the first, so the newest, of equals
    const IndexEntry& entry = least->cursor.entry();
    if (const auto location = Locate(*least->run, entry)) {
      const bool same = next.has_value() && next->id == entry.id;
      const Quarantine::Trust its = TrustOf(*location);
      if (!same) RETURN_IF_ERROR(write_next());
      if (!same || its < trust) {
        next = entry;
        next->pack = location->pack;
        trust = its;
      }
    }
    ASSIGN_OR_RETURN(const bool more, least->cursor.Next());
    if (!more) inputs.erase(least);
  }
  RETURN_IF_ERROR(write_next());
  // Packs that only hold chunks with a younger copy are named too, or they would be read again at every opening.
  const std::vector<uint32_t> present = PresentPacks();
  for (const auto& run : merged) {
    for (const uint32_t number : run->packs) {
      if (std::binary_search(present.begin(), present.end(), number)) packs.Add(number, pack(number));
    }
  }
  return writer.Finish(packs.packs());
}

std::vector<ChunkIndex::DamagedRun> ChunkIndex::CheckRuns() const {
  std::vector<DamagedRun> damaged;
  const auto all = runs();
  for (const auto& run : *all) {
    for (uint64_t block = 0; block < run->run->block_count(); block += kMergeReadBlocks) {
      const auto entries = run->run->ReadEntries(block, std::min(kMergeReadBlocks, run->run->block_count() - block));
      if (entries.ok()) continue;
      damaged.push_back({run->run->name(), entries.status()});
      break;
    }
  }
  return damaged;
}

absl::Status ChunkIndex::RebuildRun(const std::string& name) {
  const auto all = runs();
  const auto found = std::ranges::find_if(*all, [&](const auto& run) { return run->run->name() == name; });
  if (found == all->end()) return absl::OkStatus();  // merged or rebuilt meanwhile
  const std::shared_ptr<const OpenRun> damaged = *found;
  const std::vector<uint32_t> present = PresentPacks();
  for (const uint32_t number : damaged->packs) {
    if (!std::ranges::binary_search(present, number)) continue;
    const auto contents = ReadContents(pack(number).id);
    if (contents.ok()) {
      AddPack(contents->pack, contents->slots);
    } else if (contents.status().code() != absl::StatusCode::kDataLoss) {
      return contents.status();
    }
  }
  RETURN_IF_ERROR(Flush());
  {
    absl::MutexLock writing(&write_mu_);
    absl::MutexLock lock(&mu_);
    Runs left;
    for (const auto& run : *runs_) {
      if (run != damaged) left.push_back(run);
    }
    runs_ = std::make_shared<const Runs>(std::move(left));
  }
  base::Log("repo")->warn("index run rebuilt run={} packs={}", name, damaged->packs.size());
  const absl::Status deleted = store_.Delete(name);
  return absl::IsNotFound(deleted) ? absl::OkStatus() : deleted;
}

std::vector<uint32_t> ChunkIndex::PresentPacks() const {
  absl::ReaderMutexLock lock(&mu_);
  std::vector<uint32_t> numbers;
  for (uint32_t number = 0; number < packs_.size(); ++number) {
    if (packs_[number].IsReadable()) numbers.push_back(number);
  }
  return numbers;
}

IndexPack ChunkIndex::pack(uint32_t number) const {
  absl::ReaderMutexLock lock(&mu_);
  return packs_[number].info;
}

std::vector<std::string> ChunkIndex::unreadable_packs() const {
  absl::ReaderMutexLock lock(&mu_);
  std::vector<std::string> names = unreadable_packs_;
  for (const Pack& pack : packs_) {
    const bool listed = std::ranges::any_of(unreadable_packs_, [&](const auto& n) { return n.starts_with(PackName(pack.info.id)); });
    if (pack.state == PackState::kMissing && !listed) names.push_back(PackName(pack.info.id) + ": the file is gone");
  }
  return names;
}

absl::StatusOr<std::vector<std::pair<ChunkId, ChunkLocation>>> ChunkIndex::EntriesOfPack(uint32_t number) const {
  std::vector<std::pair<ChunkId, ChunkLocation>> found;
  {
    absl::ReaderMutexLock lock(&mu_);
    for (const auto& [id, location] : recent_.chunks) {
      if (location.pack == number) found.emplace_back(id, location);
    }
  }
  const auto all = runs();
  for (const auto& run : *all) {
    if (std::find(run->packs.begin(), run->packs.end(), number) == run->packs.end()) continue;
    RunCursor cursor(*run->run);
    while (true) {
      ASSIGN_OR_RETURN(const bool more, cursor.Next());
      if (!more) break;
      const auto location = Locate(*run, cursor.entry());
      if (location.has_value() && location->pack == number) found.emplace_back(cursor.entry().id, *location);
    }
  }
  return found;
}

IndexStats ChunkIndex::Stats() const {
  absl::ReaderMutexLock lock(&mu_);
  IndexStats stats;
  for (const Pack& pack : packs_) {
    if (!pack.IsReadable()) continue;
    ++stats.pack_count;
    stats.stored_bytes += pack.info.size_bytes;
  }
  for (const auto& run : *runs_) {
    stats.chunk_count += run->run->entry_count();
    stats.plain_bytes += run->run->plain_bytes();
    stats.stored_bytes += run->run->size_bytes();
  }
  const auto count = [&](const Table& table) {
    stats.chunk_count += table.size();
    for (const auto& [id, location] : table) stats.plain_bytes += location.plain_length;
  };
  count(recent_.chunks);
  if (flushing_ != nullptr) count(flushing_->chunks);
  return stats;
}

// --- what becomes of packs ---

PackLease::~PackLease() { index_.Release(*this); }

std::unique_ptr<PackLease> ChunkIndex::BeginLease() {
  absl::MutexLock lock(&mu_);
  leases_.insert(++epoch_);
  return std::unique_ptr<PackLease>(new PackLease(*this, epoch_));
}

void ChunkIndex::Release(PackLease& lease) {
  absl::MutexLock lock(&mu_);
  absl::MutexLock leasing(&lease.mu_);
  for (const uint32_t number : lease.packs_) {
    --packs_[number].pins;
    // What the session committed since a prune began may be unknown to that prune.
    packs_[number].used_epoch = epoch_;
  }
  leases_.erase(lease.begin_);
}

bool ChunkIndex::Pin(uint32_t number, PackLease& lease) {
  {
    absl::MutexLock leasing(&lease.mu_);
    if (lease.packs_.contains(number)) return true;
  }
  absl::MutexLock lock(&mu_);
  Pack& pack = packs_[number];
  if (!pack.IsReadable()) return false;
  pack.state = PackState::kPresent;  // also one that was condemned
  pack.used_epoch = epoch_;
  absl::MutexLock leasing(&lease.mu_);
  if (lease.packs_.insert(number).second) ++pack.pins;
  return true;
}

PackState ChunkIndex::StateOf(uint32_t pack) const {
  absl::ReaderMutexLock lock(&mu_);
  return packs_[pack].state;
}

uint64_t ChunkIndex::BeginPrune() {
  absl::MutexLock lock(&mu_);
  return ++epoch_;
}

bool ChunkIndex::IsCondemnable(uint32_t pack, uint64_t epoch) const {
  absl::ReaderMutexLock lock(&mu_);
  return IsCondemnableLocked(packs_[pack], epoch);
}

bool ChunkIndex::Condemn(uint32_t number, uint64_t epoch, absl::Duration now) {
  absl::MutexLock lock(&mu_);
  Pack& pack = packs_[number];
  if (!IsCondemnableLocked(pack, epoch)) return false;
  pack.state = PackState::kCondemned;
  pack.condemned_epoch = ++epoch_;
  pack.condemned_at = now;
  return true;
}

uint64_t ChunkIndex::CondemnedBytes() const {
  absl::ReaderMutexLock lock(&mu_);
  uint64_t bytes = 0;
  for (const Pack& pack : packs_) bytes += pack.state == PackState::kCondemned ? pack.info.size_bytes : 0;
  return bytes;
}

std::vector<uint32_t> ChunkIndex::TakeSweepable(absl::Duration now, absl::Duration grace) {
  std::vector<uint32_t> taken;
  absl::MutexLock lock(&mu_);
  const uint64_t oldest_lease = leases_.empty() ? UINT64_MAX : *leases_.begin();
  for (uint32_t number = 0; number < packs_.size(); ++number) {
    Pack& pack = packs_[number];
    if (pack.state != PackState::kCondemned || oldest_lease < pack.condemned_epoch || now - pack.condemned_at < grace) continue;
    pack.state = PackState::kSwept;
    taken.push_back(number);
  }
  sweeps_ += taken.empty() ? 0 : 1;
  return taken;
}

void ChunkIndex::GiveBack(std::span<const uint32_t> packs) {
  absl::MutexLock lock(&mu_);
  for (const uint32_t number : packs) packs_[number].state = PackState::kCondemned;
}

std::set<PackId> ChunkIndex::NamedSweptPacks() const {
  std::set<PackId> named;
  absl::ReaderMutexLock lock(&mu_);
  const auto add = [&](const std::vector<uint32_t>& numbers) ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    for (const uint32_t number : numbers) {
      if (packs_[number].state == PackState::kSwept) named.insert(packs_[number].info.id);
    }
  };
  add(recent_.packs);
  if (flushing_ != nullptr) add(flushing_->packs);
  for (const auto& run : *runs_) add(run->packs);
  return named;
}

bool ChunkIndex::IsWorthRewriting(const OpenRun& run) const {
  absl::ReaderMutexLock lock(&mu_);
  uint64_t swept = 0;
  for (const uint32_t number : run.packs) swept += packs_[number].state == PackState::kSwept ? 1 : 0;
  return swept > 0 && (run.run->entry_count() <= kAlwaysRewrittenMax || swept * kRewrittenShare >= run.packs.size());
}

absl::Status ChunkIndex::DropSweptEntries() {
  absl::MutexLock writing(&write_mu_);
  const auto all = runs();
  for (const auto& run : *all) {
    if (IsWorthRewriting(*run)) RETURN_IF_ERROR(base::Annotate(Rewrite(run), "rewrite index run {}", run->run->name()));
  }
  return absl::OkStatus();
}

absl::Status ChunkIndex::Rewrite(const std::shared_ptr<const OpenRun>& old) {
  std::string name;
  RETURN_IF_ERROR(WriteMerged({old}, old->run->sequence(), name));
  auto open = std::make_shared<OpenRun>();
  ASSIGN_OR_RETURN(open->run, IndexRun::Load(store_, name, repository_));
  {
    absl::MutexLock lock(&mu_);
    for (const IndexPack& pack : open->run->packs()) open->packs.push_back(RegisterLocked(pack, PackState::kMissing));
    Runs next = *runs_;
    const auto at = std::ranges::find(next, old);
    if (open->packs.empty()) {
      next.erase(at);
    } else {
      *at = open;
    }
    runs_ = std::make_shared<const Runs>(std::move(next));
  }
  RETURN_IF_ERROR(store_.Delete(old->run->name()));
  return open->packs.empty() ? store_.Delete(name) : absl::OkStatus();
}

IndexSnapshot::IndexSnapshot(const ChunkIndex& index) : index_(index) {
  absl::ReaderMutexLock lock(&index.mu_);
  for (const ChunkIndex::Pack& pack : index.packs_) states_.push_back(pack.state);
  runs_ = index.runs_;
  for (const auto* table : {&index.recent_, index.flushing_.get()}) {
    if (table != nullptr) unindexed_.insert(unindexed_.end(), table->chunks.begin(), table->chunks.end());
  }
  // Stable: of two places the younger, from recent_, comes first.
  std::stable_sort(unindexed_.begin(), unindexed_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  chunk_count_max_ = unindexed_.size();
  for (const auto& run : *runs_) chunk_count_max_ += run->run->entry_count();
}

absl::Status IndexSnapshot::ForEach(const std::function<absl::Status(const ChunkId&, const ChunkLocation&)>& visit) const {
  // Newest first, as the index looks: of equal ids the first that can be read is the one.
  struct Input {
    const ChunkIndex::OpenRun* run;
    RunCursor cursor;
  };
  std::vector<Input> inputs;
  for (const auto& run : *runs_) {
    Input input{run.get(), RunCursor(*run->run)};
    ASSIGN_OR_RETURN(const bool more, input.cursor.Next());
    if (more) inputs.push_back(std::move(input));
  }
  size_t next = 0;
  // The copies of one chunk come one after another, the youngest first; of these, the one that readers would take.
  std::optional<ChunkId> current;
  BestCopy best(index_);
  const auto show = [&]() -> absl::Status {
    return current.has_value() ? visit(*current, *best.best()) : absl::OkStatus();
  };
  const auto offer = [&](const ChunkId& id, const ChunkLocation& at) -> absl::Status {
    if (!IsReadable(at.pack)) return absl::OkStatus();
    if (current != id) {
      RETURN_IF_ERROR(show());
      current = id;
      best.Clear();
    }
    best.Offer(at);
    return absl::OkStatus();
  };
  const auto by_id = [](const Input& a, const Input& b) { return a.cursor.entry().id < b.cursor.entry().id; };
  while (next < unindexed_.size() || !inputs.empty()) {
    const auto least = std::min_element(inputs.begin(), inputs.end(), by_id);
    if (least == inputs.end() || (next < unindexed_.size() && unindexed_[next].first <= least->cursor.entry().id)) {
      RETURN_IF_ERROR(offer(unindexed_[next].first, unindexed_[next].second));
      ++next;
      continue;
    }
    const IndexEntry& e = least->cursor.entry();
    RETURN_IF_ERROR(offer(e.id, {least->run->packs[e.pack], e.offset, e.stored_length, e.plain_length, e.codec, e.check}));
    ASSIGN_OR_RETURN(const bool more, least->cursor.Next());
    if (!more) inputs.erase(least);
  }
  return show();
}

}  // namespace umbra::repo
