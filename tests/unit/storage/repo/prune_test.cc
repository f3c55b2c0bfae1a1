// Proves that prune gives back everything that no point needs and nothing else: beside sessions, readers, verification
// and undelete, with and without grace, cut at any moment, and from threads. Seeds are printed with every failure.
#include "storage/repo/prune.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <random>
#include <thread>

#include "tests/support/fault_filesystem.h"
#include "tests/support/stepping_clock.h"
#include "tests/support/memory_blob_store.h"
#include "tests/unit/storage/repo/model.h"

namespace umbra::repo {
namespace {

using base::ReasonOf;
using testing::Fault;
using testing::FaultFilesystem;
using testing::SteppingClock;
using testing::MemoryFilesystem;

const PruneOptions kAtOnce{.young_pack_grace = absl::ZeroDuration(), .condemned_grace = absl::ZeroDuration()};
const RemovalOptions kForGood{.who = "test", .undelete_window = absl::ZeroDuration()};

ModelVm VmOf(std::vector<uint32_t> seeds) {
  return {{"vda", ModelDisk::OfChunks(std::move(seeds))}};
}

class PruneTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    repository_.reset();
    auto opened = Repository::OpenOrCreate(fs_, clock_, random_, "/repository", SmallOptions());
    ASSERT_TRUE(opened.ok()) << opened.status();
    repository_ = *std::move(opened);
  }
  std::string BackUp(const ModelVm& vm) { return Backup(*repository_, "vm1", vm)->recovery_point_id(); }
  void Remove(const std::string& id) { ASSERT_TRUE(repository_->RemoveRecoveryPoint(id, kForGood).ok()); }
  PruneReport Prune(const PruneOptions& options = kAtOnce) {
    const auto report = repository_->Prune(options, {}, {});
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : PruneReport();
  }
  size_t PackCount() { return fs_.AllFiles("/repository/packs").size(); }
  uint64_t PackBytes() {
    uint64_t bytes = 0;
    for (const std::string& pack : fs_.AllFiles("/repository/packs")) bytes += fs_.ReadFile(pack)->size();
    return bytes;
  }
  void ExpectSound() {
    const auto report = repository_->Verify({}, {}, {});
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_TRUE(report->ok()) << (report->problems.empty() ? "damage" : report->problems[0]);
  }
  ChunkId IdOf(uint32_t seed) { return repository_->hasher().Id(base::AsBytes(ContentOf(seed, kTestChunkSize))); }
  bool Wants(UploadSession& session, uint32_t seed) { return session.Wanted(std::vector{IdOf(seed)})->at(0) == 1; }

  MemoryFilesystem fs_;
  SteppingClock clock_;
  base::SeededRandom random_{9};
  std::unique_ptr<Repository> repository_;
};

TEST_F(PruneTest, GivesBackWhatOnlyRemovedPointsNeeded) {
  const ModelVm first = VmOf({1, 3, 5, 7, 9, 11, 13, 15});
  const ModelVm second = VmOf({101, 103, 105, 107});
  const std::string a = BackUp(first);
  const std::string b = BackUp(second);
  Remove(a);
  const PruneReport report = Prune();
  EXPECT_EQ(report.deleted_points, std::vector<std::string>{a});
  EXPECT_GE(report.deleted_packs, 2u);
  EXPECT_GT(report.freed_bytes, 8 * kTestChunkSize);
  EXPECT_EQ(report.needed_chunks, 4u + 1) << "and a page";
  EXPECT_LT(PackBytes(), 5 * kTestChunkSize);
  for (int opening = 0; opening < 2; ++opening) {
    EXPECT_EQ(CompareVm(*repository_, b, second), absl::OkStatus());
    ExpectSound();
    auto session = repository_->BeginSession();
    EXPECT_TRUE(Wants(*session, 1));
    EXPECT_FALSE(Wants(*session, 101));
    session.reset();
    Reopen();
  }
  EXPECT_TRUE(fs_.AllFiles("/repository/sweeps").empty()) << "no run names the packs any more";
  Remove(b);
  Prune();
  EXPECT_EQ(PackCount(), 0u);
  EXPECT_EQ(repository_->Stats()->chunk_count, 0u);
  EXPECT_TRUE(fs_.AllFiles("/repository/index").empty());
}

TEST_F(PruneTest, DryRunSaysWhatARunDoesAndChangesNothing) {
  const std::string a = BackUp(VmOf({1, 3, 5, 7, 9, 11, 13, 15, 17}));
  const std::string b = BackUp(VmOf({1, 5, 21}));
  Remove(a);
  const std::vector<std::string> before = fs_.AllFiles("/repository");
  PruneOptions dry = kAtOnce;
  dry.dry_run = true;
  const PruneReport said = Prune(dry);
  EXPECT_EQ(fs_.AllFiles("/repository"), before);
  const PruneReport done = Prune();
  EXPECT_EQ(said.deleted_points, done.deleted_points);
  EXPECT_EQ(said.deleted_packs, done.deleted_packs);
  EXPECT_EQ(said.freed_bytes, done.freed_bytes);
  EXPECT_EQ(said.copied_packs, done.copied_packs);
  EXPECT_EQ(said.copied_bytes, done.copied_bytes);
  EXPECT_GT(done.copied_packs, 0u);
  EXPECT_EQ(CompareVm(*repository_, b, VmOf({1, 5, 21})), absl::OkStatus());
  EXPECT_EQ(Prune().deleted_packs, 0u) << "a second run finds nothing to do";
}

TEST_F(PruneTest, OpenReadersFindChunksWhereTheyWereCopied) {
  const ModelVm kept = VmOf({1, 5, 9, 13});
  const std::string a = BackUp(VmOf({1, 3, 7, 11, 5, 15, 17, 19, 9, 21, 23, 25, 13, 27, 29, 31}));
  const std::string b = BackUp(kept);
  Remove(a);
  auto reader = repository_->OpenDisk(b, "vda");
  ASSERT_TRUE(reader.ok());
  auto chunks = (*reader)->Next(1);
  ASSERT_TRUE(chunks.ok());
  ASSERT_EQ(chunks->size(), 1u);
  EXPECT_GE(Prune().copied_packs, 3u);
  size_t read = 1;
  while (true) {
    chunks = (*reader)->Next(1);
    ASSERT_TRUE(chunks.ok()) << chunks.status();
    if (chunks->empty()) break;
    read += chunks->size();
  }
  EXPECT_EQ(read, 4u);
  EXPECT_EQ(CompareVm(*repository_, b, kept), absl::OkStatus());
  reader->reset();
  Reopen();
  EXPECT_EQ(CompareVm(*repository_, b, kept), absl::OkStatus());
}

// The moment between "where is the chunk?" and reading it.
class PruningStore final : public BlobStore {
 public:
  explicit PruningStore(BlobStore& real) : real_(real) {}
  absl::StatusOr<std::unique_ptr<BlobWriter>> Create(const std::string& name) override { return real_.Create(name); }
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(const std::string& name) override {
    // The first pack to be opened has the map page.
    if (name.starts_with(kPackPrefix) && before_open && ++opened_packs == 2) std::exchange(before_open, nullptr)();
    return real_.Open(name);
  }
  absl::StatusOr<std::vector<std::string>> List(const std::string& prefix) override { return real_.List(prefix); }
  absl::Status Delete(const std::string& name) override { return real_.Delete(name); }
  absl::StatusOr<uint64_t> FreeSpace() override { return real_.FreeSpace(); }

  std::function<void()> before_open;
  int opened_packs = 0;

 private:
  BlobStore& real_;
};

TEST_F(PruneTest, APackThatGoesBetweenLookingAndReadingIsLookedForAgain) {
  testing::MemoryBlobStore blobs;
  auto owned = std::make_unique<PruningStore>(blobs);
  PruningStore& store = *owned;
  auto repository = *Repository::OpenOrCreateIn(std::move(owned), clock_, random_, SmallOptions());
  const ModelVm kept = VmOf({1, 5, 9});
  const std::string a =
      Backup(*repository, "vm1", VmOf({1, 3, 7, 11, 5, 15, 17, 19, 9, 21, 23, 25}))->recovery_point_id();
  const std::string b = Backup(*repository, "vm1", kept)->recovery_point_id();
  ASSERT_TRUE(repository->RemoveRecoveryPoint(a, kForGood).ok());
  uint64_t copied = 0;
  store.opened_packs = 0;
  store.before_open = [&] { copied = repository->Prune(kAtOnce, {}, {})->copied_packs; };
  EXPECT_EQ(CompareVm(*repository, b, kept), absl::OkStatus());
  EXPECT_GE(copied, 3u);
}

TEST_F(PruneTest, WhatASessionWasToldIsKnownStaysUntilItEnds) {
  const std::string a = BackUp(VmOf({1, 3, 5, 7}));
  Remove(a);
  auto session = repository_->BeginSession();
  ASSERT_FALSE(Wants(*session, 3));
  const PruneReport report = Prune();
  EXPECT_EQ(report.deleted_packs, 0u) << "not even the pack of the map page: the session began before it was condemned";
  EXPECT_GT(report.waiting_bytes, 0u);
  EXPECT_LT(report.waiting_bytes, kTestChunkSize);
  EXPECT_FALSE(Wants(*session, 1));
  const ModelVm vm = VmOf({3, 1});
  ASSERT_TRUE(UploadDisk(*repository_, *session, "vm1", "vda", vm.at("vda")).ok());
  const auto committed = session->Commit({ManifestOf("vm1", vm)});
  ASSERT_TRUE(committed.ok()) << committed.status();
  EXPECT_EQ(CompareVm(*repository_, committed->at(0).recovery_point_id(), vm), absl::OkStatus());
  session.reset();
  Prune();
  Reopen();
  EXPECT_EQ(CompareVm(*repository_, committed->at(0).recovery_point_id(), vm), absl::OkStatus());
}

// A session that was told "known" commits while prune has read the points already: prune must not believe its marks.
TEST_F(PruneTest, APointThatIsCommittedWhilePruneMarksIsSafe) {
  testing::MemoryBlobStore blobs;
  class CommittingStore final : public BlobStore {
   public:
    explicit CommittingStore(BlobStore& real) : real_(real) {}
    absl::StatusOr<std::unique_ptr<BlobWriter>> Create(const std::string& name) override { return real_.Create(name); }
    absl::StatusOr<std::unique_ptr<BlobReader>> Open(const std::string& name) override { return real_.Open(name); }
    absl::StatusOr<std::vector<std::string>> List(const std::string& prefix) override {
      auto names = real_.List(prefix);
      if (prefix == kPointPrefix && after_points) std::exchange(after_points, nullptr)();
      return names;
    }
    absl::Status Delete(const std::string& name) override { return real_.Delete(name); }
    absl::StatusOr<uint64_t> FreeSpace() override { return real_.FreeSpace(); }
    std::function<void()> after_points;

   private:
    BlobStore& real_;
  };
  auto owned = std::make_unique<CommittingStore>(blobs);
  CommittingStore& store = *owned;
  auto repository = *Repository::OpenOrCreateIn(std::move(owned), clock_, random_, SmallOptions());
  const ModelVm vm = VmOf({1, 3, 5, 7});
  const std::string a = Backup(*repository, "vm1", vm)->recovery_point_id();
  ASSERT_TRUE(repository->RemoveRecoveryPoint(a, kForGood).ok());
  auto session = repository->BeginSession();
  ASSERT_TRUE(UploadDisk(*repository, *session, "vm1", "vda", vm.at("vda")).ok());
  std::string id;
  store.after_points = [&] {
    id = session->Commit({ManifestOf("vm1", vm)})->at(0).recovery_point_id();
    session.reset();
  };
  ASSERT_TRUE(repository->Prune(kAtOnce, {}, {}).ok());
  ASSERT_FALSE(id.empty());
  EXPECT_EQ(CompareVm(*repository, id, vm), absl::OkStatus());
  ASSERT_TRUE(repository->Prune(kAtOnce, {}, {}).ok());
  EXPECT_EQ(CompareVm(*repository, id, vm), absl::OkStatus());
}

TEST_F(PruneTest, CondemnedPacksAreRevivedByWhoeverAsksAndSweptAfterTheGrace) {
  const std::string a = BackUp(VmOf({1, 3, 5, 7, 9, 11, 13, 15}));
  Remove(a);
  PruneOptions patient = kAtOnce;
  patient.condemned_grace = absl::Hours(1);
  const PruneReport condemned = Prune(patient);
  EXPECT_EQ(condemned.deleted_packs, 0u);
  EXPECT_GT(condemned.waiting_bytes, 8 * kTestChunkSize);
  const ModelVm vm = VmOf({3});
  auto session = repository_->BeginSession();
  EXPECT_FALSE(Wants(*session, 3)) << "revived: nothing is sent again";
  ASSERT_TRUE(UploadDisk(*repository_, *session, "vm1", "vda", vm.at("vda")).ok());
  clock_.Advance(absl::Hours(2));
  ASSERT_TRUE(repository_->Maintain(patient).ok());
  EXPECT_EQ(PackCount(), 1u) << "the session began after they were condemned, and asked for one of them";
  const std::string b = session->Commit({ManifestOf("vm1", vm)})->at(0).recovery_point_id();
  session.reset();
  ASSERT_TRUE(repository_->Maintain(patient).ok());
  EXPECT_EQ(PackCount(), 2u) << "of the old ones the one that was revived, and the page of the new point";
  EXPECT_EQ(CompareVm(*repository_, b, vm), absl::OkStatus());
  Reopen();
  EXPECT_EQ(CompareVm(*repository_, b, vm), absl::OkStatus());
  ExpectSound();
}

TEST_F(PruneTest, SweepsWaitForSessionsThatBeganBefore) {
  const std::string a = BackUp(VmOf({1, 3, 5, 7}));
  Remove(a);
  auto session = repository_->BeginSession();
  EXPECT_EQ(Prune().deleted_packs, 0u);
  session->Abort();
  ASSERT_TRUE(repository_->Maintain(kAtOnce).ok());
  EXPECT_EQ(PackCount(), 0u);
}

TEST_F(PruneTest, YoungPacksStaySoThatACutUploadIsResumed) {
  {
    auto session = repository_->BeginSession();
    ASSERT_TRUE(UploadDisk(*repository_, *session, "vm1", "vda", ModelDisk::OfChunks({1, 3, 5, 7, 9})).ok());
  }
  ASSERT_GT(PackCount(), 0u);
  const PruneOptions defaults;
  Prune(defaults);
  EXPECT_FALSE(Wants(*repository_->BeginSession(), 1));
  clock_.Advance(absl::Hours(25));
  Prune(defaults);
  clock_.Advance(absl::Hours(2));
  ASSERT_TRUE(repository_->Maintain(defaults).ok());
  EXPECT_EQ(PackCount(), 0u);
}

TEST_F(PruneTest, RemovedPointsKeepTheirChunksUntilTheirWindowIsOver) {
  const ModelVm vm = VmOf({1, 3, 5});
  const std::string a = BackUp(vm);
  ASSERT_TRUE(repository_->RemoveRecoveryPoint(a, {}).ok());
  clock_.Advance(absl::Hours(24 * 6));
  EXPECT_EQ(Prune().deleted_packs, 0u);
  ASSERT_TRUE(repository_->UndeleteRecoveryPoint(a).ok());
  EXPECT_EQ(CompareVm(*repository_, a, vm), absl::OkStatus());
}

TEST_F(PruneTest, NothingIsGivenBackWhileAPointCantBeRead) {
  const std::string a = BackUp(VmOf({1, 3, 5, 7}));
  const std::string b = BackUp(VmOf({11, 13, 15, 17}));
  Remove(a);
  fs_.FlipBit("/repository/" + PointName(b), 999);
  const size_t packs = PackCount();
  const auto refused = repository_->Prune(kAtOnce, {}, {});
  EXPECT_EQ(ReasonOf(refused.status()), "MANIFEST_DAMAGED");
  EXPECT_NE(base::MessageOf(refused.status()).find(b), std::string::npos);
  EXPECT_EQ(PackCount(), packs);
  Remove(b);
  EXPECT_TRUE(repository_->Prune(kAtOnce, {}, {}).ok());
  EXPECT_EQ(PackCount(), 0u);
}

TEST_F(PruneTest, NothingIsGivenBackWhileAMapPageCantBeRead) {
  const std::string a = BackUp(VmOf({1, 3, 5, 7}));
  const ModelVm kept = VmOf({21, 23, 25, 27});
  const std::string b = BackUp(kept);
  Remove(a);
  // The page of b is alone in the last pack that was written.
  for (const std::string& pack : fs_.AllFiles("/repository/packs")) {
    if (fs_.ReadFile(pack)->size() < kTestChunkSize) fs_.FlipBit(pack, 8 * (kPackHeaderSize + 10));
  }
  const auto refused = repository_->Prune(kAtOnce, {}, {});
  EXPECT_EQ(ReasonOf(refused.status()), "CHUNK_DAMAGED");
  EXPECT_NE(base::MessageOf(refused.status()).find(b), std::string::npos);
  EXPECT_EQ(PackCount(), 4u);
}

TEST_F(PruneTest, DamagedChunksAreNotCopiedAndTheirPackStays) {
  const std::string a = BackUp(VmOf({1, 3, 5, 7}));
  const std::string b = BackUp(VmOf({1}));
  Remove(a);
  for (const std::string& pack : fs_.AllFiles("/repository/packs")) {
    if (fs_.ReadFile(pack)->size() > kTestChunkSize) fs_.FlipBit(pack, 8 * (kPackHeaderSize + 10));
  }
  const PruneReport report = Prune();
  EXPECT_EQ(report.copied_packs, 0u);
  ASSERT_EQ(report.problems.size(), 1u);
  EXPECT_NE(report.problems[0].find("left alone"), std::string::npos);
  // The next backup that has the data heals it, and then the pack may go.
  EXPECT_NE(CompareVm(*repository_, b, VmOf({1})), absl::OkStatus());
  BackUp(VmOf({1}));
  EXPECT_EQ(CompareVm(*repository_, b, VmOf({1})), absl::OkStatus());
  Prune();
  EXPECT_EQ(CompareVm(*repository_, b, VmOf({1})), absl::OkStatus());
  Reopen();
  EXPECT_EQ(CompareVm(*repository_, b, VmOf({1})), absl::OkStatus());
  ExpectSound();
}

TEST_F(PruneTest, CopyingKeepsToItsBudget) {
  std::vector<uint32_t> all, few;
  for (uint32_t i = 0; i < 40; ++i) all.push_back(2 * i + 1);
  for (uint32_t i = 0; i < 40; i += 4) few.push_back(2 * i + 1);
  const std::string a = BackUp(VmOf(all));
  BackUp(VmOf(few));
  Remove(a);
  PruneOptions slow = kAtOnce;
  slow.io_bytes_per_second = kTestChunkSize;
  const absl::Duration start = clock_.Monotonic();
  const PruneReport report = Prune(slow);
  EXPECT_GE(report.copied_bytes, 10 * kTestChunkSize);
  EXPECT_LT(report.copied_bytes, 10 * kTestChunkSize + 1000) << "with the tags";
  EXPECT_GE(clock_.Monotonic() - start, absl::Seconds(19)) << "read and written: twice the bytes";
  EXPECT_LE(clock_.Monotonic() - start, absl::Seconds(21));
}

TEST_F(PruneTest, CancelledAndMadeAgainItGoesOnWhereItWas) {
  std::vector<uint32_t> all, few;
  for (uint32_t i = 0; i < 80; ++i) all.push_back(2 * i + 1);
  for (uint32_t i = 0; i < 80; i += 4) few.push_back(2 * i + 1);
  const std::string a = BackUp(VmOf(all));
  const std::string b = BackUp(VmOf(few));
  Remove(a);
  std::stop_source stop;
  uint64_t last_total = 0;
  const auto progress = [&](const PruneProgress& p) {
    EXPECT_LE(p.done_bytes, p.total_bytes);
    last_total = p.total_bytes;
    if (p.done_bytes > p.total_bytes / 2) stop.request_stop();
  };
  EXPECT_EQ(ReasonOf(repository_->Prune(kAtOnce, progress, stop.get_token()).status()), "CANCELLED");
  EXPECT_EQ(CompareVm(*repository_, b, VmOf(few)), absl::OkStatus());
  uint64_t second_total = 0;
  ASSERT_TRUE(repository_->Prune(kAtOnce, [&](const PruneProgress& p) { second_total = p.total_bytes; }, {}).ok());
  EXPECT_LT(second_total, last_total) << "what was copied isn't copied again";
  EXPECT_GT(second_total, 0u);
  EXPECT_EQ(CompareVm(*repository_, b, VmOf(few)), absl::OkStatus());
  EXPECT_LT(PackBytes(), 23 * kTestChunkSize);
  ExpectSound();
}

TEST_F(PruneTest, OneAtATime) {
  BackUp(VmOf({1, 3}));
  bool asked = false;
  ASSERT_TRUE(repository_
                  ->Prune(kAtOnce,
                          [&](const PruneProgress&) {
                            asked = true;
                            EXPECT_EQ(ReasonOf(repository_->Prune(kAtOnce, {}, {}).status()), "PRUNE_RUNNING");
                          },
                          {})
                  .ok());
  EXPECT_TRUE(asked);
}

TEST_F(PruneTest, ALostPackIsStillReportedAfterOthersWereSwept) {
  const std::string a = BackUp(VmOf({1, 3, 5, 7}));
  Remove(a);
  Prune();
  BackUp(VmOf({21, 23, 25, 27}));
  const auto packs = fs_.AllFiles("/repository/packs");
  ASSERT_TRUE(fs_.Remove(packs[0]).ok());
  Reopen();
  const auto report = repository_->Verify({}, {}, {});
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->problems.size(), 1u);
  EXPECT_NE(report->problems[0].find("the file is gone"), std::string::npos);
}

// --- random histories against a model ---

class PruneHistory : public PruneTest, public ::testing::WithParamInterface<uint32_t> {};

INSTANTIATE_TEST_SUITE_P(Seeds, PruneHistory, ::testing::Range(1u, 11u));

TEST_P(PruneHistory, LosesNothingAndKeepsNothing) {
  std::mt19937 engine(GetParam());
  const auto below = [&](uint32_t limit) { return static_cast<uint32_t>(engine() % limit); };
  std::map<std::string, ModelVm> visible, removed;
  std::vector<std::pair<std::unique_ptr<UploadSession>, ModelVm>> open;
  const auto disk = [&] {
    std::vector<uint32_t> seeds;
    for (uint32_t i = 0; i < 1 + below(14); ++i) seeds.push_back(below(4) == 0 ? 0 : 1 + below(70));
    return VmOf(std::move(seeds));
  };
  for (int step = 0; step < 120 && !HasFatalFailure(); ++step) {
    SCOPED_TRACE(fmt::format("seed {} step {}", GetParam(), step));
    const uint32_t what = below(12);
    if (what < 3) {
      const ModelVm vm = disk();
      visible[BackUp(vm)] = vm;
    } else if (what == 3 && open.size() < 3) {
      const ModelVm vm = disk();
      open.emplace_back(repository_->BeginSession(), vm);
      ASSERT_TRUE(UploadDisk(*repository_, *open.back().first, "vm1", "vda", vm.at("vda")).ok());
    } else if (what == 4 && !open.empty()) {
      const auto committed = open.front().first->Commit({ManifestOf("vm1", open.front().second)});
      ASSERT_TRUE(committed.ok()) << committed.status();
      visible[committed->at(0).recovery_point_id()] = open.front().second;
      open.erase(open.begin());
    } else if (what == 5 && !open.empty()) {
      open.pop_back();
    } else if (what == 6 && !visible.empty()) {
      auto victim = std::next(visible.begin(), below(static_cast<uint32_t>(visible.size())));
      const absl::Duration window = below(2) == 0 ? absl::ZeroDuration() : absl::Hours(5);
      ASSERT_TRUE(repository_->RemoveRecoveryPoint(victim->first, {"test", window}).ok());
      removed.insert(visible.extract(victim));
    } else if (what == 7 && !removed.empty()) {
      auto lucky = std::next(removed.begin(), below(static_cast<uint32_t>(removed.size())));
      if (repository_->UndeleteRecoveryPoint(lucky->first).ok()) {
        visible.insert(removed.extract(lucky));
      }
    } else if (what == 8) {
      clock_.Advance(absl::Hours(1 + below(3)));
    } else if (what == 9) {
      open.clear();
      Reopen();
    } else if (what == 10) {
      ASSERT_TRUE(repository_->Maintain({}).ok());
    } else {
      PruneOptions options;
      options.young_pack_grace = absl::Hours(below(3));
      options.condemned_grace = absl::Hours(below(2));
      options.dry_run = below(5) == 0;
      for (const std::string& id : Prune(options).deleted_points) {
        if (!options.dry_run) removed.erase(id);
      }
    }
    if (step % 10 == 0) {
      for (const auto& [id, vm] : visible) ASSERT_EQ(CompareVm(*repository_, id, vm), absl::OkStatus());
    }
  }
  open.clear();
  Reopen();
  ExpectSound();
  for (const auto& [id, vm] : visible)
    ASSERT_EQ(CompareVm(*repository_, id, vm), absl::OkStatus()) << "seed " << GetParam();
  for (const auto& [id, vm] : visible) Remove(id);
  clock_.Advance(absl::Hours(24));
  Prune();
  EXPECT_EQ(PackCount(), 0u) << "seed " << GetParam();
  EXPECT_TRUE(fs_.AllFiles("/repository/tombstones").empty());
  EXPECT_TRUE(fs_.AllFiles("/repository/sweeps").empty());
}

// --- every call of prune fails once, or for good, or the power goes ---

struct FaultCase {
  const char* name;
  Fault fault;
  bool for_good;
  bool cut_power;
};

class PruneEveryCall : public ::testing::TestWithParam<FaultCase> {};

INSTANTIATE_TEST_SUITE_P(Faults, PruneEveryCall,
                         ::testing::Values(FaultCase{"FullDiskOnce", Fault::kNoSpace, false, false},
                                           FaultCase{"FullDiskForGood", Fault::kNoSpace, true, false},
                                           FaultCase{"IoErrorOnce", Fault::kIoError, false, false},
                                           FaultCase{"IoErrorForGood", Fault::kIoError, true, false},
                                           FaultCase{"PowerCut", Fault::kIoError, true, true}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(PruneEveryCall, LosesNothingAndLeftoversAreCollectedLater) {
  const FaultCase& fault = GetParam();
  base::SeededRandom luck(11);
  uint64_t call = 1;
  for (bool struck = true; struck; ++call) {
    SCOPED_TRACE(fmt::format("{} at call {}", fault.name, call));
    MemoryFilesystem real;
    FaultFilesystem fs(real);
    SteppingClock clock;
    base::SeededRandom random(call);
    const ModelVm kept = VmOf({1, 5, 9, 13, 2}), other = VmOf({41, 43, 45, 47, 49});
    std::string kept_id, other_id, undeleted_id;
    {
      auto repository = *Repository::OpenOrCreate(fs, clock, random, "/repository", SmallOptions());
      const std::string gone =
          Backup(*repository, "vm1", VmOf({1, 3, 7, 11, 5, 15, 17, 19, 9, 21, 23, 25, 13, 27, 29, 31}))
              ->recovery_point_id();
      kept_id = Backup(*repository, "vm1", kept)->recovery_point_id();
      other_id = Backup(*repository, "vm2", other)->recovery_point_id();
      undeleted_id = Backup(*repository, "vm3", other)->recovery_point_id();
      ASSERT_TRUE(repository->RemoveRecoveryPoint(undeleted_id, {}).ok());
      fs.FailAt(call, fault.fault, fault.for_good);
      (void)repository->RemoveRecoveryPoint(gone, kForGood);
      (void)repository->Prune(kAtOnce, {}, {});
      const bool undeleted = repository->UndeleteRecoveryPoint(undeleted_id).ok();
      (void)repository->Prune(kAtOnce, {}, {});
      struck = fs.struck();
      if (!fault.for_good) {
        fs.FailAt(0, fault.fault, false);  // not in what follows
        // The process lives on, and what it was told holds.
        EXPECT_EQ(CompareVm(*repository, kept_id, kept), absl::OkStatus());
        if (undeleted) {
          EXPECT_EQ(CompareVm(*repository, undeleted_id, other), absl::OkStatus());
        }
      }
    }
    if (fault.cut_power) real.CutPower(call % 2 == 0 ? &luck : nullptr);
    auto opened = Repository::OpenOrCreate(real, clock, random, "/repository", SmallOptions());
    ASSERT_TRUE(opened.ok()) << opened.status();
    Repository& repository = **opened;
    const auto list = repository.ListRecoveryPoints();
    ASSERT_TRUE(list.ok());
    EXPECT_TRUE(list->problems.empty());
    ASSERT_EQ(CompareVm(repository, kept_id, kept), absl::OkStatus());
    ASSERT_EQ(CompareVm(repository, other_id, other), absl::OkStatus());
    const auto report = repository.Verify({}, {}, {});
    ASSERT_TRUE(report.ok());
    ASSERT_TRUE(report->ok()) << (report->problems.empty() ? "damage" : report->problems[0]);
    // Left-overs are collected.
    for (const Manifest& point : list->points) {
      const std::string& id = point.recovery_point_id();
      if (id == kept_id || id == other_id) continue;
      ASSERT_TRUE(repository.RemoveRecoveryPoint(id, kForGood).ok());
    }
    clock.Advance(absl::Hours(24 * 8));
    const auto pruned = repository.Prune(kAtOnce, {}, {});
    ASSERT_TRUE(pruned.ok()) << pruned.status();
    ASSERT_EQ(CompareVm(repository, kept_id, kept), absl::OkStatus());
    ASSERT_EQ(CompareVm(repository, other_id, other), absl::OkStatus());
    uint64_t bytes = 0;
    for (const std::string& pack : real.AllFiles("/repository/packs")) bytes += real.ReadFile(pack)->size();
    EXPECT_LT(bytes, 12 * kTestChunkSize) << "ten chunks are needed, and two pages";
    EXPECT_TRUE(real.AllFiles("/repository/tombstones").empty());
  }
  EXPECT_GT(call, fault.fault == Fault::kNoSpace ? 30u : 80u);
}

// --- threads ---

// Sessions keep asking for, and committing, chunks of points that are just being removed, while prune runs without any
// grace, with readers and verification beside it.
TEST(PruneThreads, UploadsOfChunksThatAreBeingCondemnedLoseNothing) {
  MemoryFilesystem fs;
  base::SystemClock clock;
  base::SeededRandom random(3);
  auto repository = *Repository::OpenOrCreate(fs, clock, random, "/repository", SmallOptions());
  constexpr int kRounds = 40;
  std::atomic<bool> done{false};
  std::atomic<uint64_t> deleted_packs{0}, copied_packs{0};
  std::vector<std::jthread> threads;
  threads.emplace_back([&] {
    while (!done) {
      const auto report = repository->Prune(kAtOnce, {}, {});
      ASSERT_TRUE(report.ok()) << report.status();
      deleted_packs += report->deleted_packs;
      copied_packs += report->copied_packs;
    }
  });
  threads.emplace_back([&] {
    while (!done) {
      const auto report = repository->Verify({}, {}, {});
      ASSERT_TRUE(report.ok()) << report.status();
      ASSERT_TRUE(report->ok()) << (report->problems.empty() ? report->damaged[0].message : report->problems[0]);
    }
  });
  {
    std::vector<std::jthread> uploaders;
    for (uint32_t uploader = 0; uploader < 3; ++uploader) {
      uploaders.emplace_back([&, uploader] {
        std::mt19937 engine(uploader);
        const std::string uuid = "vm" + std::to_string(uploader);
        std::deque<std::pair<std::string, ModelVm>> mine;
        for (int round = 0; round < kRounds; ++round) {
          std::vector<uint32_t> seeds;
          for (int i = 0; i < 8; ++i) seeds.push_back(1 + static_cast<uint32_t>(engine() % 24));
          const ModelVm vm = VmOf(std::move(seeds));
          const auto manifest = Backup(*repository, uuid, vm);
          ASSERT_TRUE(manifest.ok()) << manifest.status();
          mine.emplace_back(manifest->recovery_point_id(), vm);
          for (const auto& [id, expected] : mine) ASSERT_EQ(CompareVm(*repository, id, expected), absl::OkStatus());
          if (mine.size() < 3) continue;
          ASSERT_TRUE(repository->RemoveRecoveryPoint(mine.front().first, kForGood).ok());
          mine.pop_front();
        }
        for (const auto& [id, expected] : mine) ASSERT_EQ(CompareVm(*repository, id, expected), absl::OkStatus());
      });
    }
  }
  done = true;
  threads.clear();
  EXPECT_GT(deleted_packs, 0u);
  const auto report = repository->Verify({}, {}, {});
  ASSERT_TRUE(report.ok());
  EXPECT_TRUE(report->ok());
}

}  // namespace
}  // namespace umbra::repo
