// Proves that every hypervisor driver keeps the promises of agent/hypervisor/hypervisor.h: the same tests are linked into
// one program for the simulated driver and one for libvirt with a real guest.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "storage/base/status.h"
#include "tests/contract/hypervisor/hypervisor_under_test.h"

namespace umbra::hypervisor {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr absl::Duration kAgentTimeout = absl::Seconds(20);
constexpr uint32_t kPiece = 1 * base::kMiB;
constexpr char kNobody[] = "00000000-0000-4000-8000-000000000000";

struct Error {
  absl::StatusCode code;
  std::string reason;
  bool operator==(const Error&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Error& e) {
  return out << absl::StatusCodeToString(e.code) << " / " << e.reason;
}
Error ErrorOf(const absl::Status& status) { return {status.code(), base::ReasonOf(status)}; }
template <typename T>
Error ErrorOf(const absl::StatusOr<T>& result) {
  return ErrorOf(result.status());
}

#define ASSERT_OK(expression)                                        \
  do {                                                               \
    const absl::Status status_ = AsStatus(expression);               \
    ASSERT_TRUE(status_.ok()) << base::Describe(status_);            \
  } while (false)
absl::Status AsStatus(const absl::Status& s) { return s; }
template <typename T>
absl::Status AsStatus(const absl::StatusOr<T>& s) {
  return s.status();
}

std::vector<std::string> ReasonsOf(const std::vector<Warning>& warnings) {
  std::vector<std::string> reasons;
  for (const Warning& warning : warnings) reasons.push_back(warning.reason);
  return reasons;
}

const Error kInvalid = {absl::StatusCode::kInvalidArgument, "INVALID_REQUEST"};
const Error kNotFound = {absl::StatusCode::kNotFound, "VM_NOT_FOUND"};
const Error kHasJob = {absl::StatusCode::kFailedPrecondition, "VM_HAS_FOREIGN_JOB"};
const Error kStopped = {absl::StatusCode::kAborted, "GUEST_STOPPED"};
const Error kNotRunning = {absl::StatusCode::kFailedPrecondition, "GUEST_NOT_RUNNING"};
const Error kScratchFull = {absl::StatusCode::kResourceExhausted, "SCRATCH_FULL"};

class HypervisorContract : public ::testing::Test {
 protected:
  static void TearDownTestSuite() { current_.reset(); }

  void SetUp() override {
    if (current_ == nullptr) {
      std::string why_not;
      current_ = MakeHypervisorUnderTest(why_not);
      if (current_ == nullptr) GTEST_SKIP() << why_not;
    }
    current_->MakeHealthy();
    ASSERT_OK(hv().RemoveCheckpoints(uuid(), ""));
  }

  void TearDown() override {
    if (current_ == nullptr) return;
    if (files().Exists(test().ScratchFolder()).value()) {
      EXPECT_THAT(files().List(test().ScratchFolder()).value(), IsEmpty()) << "left in the scratch folder";
    }
  }

  HypervisorUnderTest& test() { return *current_; }
  Hypervisor& hv() { return current_->hypervisor(); }
  const std::string& uuid() { return current_->uuid(); }
  base::Filesystem& files() { return current_->files; }
  base::Clock& clock() { return current_->clock; }

  PointInTimeOptions Options() { return {{"vda", "vdb", "vdc"}, test().ScratchFolder(), "umbra-contract"}; }
  SaveOptions Save() { return {test().ScratchFolder(), "umbra-contract"}; }
  std::unique_ptr<PointInTime> BeginView() {
    auto view = hv().BeginPointInTime(uuid(), Options());
    UMBRA_CHECK(view.ok());
    return *std::move(view);
  }

  char FirstByte(PointInTime& view, const std::string& disk, uint64_t offset) {
    std::byte byte{};
    UMBRA_CHECK((*view.OpenDisk(disk))->ReadAt(offset, base::MutableBytes(&byte, 1)).ok());
    return static_cast<char>(byte);
  }

  // Thaws as a caller has to after a freeze that got no answer.
  absl::StatusOr<int> ThawUntilAnswered() {
    absl::StatusOr<int> thawed = absl::UnavailableError("not tried");
    for (int i = 0; i < 30 && !thawed.ok(); ++i) thawed = hv().Thaw(uuid(), absl::Seconds(2));
    return thawed;
  }

  bool WaitForState(VmState state) {
    for (int i = 0; i < 600; ++i) {
      if (hv().GetVm(uuid())->state == state) return true;
      clock().Sleep(absl::Milliseconds(50));
    }
    return false;
  }

  // Copies one disk of the view into a new image.
  absl::Status Copy(PointInTime& view, const Disk& disk, const std::string& path) {
    ASSIGN_OR_RETURN(auto reader, view.OpenDisk(disk.name));
    ASSIGN_OR_RETURN(auto writer, hv().CreateDisk({path, disk.format, reader->capacity_bytes()}));
    ASSIGN_OR_RETURN(const auto extents, reader->Extents());
    RETURN_IF_ERROR(reader->ReadExtents(
        extents, kPiece, [&](uint64_t offset, base::Bytes data) { return writer->WriteAt(offset, data); }));
    return writer->Finish();
  }

 private:
  static std::unique_ptr<HypervisorUnderTest> current_;
};

std::unique_ptr<HypervisorUnderTest> HypervisorContract::current_;

// --- describing ---

TEST_F(HypervisorContract, DescribesTheVm) {
  EXPECT_THAT(hv().Version().value(), Not(IsEmpty()));
  EXPECT_THAT(hv().DefaultFolder(), Not(IsEmpty()));
  const VmInfo vm = hv().GetVm(uuid()).value();
  EXPECT_EQ(vm.uuid, uuid());
  EXPECT_EQ(vm.state, VmState::kRunning);
  EXPECT_GT(vm.memory_bytes, 64 * base::kMiB);
  ASSERT_THAT(vm.disks, SizeIs(3));
  EXPECT_EQ(vm.disks[1].name, "vdb");
  EXPECT_EQ(vm.disks[1].format, "raw");
  EXPECT_EQ(vm.disks[1].capacity_bytes, HypervisorUnderTest::kDataDiskBytes);
  EXPECT_EQ(vm.disks[1].exclusion, DiskExclusion::kNone);
  ASSERT_THAT(vm.adapters, SizeIs(1));
  EXPECT_THAT(vm.adapters[0].network, Not(IsEmpty()));
  EXPECT_THAT(hv().ListVms().value(), Contains(::testing::Field(&VmInfo::uuid, uuid())));
}

TEST_F(HypervisorContract, KnowsNoOtherVm) {
  EXPECT_EQ(ErrorOf(hv().GetVm(kNobody)), kNotFound);
  EXPECT_EQ(ErrorOf(hv().GetVm("not a uuid")), kNotFound);
  EXPECT_EQ(ErrorOf(hv().Configuration(kNobody)), kNotFound);
  EXPECT_EQ(ErrorOf(hv().QueryGuestAgent(kNobody, kAgentTimeout)), kNotFound);
  EXPECT_EQ(ErrorOf(hv().Freeze(kNobody, kAgentTimeout)), kNotFound);
  EXPECT_EQ(ErrorOf(hv().Thaw(kNobody, kAgentTimeout)), kNotFound);
  EXPECT_EQ(ErrorOf(hv().CheckNoJob(kNobody)), kNotFound);
  EXPECT_EQ(ErrorOf(hv().PreparePointInTime(kNobody, Options())), kNotFound);
  EXPECT_EQ(ErrorOf(hv().Start(kNobody)), kNotFound);
  EXPECT_EQ(ErrorOf(hv().PowerOff(kNobody)), kNotFound);
  EXPECT_TRUE(hv().DeleteVm(kNobody).ok());
}

// --- the guest's agent ---

TEST_F(HypervisorContract, AsksTheGuestAgent) {
  const GuestAgentInfo info = hv().QueryGuestAgent(uuid(), kAgentTimeout).value();
  EXPECT_EQ(info.state, GuestAgentState::kRunning);
  EXPECT_THAT(info.version, Not(IsEmpty()));
  ASSERT_THAT(info.filesystems, Not(IsEmpty()));
  EXPECT_EQ(info.filesystems[0].type, "ext4");
  EXPECT_THAT(info.filesystems[0].disk_names, Contains("vda"));
  EXPECT_TRUE(info.filesystems[0].can_freeze);
}

TEST_F(HypervisorContract, FreezesAndThaws) {
  EXPECT_EQ(hv().Thaw(uuid(), kAgentTimeout).value(), 0);
  const int frozen = hv().Freeze(uuid(), kAgentTimeout).value();
  EXPECT_GT(frozen, 0);
  EXPECT_EQ(ErrorOf(hv().Freeze(uuid(), kAgentTimeout)), (Error{absl::StatusCode::kAborted, "GUEST_FREEZE_FAILED"}));
  EXPECT_EQ(hv().Thaw(uuid(), kAgentTimeout).value(), frozen);
  EXPECT_EQ(hv().Thaw(uuid(), kAgentTimeout).value(), 0);
}

// The trap: the guest freezes after its caller gave up, and would stay frozen.
TEST_F(HypervisorContract, FreezeThatLandsLateIsThawed) {
  test().DelayFreeze(absl::Seconds(4));
  EXPECT_EQ(ErrorOf(hv().Freeze(uuid(), absl::Seconds(1))),
            (Error{absl::StatusCode::kDeadlineExceeded, "GUEST_FREEZE_TIMEOUT"}));
  const auto thawed = ThawUntilAnswered();
  ASSERT_OK(thawed);
  EXPECT_GT(*thawed, 0) << "the late freeze had not landed yet";
  clock().Sleep(absl::Seconds(1));
  EXPECT_EQ(hv().Thaw(uuid(), kAgentTimeout).value(), 0) << "frozen again";
  test().DelayFreeze(absl::ZeroDuration());
  EXPECT_TRUE(test().Fill("vdb", 0, base::kMiB, 'x').ok());
}

TEST_F(HypervisorContract, FreezeThatTheGuestRefusesLeavesItThawed) {
  test().MakeFreezeFail();
  EXPECT_EQ(ErrorOf(hv().Freeze(uuid(), kAgentTimeout)), (Error{absl::StatusCode::kAborted, "GUEST_FREEZE_FAILED"}));
  EXPECT_EQ(hv().Thaw(uuid(), kAgentTimeout).value(), 0);
  EXPECT_TRUE(test().Fill("vdb", 0, base::kMiB, 'x').ok());
}

TEST_F(HypervisorContract, GuestWithoutAnAgentThatAnswersAndGuestThatIsOff) {
  test().StopAgent();
  EXPECT_EQ(hv().QueryGuestAgent(uuid(), absl::Seconds(2))->state, GuestAgentState::kNotResponding);
  EXPECT_EQ(ErrorOf(hv().Freeze(uuid(), absl::Seconds(2))),
            (Error{absl::StatusCode::kFailedPrecondition, "GUEST_AGENT_NOT_RUNNING"}));
  EXPECT_EQ(ErrorOf(hv().Thaw(uuid(), absl::Seconds(2))),
            (Error{absl::StatusCode::kDeadlineExceeded, "GUEST_AGENT_NOT_RUNNING"}));

  ASSERT_OK(hv().PowerOff(uuid()));
  EXPECT_TRUE(hv().PowerOff(uuid()).ok());
  EXPECT_EQ(hv().GetVm(uuid())->state, VmState::kOff);
  EXPECT_EQ(hv().QueryGuestAgent(uuid(), absl::Seconds(2))->state, GuestAgentState::kGuestOff);
  EXPECT_EQ(ErrorOf(hv().Freeze(uuid(), absl::Seconds(2))), kNotRunning);
  EXPECT_EQ(hv().Thaw(uuid(), absl::Seconds(2)).value(), 0);
  EXPECT_TRUE(hv().CheckNoJob(uuid()).ok());
  EXPECT_EQ(ErrorOf(hv().PreparePointInTime(uuid(), Options())), kNotRunning);
}

// --- point in time ---

TEST_F(HypervisorContract, ViewHoldsTheBytesOfItsMoment) {
  ASSERT_OK(test().Fill("vdb", 8 * base::kMiB, 4 * base::kMiB, 'A'));
  const absl::Time before = clock().Now();
  {
    auto view = BeginView();
    EXPECT_GE(view->time(), before);
    EXPECT_LE(view->time(), clock().Now());
    ASSERT_OK(test().Fill("vdb", 9 * base::kMiB, base::kMiB, 'B'));
    ASSERT_OK(view->Health());
    for (int mib = 8; mib < 12; ++mib) EXPECT_EQ(FirstByte(*view, "vdb", mib * base::kMiB + 4711), 'A') << mib;
    ASSERT_OK(view->Close());
    EXPECT_TRUE(view->Close().ok());
  }
  auto later = BeginView();
  EXPECT_EQ(FirstByte(*later, "vdb", 8 * base::kMiB), 'A');
  EXPECT_EQ(FirstByte(*later, "vdb", 9 * base::kMiB), 'B');
}  // the destructor closes

TEST_F(HypervisorContract, ReadsOnlyWhatIsAllocatedInPieces) {
  ASSERT_OK(test().Fill("vdb", 32 * base::kMiB, 3 * base::kMiB, 'C'));
  auto view = BeginView();
  auto reader = *view->OpenDisk("vdb");
  EXPECT_EQ(reader->capacity_bytes(), HypervisorUnderTest::kDataDiskBytes);
  const std::vector<Extent> extents = reader->Extents().value();
  uint64_t end = 0;
  uint64_t data_bytes = 0;
  for (const Extent& extent : extents) {
    EXPECT_EQ(extent.offset_bytes, end) << "ranges cover the disk in order";
    EXPECT_GT(extent.length_bytes, 0u);
    end += extent.length_bytes;
    if (!extent.zero) data_bytes += extent.length_bytes;
  }
  EXPECT_EQ(end, reader->capacity_bytes());
  EXPECT_LT(data_bytes, end) << "the rest of the disk was never written";

  // 256 KiB is a piece of many in one request of a driver, 3 MiB + 512 no power of anything.
  for (const uint32_t piece_bytes : {256 * 1024, 3 * 1024 * 1024 + 512}) {
    uint64_t seen = 0;
    std::string fill(3 * base::kMiB, '\0');
    ASSERT_OK(reader->ReadExtents(extents, piece_bytes, [&](uint64_t offset, base::Bytes data) {
      EXPECT_LE(data.size(), piece_bytes);
      EXPECT_EQ(offset / piece_bytes, (offset + data.size() - 1) / piece_bytes) << "a piece crosses a boundary";
      seen += data.size();
      for (size_t i = 0; i < data.size(); ++i) {
        const uint64_t at = offset + i;
        if (at >= 32 * base::kMiB && at < 35 * base::kMiB) fill[at - 32 * base::kMiB] = static_cast<char>(data[i]);
      }
      return absl::OkStatus();
    }));
    EXPECT_EQ(seen, data_bytes);
    EXPECT_EQ(fill, std::string(3 * base::kMiB, 'C'));
  }
}

TEST_F(HypervisorContract, SinkStopsTheReadingAndTheReaderGoesOn) {
  ASSERT_OK(test().Fill("vdb", 0, 16 * base::kMiB, 'D'));
  auto view = BeginView();
  auto reader = *view->OpenDisk("vdb");
  int pieces = 0;
  const absl::Status status = reader->ReadExtents({{0, 16 * base::kMiB, false}}, kPiece, [&](uint64_t, base::Bytes) {
    return ++pieces == 3 ? absl::CancelledError("enough") : absl::OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(pieces, 3);
  std::string data(base::kMiB, '\0');
  ASSERT_OK(reader->ReadAt(base::kMiB, std::as_writable_bytes(std::span(data.data(), data.size()))));
  EXPECT_EQ(data, std::string(base::kMiB, 'D'));
  EXPECT_FALSE(reader->ReadAt(HypervisorUnderTest::kDataDiskBytes, std::as_writable_bytes(std::span(data))).ok());
  EXPECT_FALSE(reader->ReadExtents({{HypervisorUnderTest::kDataDiskBytes, 1, false}}, kPiece, nullptr).ok());
}

TEST_F(HypervisorContract, RefusesImpossibleViews) {
  PointInTimeOptions options = Options();
  options.disks = {"vda", "vdz"};
  EXPECT_EQ(ErrorOf(hv().PreparePointInTime(uuid(), options)), kInvalid);
  options.disks = {};
  EXPECT_EQ(ErrorOf(hv().PreparePointInTime(uuid(), options)), kInvalid);
  options = Options();
  options.scratch_folder = "/" + std::string(kScratchFolderLengthMax, 'x');
  EXPECT_EQ(ErrorOf(hv().PreparePointInTime(uuid(), options)), kInvalid);
  auto view = hv().BeginPointInTime(uuid(), {{"vdb"}, test().ScratchFolder(), "umbra-contract"});
  ASSERT_OK(view);
  EXPECT_EQ(ErrorOf((*view)->OpenDisk("vda")), kInvalid) << "not in the view";
}

// The trap: a second job would be waited for, 30 s, with the guest frozen meanwhile.
TEST_F(HypervisorContract, SeesARunningJobBeforeAnythingIsFrozen) {
  ASSERT_OK(hv().CheckNoJob(uuid()));
  auto view = BeginView();
  const absl::Duration start = clock().Monotonic();
  EXPECT_EQ(ErrorOf(hv().CheckNoJob(uuid())), kHasJob);
  EXPECT_EQ(ErrorOf(hv().PreparePointInTime(uuid(), Options())), kHasJob);
  EXPECT_LT(clock().Monotonic() - start, absl::Seconds(5));
  ASSERT_OK(view->Close());
  EXPECT_TRUE(hv().CheckNoJob(uuid()).ok());
}

TEST_F(HypervisorContract, ViewsBeginWhileTheVmIsDescribed) {
  std::atomic<bool> over = false;
  std::jthread describing([&] {
    while (!over) EXPECT_TRUE(hv().ListVms().ok());
  });
  const absl::Cleanup end = [&] { over = true; };
  for (int i = 0; i < 20; ++i) {
    auto view = hv().BeginPointInTime(uuid(), Options());
    ASSERT_TRUE(view.ok()) << i << ": " << view.status();
    ASSERT_OK((*view)->Close());
  }
}

TEST_F(HypervisorContract, CleansUpAfterACrashedAgent) {
  test().CrashAgent(BeginView());
  EXPECT_THAT(files().List(test().ScratchFolder()).value(), Not(IsEmpty()));
  EXPECT_THAT(hv().CleanUp(uuid(), test().ScratchFolder(), "somebody-else")->actions, IsEmpty());
  EXPECT_EQ(ErrorOf(hv().CheckNoJob(uuid())), kHasJob) << "not the job of that tag";

  EXPECT_THAT(hv().CleanUp(uuid(), test().ScratchFolder(), "umbra-contract")->actions, Not(IsEmpty()));
  EXPECT_THAT(files().List(test().ScratchFolder()).value(), IsEmpty());
  EXPECT_TRUE(hv().CheckNoJob(uuid()).ok());
  EXPECT_EQ(hv().GetVm(uuid())->state, VmState::kRunning);
  EXPECT_THAT(hv().CleanUp(uuid(), test().ScratchFolder(), "umbra-contract")->actions, IsEmpty());
  EXPECT_THAT(hv().CleanUp(kNobody, "/nowhere", "umbra-contract")->actions, IsEmpty());
}

TEST_F(HypervisorContract, PausedVmHasAViewAndStaysPaused) {
  ASSERT_OK(hv().Pause(uuid()));
  EXPECT_EQ(hv().GetVm(uuid())->state, VmState::kPaused);
  ASSERT_OK(BeginView()->Close());
  EXPECT_EQ(hv().GetVm(uuid())->state, VmState::kPaused);
  ASSERT_OK(hv().Resume(uuid()));
  EXPECT_EQ(hv().GetVm(uuid())->state, VmState::kRunning);
}

// --- saved state ---

TEST_F(HypervisorContract, SavedVmStandsStillUntilItIsResumed) {
  ASSERT_OK(test().Remember("umbra"));
  ASSERT_OK(hv().CheckCanSave(uuid(), Save()));
  const absl::Duration before = clock().Monotonic();
  const auto saved = hv().SaveState(uuid(), Save());
  ASSERT_OK(saved);
  EXPECT_TRUE(saved->was_running);
  EXPECT_GE(saved->stopped_at, before);
  EXPECT_LE(saved->stopped_at, clock().Monotonic());
  EXPECT_EQ(hv().GetVm(uuid())->state, VmState::kPaused);
  EXPECT_EQ((*OpenFile(files(), saved->path))->capacity_bytes(), saved->size_bytes);
  {
    auto view = BeginView();  // cut while it stands still, read while it runs
    ASSERT_OK(hv().Resume(uuid()));
    EXPECT_TRUE(hv().Resume(uuid()).ok()) << "it runs already";
    EXPECT_EQ(hv().GetVm(uuid())->state, VmState::kRunning);
    EXPECT_TRUE(test().Remembers("umbra"));
    ASSERT_OK(view->Close());
    EXPECT_TRUE(files().Exists(saved->path).value()) << "the end of the view is none of the memory";
  }
  EXPECT_THAT(hv().CleanUp(uuid(), test().ScratchFolder(), "umbra-contract")->actions, SizeIs(1));
  EXPECT_FALSE(files().Exists(saved->path).value());
}

TEST_F(HypervisorContract, PausedVmIsSavedAsItIs) {
  ASSERT_OK(hv().Pause(uuid()));
  const auto saved = hv().SaveState(uuid(), Save());
  ASSERT_OK(saved);
  EXPECT_FALSE(saved->was_running);
  EXPECT_GT(saved->size_bytes, 0u);
  EXPECT_EQ(hv().GetVm(uuid())->state, VmState::kPaused);
  ASSERT_OK(hv().Resume(uuid()));
  ASSERT_OK(files().Remove(saved->path));
}

TEST_F(HypervisorContract, SaveThatCanNotBeLeavesTheVmAlone) {
  EXPECT_EQ(ErrorOf(hv().CheckCanSave(kNobody, Save())), kNotFound);
  EXPECT_EQ(ErrorOf(hv().SaveState(kNobody, Save())), kNotFound);
  {
    auto view = BeginView();
    EXPECT_EQ(ErrorOf(hv().SaveState(uuid(), Save())), kHasJob);
    EXPECT_EQ(hv().GetVm(uuid())->state, VmState::kRunning);
  }
  ASSERT_OK(hv().PowerOff(uuid()));
  EXPECT_EQ(ErrorOf(hv().CheckCanSave(uuid(), Save())), kNotRunning);
  EXPECT_EQ(ErrorOf(hv().SaveState(uuid(), Save())), kNotRunning);
  EXPECT_EQ(ErrorOf(hv().Resume(uuid())), kNotRunning);
}

// The whole way back: memory and disks of one instant, the disks at other places than before.
TEST_F(HypervisorContract, GoesOnAtTheInstantOfTheSave) {
  const VmInfo original = hv().GetVm(uuid()).value();
  ASSERT_OK(test().Remember("instant"));
  ASSERT_OK(test().Fill("vdb", 5 * base::kMiB, base::kMiB, 'K'));
  const auto saved = hv().SaveState(uuid(), Save());
  ASSERT_OK(saved);
  DefineOptions options{hv().Configuration(uuid()).value(), "", {}};
  {
    auto view = BeginView();
    ASSERT_OK(hv().Resume(uuid()));
    ASSERT_OK(test().Remember("later"));
    ASSERT_OK(test().Fill("vdb", 5 * base::kMiB, base::kMiB, 'L'));
    for (const Disk& disk : original.disks) {
      const std::string path = fmt::format("{}/instant-{}.{}", test().TargetFolder(), disk.name, disk.format);
      ASSERT_OK(Copy(*view, disk, path));
      options.disk_paths.emplace_back(disk.name, path);
    }
  }
  EXPECT_EQ(ErrorOf(hv().StartFromState(uuid(), saved->path, false)),
            (Error{absl::StatusCode::kAlreadyExists, "VM_EXISTS"}));
  ASSERT_OK(hv().DeleteVm(uuid()));
  ASSERT_OK(hv().DefineVm(options));
  ASSERT_OK(hv().StartFromState(uuid(), saved->path, /*paused=*/true));
  EXPECT_EQ(hv().GetVm(uuid())->state, VmState::kPaused);
  ASSERT_OK(hv().Resume(uuid()));
  EXPECT_TRUE(test().Remembers("instant"));
  // A guest without hwclock, as the lab's, can't set its clock, and says so.
  const absl::Status clock_set = hv().SyncGuestClock(uuid(), kAgentTimeout);
  EXPECT_TRUE(clock_set.ok() || base::ReasonOf(clock_set) == "HYPERVISOR_ERROR") << base::Describe(clock_set);
  {
    auto view = BeginView();
    EXPECT_EQ(FirstByte(*view, "vdb", 5 * base::kMiB), 'K');
  }
  ASSERT_OK(hv().PowerOff(uuid()));
  ASSERT_OK(hv().StartFromState(uuid(), saved->path, /*paused=*/false));
  EXPECT_TRUE(test().Remembers("instant"));

  // Back to its own disks for the tests that follow.
  ASSERT_OK(hv().DeleteVm(uuid()));
  for (const auto& [name, path] : options.disk_paths) EXPECT_TRUE(files().Remove(path).ok());
  options.disk_paths.clear();
  for (const Disk& disk : original.disks) options.disk_paths.emplace_back(disk.name, disk.path);
  ASSERT_OK(hv().DefineVm(options));
  ASSERT_OK(files().Remove(saved->path));
}

TEST_F(HypervisorContract, StateOfAnotherVmAndDamagedStateStartNobody) {
  const auto saved = hv().SaveState(uuid(), Save());
  ASSERT_OK(saved);
  ASSERT_OK(hv().Resume(uuid()));
  DefineOptions options{hv().Configuration(uuid()).value(), "contract-stranger", {}};
  const std::string disk = test().TargetFolder() + "/stranger.raw";
  ASSERT_OK((*hv().CreateDisk({disk, "raw", 8 * base::kMiB}))->Finish());
  options.disk_paths = {{"vdb", disk}};
  const auto stranger = hv().DefineVm(options);
  ASSERT_OK(stranger);
  EXPECT_EQ(ErrorOf(hv().StartFromState(stranger->uuid, saved->path, false)), kInvalid);
  ASSERT_OK(hv().DeleteVm(stranger->uuid));
  ASSERT_OK(files().Remove(disk));

  ASSERT_OK(hv().PowerOff(uuid()));
  ASSERT_OK((*files().Open(saved->path, base::OpenMode::kReadWrite))->Truncate(saved->size_bytes / 2));
  const absl::Status status = hv().StartFromState(uuid(), saved->path, false);
  EXPECT_EQ(ErrorOf(status), (Error{absl::StatusCode::kDataLoss, "STATE_DAMAGED"})) << base::Describe(status);
  EXPECT_EQ(hv().GetVm(uuid())->state, VmState::kOff);
  ASSERT_OK(files().Remove(saved->path));
}

// --- changes ---

// Views of the tracked disk and, beside it, of the raw one.
class ChangesContract : public HypervisorContract {
 protected:
  static constexpr char kDisk[] = "vdc";

  PointInTimeOptions Tracked(const std::string& tag, const Checkpoint& base = {}) {
    PointInTimeOptions options{{"vdb", kDisk}, test().ScratchFolder(), tag};
    options.track_changes = true;
    options.base = base;
    return options;
  }
  std::unique_ptr<PointInTime> Begin(const std::string& tag, const Checkpoint& base = {}) {
    auto view = hv().BeginPointInTime(uuid(), Tracked(tag, base));
    UMBRA_CHECK(view.ok());
    return *std::move(view);
  }
  std::unique_ptr<PointInTime> BeginOffline(const std::string& tag, const Checkpoint& base) {
    PointInTimeOptions options = Tracked(tag, base);
    options.offline = true;
    auto view = hv().BeginPointInTime(uuid(), options);
    UMBRA_CHECK(view.ok());
    return *std::move(view);
  }
  // A checkpoint that a view left, which has ended.
  Checkpoint Mark(const std::string& tag) {
    auto view = Begin(tag);
    const Checkpoint checkpoint = view->checkpoint();
    UMBRA_CHECK(view->Close().ok());
    return checkpoint;
  }
  // MiB of the disk that changed; all of them are changed to the MiB here.
  absl::StatusOr<std::vector<uint64_t>> ChangedMib(PointInTime& view) {
    ASSIGN_OR_RETURN(const auto reader, view.OpenDisk(kDisk));
    ASSIGN_OR_RETURN(const std::vector<Extent> changes, reader->Changes());
    std::vector<uint64_t> mib;
    for (const Extent& extent : changes) {
      EXPECT_FALSE(extent.zero);
      EXPECT_EQ(extent.offset_bytes % base::kMiB, 0u);
      EXPECT_EQ(extent.length_bytes % base::kMiB, 0u);
      for (uint64_t at = 0; at < extent.length_bytes; at += base::kMiB)
        mib.push_back((extent.offset_bytes + at) / base::kMiB);
    }
    return mib;
  }
  Error ChangesError(PointInTime& view, const std::string& disk = kDisk) {
    const auto reader = view.OpenDisk(disk);
    return reader.ok() ? ErrorOf((*reader)->Changes()) : ErrorOf(reader);
  }
  static Error Unknown(const std::string& reason) { return {absl::StatusCode::kFailedPrecondition, reason}; }
};

using ::testing::ElementsAre;

TEST_F(ChangesContract, AreThoseSinceTheBaseUpToTheInstantOfTheView) {
  ASSERT_OK(test().Fill(kDisk, 0, 8 * base::kMiB, 'a'));
  auto first = Begin("one");
  EXPECT_EQ(ChangesError(*first), Unknown("CBT_NO_BASE"));
  const Checkpoint one = first->checkpoint();
  EXPECT_EQ(one.name, "umbra-one");
  ASSERT_THAT(one.disks, SizeIs(1)) << "vdb can't be tracked";
  EXPECT_EQ(one.disks[0].name, kDisk);
  EXPECT_EQ(one.disks[0].capacity_bytes, HypervisorUnderTest::kTrackedDiskBytes);
  ASSERT_OK(test().Fill(kDisk, 2 * base::kMiB, base::kMiB, 'b'));  // after the instant, while the view is open
  ASSERT_OK(first->Close());
  ASSERT_OK(test().Discard(kDisk, 5 * base::kMiB, 2 * base::kMiB));

  auto second = Begin("two", one);
  ASSERT_OK(test().Fill(kDisk, 7 * base::kMiB, base::kMiB, 'c'));
  EXPECT_THAT(*ChangedMib(*second), ElementsAre(2, 5, 6)) << "what became zero has changed; what came later has not";
  EXPECT_EQ(ChangesError(*second, "vdb"), Unknown("CBT_UNSUPPORTED"));
  EXPECT_EQ(FirstByte(*second, kDisk, 2 * base::kMiB), 'b');
  EXPECT_EQ(FirstByte(*second, kDisk, 5 * base::kMiB), '\0');
  EXPECT_EQ(FirstByte(*second, kDisk, 7 * base::kMiB), 'a');
  const Checkpoint two = second->checkpoint();
  ASSERT_OK(second->Close());

  auto third = Begin("three", two);
  EXPECT_THAT(*ChangedMib(*third), ElementsAre(7));
  EXPECT_EQ(FirstByte(*third, kDisk, 7 * base::kMiB), 'c');
  ASSERT_OK(third->Close());
}

TEST_F(ChangesContract, OnlyCheckpointsOfOursAreRemoved) {
  test().MakeCheckpoint("theirs");
  Mark("one");
  Mark("two");
  EXPECT_THAT(test().Checkpoints(), ::testing::UnorderedElementsAre("theirs", "umbra-one", "umbra-two"));
  EXPECT_THAT(hv().RemoveCheckpoints(uuid(), "umbra-two")->actions, SizeIs(1));
  EXPECT_THAT(test().Checkpoints(), ::testing::UnorderedElementsAre("theirs", "umbra-two"));
  EXPECT_THAT(hv().RemoveCheckpoints(uuid(), "umbra-two")->actions, IsEmpty());
  EXPECT_THAT(hv().RemoveCheckpoints(uuid(), "")->actions, SizeIs(1));
  EXPECT_THAT(hv().RemoveCheckpoints(kNobody, "")->actions, IsEmpty());
  EXPECT_THAT(test().Checkpoints(), ElementsAre("theirs"));
  test().DeleteCheckpoint("theirs", false);
}

TEST_F(ChangesContract, OneOfOursIsEnoughAmongThoseOfOthers) {
  ASSERT_OK(test().Fill(kDisk, 0, base::kMiB, 'd'));
  test().MakeCheckpoint("before");
  const Checkpoint one = Mark("one");
  ASSERT_OK(test().Fill(kDisk, base::kMiB, base::kMiB, 'e'));
  test().MakeCheckpoint("after");
  ASSERT_OK(test().Fill(kDisk, 2 * base::kMiB, base::kMiB, 'f'));
  auto view = Begin("two", one);
  EXPECT_THAT(*ChangedMib(*view), ElementsAre(1, 2));
  ASSERT_OK(view->Close());
  test().DeleteCheckpoint("after", false);
  test().DeleteCheckpoint("before", false);
}

TEST_F(ChangesContract, AreUnknownOfADeletedCheckpoint) {
  for (const bool forget : {false, true}) {
    SCOPED_TRACE(forget);
    const Checkpoint one = Mark("one");
    test().DeleteCheckpoint(one.name, forget);
    auto view = Begin("two", one);
    EXPECT_EQ(ChangesError(*view), Unknown("CBT_CHECKPOINT_MISSING"));
    const Checkpoint two = view->checkpoint();
    ASSERT_OK(view->Close());
    auto next = Begin("three", two);
    EXPECT_THAT(*ChangedMib(*next), IsEmpty()) << "tracking has begun again";
    ASSERT_OK(next->Close());
    ASSERT_OK(hv().RemoveCheckpoints(uuid(), ""));
  }
}

TEST_F(ChangesContract, AreUnknownOfADiskThatIsAnother) {
  const Checkpoint one = Mark("one");
  for (const auto& [reason, change] : std::vector<std::pair<std::string, std::function<void(Checkpoint&)>>>{
           {"CBT_DISK_RESIZED", [](Checkpoint& c) { c.disks[0].capacity_bytes -= base::kMiB; }},
           {"CBT_DISK_REPLACED", [](Checkpoint& c) { c.disks[0].generation += "x"; }},
           {"CBT_DISK_NEW", [](Checkpoint& c) { c.disks[0].name = "vdz"; }},
           {"CBT_CHECKPOINT_MISSING", [](Checkpoint& c) { c.name += "x"; }},
           {"CBT_NO_BASE", [](Checkpoint& c) { c = {}; }}}) {
    Checkpoint base = one;
    change(base);
    auto view = Begin("two", base);
    EXPECT_EQ(ChangesError(*view), Unknown(reason));
    EXPECT_EQ(view->checkpoint().name, "umbra-two");
    ASSERT_OK(view->Close());
    ASSERT_OK(hv().RemoveCheckpoints(uuid(), one.name));
  }
  auto view = Begin("two", one);
  EXPECT_THAT(*ChangedMib(*view), IsEmpty());
  ASSERT_OK(view->Close());
}

TEST_F(ChangesContract, SurviveAnOrderlyEndAndTheVmIsReadWhileOff) {
  ASSERT_OK(test().Fill(kDisk, 0, 4 * base::kMiB, 'g'));
  const Checkpoint one = Mark("one");
  ASSERT_OK(test().Fill(kDisk, base::kMiB, base::kMiB, 'h'));
  ASSERT_OK(hv().PowerOff(uuid()));
  auto off = BeginOffline("two", one);
  EXPECT_THAT(*ChangedMib(*off), ElementsAre(1));
  EXPECT_EQ(FirstByte(*off, kDisk, base::kMiB), 'h');
  EXPECT_EQ(ChangesError(*off, "vdb"), Unknown("CBT_UNSUPPORTED"));
  EXPECT_EQ(off->checkpoint(), one) << "nothing begins while it is off";
  ASSERT_OK(off->Close());
  EXPECT_EQ(ChangesError(*BeginOffline("two", {})), Unknown("CBT_NO_BASE"));
  EXPECT_EQ(BeginOffline("two", {})->checkpoint(), Checkpoint());

  test().MakeHealthy();
  ASSERT_OK(test().Fill(kDisk, 3 * base::kMiB, base::kMiB, 'i'));
  auto on = Begin("three", one);
  EXPECT_THAT(*ChangedMib(*on), ElementsAre(1, 3))
      << "since the checkpoint, not since the view of the machine that was off";
  ASSERT_OK(on->Close());
  ASSERT_OK(hv().RemoveCheckpoints(uuid(), "umbra-three"));
  EXPECT_THAT(test().Checkpoints(), ElementsAre("umbra-three"));
}

TEST_F(ChangesContract, SurviveASaveByHand) {
  const Checkpoint one = Mark("one");
  ASSERT_OK(test().Fill(kDisk, 9 * base::kMiB, base::kMiB, 'j'));
  test().SaveByHand();
  EXPECT_THAT(*ChangedMib(*BeginOffline("two", one)), ElementsAre(9));
  test().MakeHealthy();
  auto view = Begin("two", one);
  EXPECT_THAT(*ChangedMib(*view), ElementsAre(9));
  ASSERT_OK(view->Close());
}

TEST_F(ChangesContract, AreLostWithAKilledGuestAndTrackingBeginsAgain) {
  const Checkpoint never_written = Mark("one");
  test().KillGuest();
  ASSERT_TRUE(WaitForState(VmState::kOff));
  EXPECT_EQ(ChangesError(*BeginOffline("two", never_written)), Unknown("CBT_CHECKPOINT_BROKEN"));
  test().MakeHealthy();
  auto view = Begin("two", never_written);
  EXPECT_EQ(ChangesError(*view), Unknown("CBT_CHECKPOINT_BROKEN"));
  const Checkpoint two = view->checkpoint();
  ASSERT_OK(view->Close());
  ASSERT_OK(hv().RemoveCheckpoints(uuid(), two.name));
  EXPECT_THAT(test().Checkpoints(), ElementsAre(two.name));

  ASSERT_OK(hv().PowerOff(uuid()));  // in the image now, and in use from the next start on
  test().MakeHealthy();
  test().KillGuest();
  ASSERT_TRUE(WaitForState(VmState::kOff));
  EXPECT_EQ(ChangesError(*BeginOffline("three", two)), Unknown("CBT_CHECKPOINT_BROKEN"));
  test().MakeHealthy();
  auto after = Begin("three", two);
  EXPECT_EQ(ChangesError(*after), Unknown("CBT_CHECKPOINT_BROKEN"));
  const Checkpoint three = after->checkpoint();
  ASSERT_OK(after->Close());
  ASSERT_OK(hv().RemoveCheckpoints(uuid(), three.name));
  ASSERT_OK(test().Fill(kDisk, 4 * base::kMiB, base::kMiB, 'k'));
  auto next = Begin("four", three);
  EXPECT_THAT(*ChangedMib(*next), ElementsAre(4));
  ASSERT_OK(next->Close());
}

TEST_F(ChangesContract, AreUnknownOfAVmThatWasDefinedAgain) {
  const Checkpoint one = Mark("one");
  const std::string configuration = hv().Configuration(uuid()).value();
  ASSERT_OK(hv().DeleteVm(uuid()));
  DefineOptions options{configuration, "", {}};
  options.unchanged = true;
  ASSERT_OK(hv().DefineVm(options));
  test().MakeHealthy();
  auto view = Begin("two", one);
  const Error error = ChangesError(*view);
  EXPECT_TRUE(error == Unknown("CBT_CHECKPOINT_MISSING") || error == Unknown("CBT_DISK_REPLACED")) << error;
  ASSERT_OK(view->Close());
}

TEST_F(ChangesContract, ACrashedAgentsCheckpointIsFoundByItsName) {
  const Checkpoint one = Mark("one");
  auto view = Begin("two", one);
  test().CrashAgent(std::move(view));
  ASSERT_OK(hv().CleanUp(uuid(), test().ScratchFolder(), "two"));
  EXPECT_THAT(test().Checkpoints(), ::testing::UnorderedElementsAre("umbra-one", "umbra-two"))
      << "a clean-up leaves them";
  ASSERT_OK(hv().RemoveCheckpoints(uuid(), one.name));
  EXPECT_THAT(test().Checkpoints(), ElementsAre("umbra-one"));
}

// --- off and saved ---

TEST_F(HypervisorContract, VmThatIsOffIsReadAsItIsAndCanBeStarted) {
  ASSERT_OK(test().Fill("vdb", 11 * base::kMiB, base::kMiB, 'O'));
  PointInTimeOptions options = Options();
  options.offline = true;
  EXPECT_EQ(ErrorOf(hv().PreparePointInTime(uuid(), options)),
            (Error{absl::StatusCode::kFailedPrecondition, "GUEST_STARTED"}));
  EXPECT_THAT(hv().ExistingState(uuid()).value(), IsEmpty());
  ASSERT_OK(hv().PowerOff(uuid()));
  EXPECT_THAT(hv().ExistingState(uuid()).value(), IsEmpty());
  options.disks = {"vda", "vdz"};
  EXPECT_EQ(ErrorOf(hv().PreparePointInTime(uuid(), options)), kInvalid);
  options.disks = {"vda", "vdb"};
  auto view = hv().BeginPointInTime(uuid(), options);
  ASSERT_OK(view);
  ASSERT_OK((*view)->Health());
  EXPECT_EQ(FirstByte(**view, "vdb", 11 * base::kMiB), 'O');
  EXPECT_EQ(ErrorOf((*view)->OpenDisk("vdz")), kInvalid);
  auto reader = *(*view)->OpenDisk("vda");
  EXPECT_GT(reader->Extents()->size(), 0u);
  EXPECT_EQ(hv().GetVm(uuid())->state, VmState::kOff) << "and it stays off";
  EXPECT_TRUE(hv().Start(uuid()).ok()) << "nobody holds its disks, also while one is being read";
  const Error started = {absl::StatusCode::kAborted, "GUEST_STARTED"};
  EXPECT_EQ(ErrorOf((*view)->Health()), started);
  reader.reset();
  EXPECT_TRUE((*view)->Close().ok());
}

TEST_F(HypervisorContract, VmThatAPersonSavedStaysSaved) {
  ASSERT_OK(test().Remember("saved"));
  ASSERT_OK(test().Fill("vdb", 13 * base::kMiB, base::kMiB, 'P'));
  test().SaveByHand();
  ASSERT_EQ(hv().GetVm(uuid())->state, VmState::kSaved);
  const std::string state = hv().ExistingState(uuid()).value();
  EXPECT_GT((*OpenFile(files(), state))->capacity_bytes(), 0u);
  PointInTimeOptions options = Options();
  options.offline = true;
  {
    auto view = hv().BeginPointInTime(uuid(), options);
    ASSERT_OK(view);
    EXPECT_EQ(FirstByte(**view, "vdb", 13 * base::kMiB), 'P');
    EXPECT_TRUE((*view)->Health().ok());
  }
  EXPECT_EQ(hv().GetVm(uuid())->state, VmState::kSaved);
  ASSERT_OK(hv().Start(uuid()));
  EXPECT_TRUE(test().Remembers("saved"));
}

// --- faults while a view is open ---

// The trap: QEMU pauses the guest when it can't preserve what is overwritten.
TEST_F(HypervisorContract, FullScratchFolderEndsTheViewAndTheVmRunsOn) {
  ASSERT_OK(test().Fill("vdb", 0, 128 * base::kMiB, 'E'));
  PointInTimeOptions options = Options();
  options.scratch_folder = test().SmallScratchFolder();
  auto view = hv().BeginPointInTime(uuid(), options);
  ASSERT_OK(view);
  std::thread writer([&] { test().Fill("vdb", 0, 128 * base::kMiB, 'F').IgnoreError(); });
  EXPECT_TRUE(WaitForState(VmState::kPaused));
  EXPECT_EQ(ErrorOf((*view)->Health()), kScratchFull);
  if (auto reader = (*view)->OpenDisk("vdb"); reader.ok()) {
    const auto nothing = [](uint64_t, base::Bytes) { return absl::OkStatus(); };
    EXPECT_EQ(ErrorOf((*reader)->ReadExtents({{0, base::kMiB, false}}, kPiece, nothing)), kScratchFull);
  }
  EXPECT_TRUE((*view)->Close().ok());
  EXPECT_EQ(hv().GetVm(uuid())->state, VmState::kRunning);
  writer.join();
  EXPECT_THAT(files().List(options.scratch_folder).value(), IsEmpty());
  EXPECT_TRUE(hv().CheckNoJob(uuid()).ok());
  EXPECT_EQ(hv().QueryGuestAgent(uuid(), kAgentTimeout)->state, GuestAgentState::kRunning);
}

TEST_F(HypervisorContract, GuestKilledWhileItsViewIsRead) {
  ASSERT_OK(test().Fill("vdb", 0, 64 * base::kMiB, 'G'));
  auto view = BeginView();
  auto reader = *view->OpenDisk("vdb");
  bool killed = false;
  const absl::Status status = reader->ReadExtents({{0, 64 * base::kMiB, false}}, kPiece, [&](uint64_t, base::Bytes) {
    if (!killed) test().KillGuest();
    killed = true;
    return absl::OkStatus();
  });
  EXPECT_EQ(ErrorOf(status), kStopped);
  EXPECT_TRUE(WaitForState(VmState::kOff));
  EXPECT_EQ(ErrorOf(view->Health()), kStopped);
  EXPECT_EQ(ErrorOf(reader->ReadExtents({{0, base::kMiB, false}}, kPiece, nullptr)), kStopped);
  reader.reset();
  EXPECT_TRUE(view->Close().ok());
  EXPECT_TRUE(hv().Start(uuid()).ok());
}

TEST_F(HypervisorContract, GuestShutDownWhileItsViewIsRead) {
  ASSERT_OK(test().Fill("vdb", 0, 64 * base::kMiB, 'H'));
  auto view = BeginView();
  auto reader = *view->OpenDisk("vdb");
  test().ShutDownGuest();
  absl::Status status;
  for (int i = 0; i < 2000 && status.ok(); ++i) {
    status = reader->ReadExtents({{0, 64 * base::kMiB, false}}, kPiece, [](uint64_t, base::Bytes) { return absl::OkStatus(); });
  }
  EXPECT_EQ(ErrorOf(status), kStopped);
  reader.reset();
  const absl::Duration start = clock().Monotonic();
  EXPECT_TRUE(view->Close().ok());
  EXPECT_LT(clock().Monotonic() - start, absl::Seconds(10)) << "QEMU's slow end is not waited for";
}

// --- restore ---

TEST_F(HypervisorContract, CreatesDisksOnlyWhole) {
  const std::string path = test().TargetFolder() + "/new.raw";
  {
    auto writer = hv().CreateDisk({path, "raw", 8 * base::kMiB});
    ASSERT_OK(writer);
    EXPECT_EQ(ErrorOf(hv().CreateDisk({path, "raw", base::kMiB})),
              (Error{absl::StatusCode::kAlreadyExists, "TARGET_EXISTS"}));
    EXPECT_FALSE((*writer)->WriteAt(8 * base::kMiB - 1, base::AsBytes("xy")).ok()) << "beyond the end";
  }
  EXPECT_FALSE(files().Exists(path).value()) << "the writer ended without Finish";
  EXPECT_EQ(ErrorOf(hv().CreateDisk({path, "cloop", base::kMiB})), kInvalid);
  EXPECT_EQ(ErrorOf(hv().CreateDisk({path, "raw", 1000})), kInvalid);
}

TEST_F(HypervisorContract, RestoresAsANewVm) {
  ASSERT_OK(test().Fill("vdb", 5 * base::kMiB, 2 * base::kMiB, 'I'));
  const VmInfo original = hv().GetVm(uuid()).value();
  DefineOptions options{hv().Configuration(uuid()).value(), original.name + "-new", {}};
  {
    auto view = BeginView();
    for (const Disk& disk : original.disks) {
      const std::string path = fmt::format("{}/new-{}.{}", test().TargetFolder(), disk.name, disk.format);
      ASSERT_OK(Copy(*view, disk, path));
      options.disk_paths.emplace_back(disk.name, path);
    }
  }
  const auto defined = hv().DefineVm(options);
  ASSERT_OK(defined);
  EXPECT_THAT(defined->warnings, IsEmpty());
  EXPECT_EQ(defined->name, original.name + "-new");
  const VmInfo restored = hv().GetVm(defined->uuid).value();
  EXPECT_NE(restored.uuid, original.uuid);
  EXPECT_EQ(restored.state, VmState::kOff);
  ASSERT_THAT(restored.adapters, SizeIs(1));
  EXPECT_NE(restored.adapters[0].mac, original.adapters[0].mac);
  EXPECT_EQ(restored.adapters[0].network, original.adapters[0].network);
  EXPECT_EQ(restored.disks[1].path, options.disk_paths[1].second);
  EXPECT_EQ(ErrorOf(hv().DefineVm(options)), (Error{absl::StatusCode::kAlreadyExists, "VM_EXISTS"})) << "the name is taken";

  ASSERT_OK(hv().Start(defined->uuid));
  EXPECT_TRUE(hv().Start(defined->uuid).ok()) << "it runs already";
  auto view = hv().BeginPointInTime(defined->uuid, {{"vdb"}, test().ScratchFolder(), "umbra-contract"});
  ASSERT_OK(view);
  EXPECT_EQ(FirstByte(**view, "vdb", 5 * base::kMiB), 'I');
  EXPECT_EQ(FirstByte(**view, "vdb", 7 * base::kMiB - 1), 'I');
  ASSERT_OK((*view)->Close());
  ASSERT_OK(hv().DeleteVm(defined->uuid));
  EXPECT_EQ(ErrorOf(hv().GetVm(defined->uuid)), kNotFound);
  for (const auto& [name, path] : options.disk_paths) EXPECT_TRUE(files().Remove(path).ok()) << "its files stay";
}

TEST_F(HypervisorContract, RestoresInPlaceUnderTheOldIdentity) {
  const VmInfo original = hv().GetVm(uuid()).value();
  DefineOptions options{hv().Configuration(uuid()).value(), "", {}};
  for (const Disk& disk : original.disks) options.disk_paths.emplace_back(disk.name, disk.path);
  EXPECT_EQ(ErrorOf(hv().DefineVm(options)), (Error{absl::StatusCode::kAlreadyExists, "VM_EXISTS"}));

  ASSERT_OK(hv().DeleteVm(uuid()));
  const auto defined = hv().DefineVm(options);
  ASSERT_OK(defined);
  EXPECT_EQ(defined->uuid, original.uuid);
  const VmInfo restored = hv().GetVm(uuid()).value();
  EXPECT_EQ(restored.name, original.name);
  EXPECT_EQ(restored.adapters[0].mac, original.adapters[0].mac);
  EXPECT_TRUE(hv().Start(uuid()).ok());
}

TEST_F(HypervisorContract, RegistersAVmExactlyAsItWas) {
  const std::string before = hv().Configuration(uuid()).value();
  DefineOptions options{before, "", {}};
  options.unchanged = true;
  EXPECT_EQ(ErrorOf(hv().DefineVm(options)), (Error{absl::StatusCode::kAlreadyExists, "VM_EXISTS"}));
  ASSERT_OK(hv().DeleteVm(uuid()));
  const auto defined = hv().DefineVm(options);
  ASSERT_OK(defined);
  EXPECT_EQ(defined->uuid, uuid());
  EXPECT_THAT(defined->warnings, IsEmpty());
  EXPECT_EQ(hv().Configuration(uuid()).value(), before);
  EXPECT_EQ(hv().GetVm(uuid())->state, VmState::kOff);
  EXPECT_TRUE(hv().Start(uuid()).ok());
}

TEST_F(HypervisorContract, TellsOfDisksThatTheGuestAttachedItself) {
  EXPECT_THAT(hv().QueryGuestAgent(uuid(), kAgentTimeout)->own_disks, IsEmpty());
  const std::string name = test().AttachInGuest();
  if (name.empty()) GTEST_SKIP() << "the guest has nothing to attach";
  const auto agent = hv().QueryGuestAgent(uuid(), kAgentTimeout);
  ASSERT_OK(agent);
  ASSERT_THAT(agent->own_disks, SizeIs(1)) << "and none of the hypervisor's";
  EXPECT_EQ(agent->own_disks[0].name, name);
  EXPECT_EQ(agent->own_disks[0].bus, "iscsi");
  const VmInfo vm = hv().GetVm(uuid()).value();
  for (const Disk& disk : vm.disks) EXPECT_NE(disk.name, name) << "the hypervisor can't see it";
  test().DetachInGuest();
  EXPECT_THAT(hv().QueryGuestAgent(uuid(), kAgentTimeout)->own_disks, IsEmpty());
}

// A VM with an internal checkpoint and an external one on it.
TEST_F(HypervisorContract, ListsCheckpointsOfItsOwnAndKeepsThemWhoseContentIsThere) {
  EXPECT_THAT(hv().GetVm(uuid())->checkpoints, IsEmpty());
  test().KeepCheckpoint("inside", CheckpointKind::kInternal);
  test().KeepCheckpoint("beside", CheckpointKind::kExternal);
  const VmInfo original = hv().GetVm(uuid()).value();
  ASSERT_THAT(original.checkpoints, SizeIs(2));
  const OwnCheckpoint &inside = original.checkpoints[0], &beside = original.checkpoints[1];
  EXPECT_EQ(inside, (OwnCheckpoint{"inside", "", CheckpointKind::kInternal, false, inside.create_time, false}));
  EXPECT_EQ(beside, (OwnCheckpoint{"beside", "inside", CheckpointKind::kExternal, false, beside.create_time, true}));
  for (const OwnCheckpoint& checkpoint : original.checkpoints) {
    EXPECT_LT(absl::AbsDuration(clock().Now() - checkpoint.create_time), absl::Minutes(5));
  }

  // What a backup makes is none, and a view shows the present content.
  ASSERT_OK(test().Fill("vdb", 0, base::kMiB, 'C'));
  {
    auto view = BeginView();
    EXPECT_EQ(FirstByte(*view, "vdb", 0), 'C');
    EXPECT_THAT(hv().GetVm(uuid())->checkpoints, SizeIs(2));
  }

  // Registered as it was, it has them all; with a disk replaced, those whose content is elsewhere.
  DefineOptions options{hv().Configuration(uuid()).value(), "", {}};
  options.unchanged = true;
  ASSERT_OK(hv().DeleteVm(uuid()));
  ASSERT_OK(hv().DefineVm(options));
  EXPECT_EQ(hv().GetVm(uuid())->checkpoints, original.checkpoints);
  ASSERT_OK(hv().DeleteVm(uuid()));
  options.unchanged = false;
  for (const Disk& disk : original.disks) options.disk_paths.emplace_back(disk.name, disk.path);
  const auto defined = hv().DefineVm(options);
  ASSERT_OK(defined);
  EXPECT_EQ(hv().GetVm(uuid())->checkpoints,
            (std::vector<OwnCheckpoint>{{"beside", "", CheckpointKind::kExternal, false, beside.create_time, true}}));

  // Another identity has none.
  DefineOptions copy = options;
  copy.new_name = original.name + "-copy";
  const auto copied = hv().DefineVm(copy);
  ASSERT_OK(copied);
  EXPECT_THAT(hv().GetVm(copied->uuid)->checkpoints, IsEmpty());
  ASSERT_OK(hv().DeleteVm(copied->uuid));
  ASSERT_OK(hv().Start(uuid()));
  test().ForgetCheckpoints();
  EXPECT_THAT(hv().GetVm(uuid())->checkpoints, IsEmpty());
}

// The trap: the obvious way to write a disconnected adapter crashes libvirtd.
TEST_F(HypervisorContract, AdapterWithoutItsNetworkIsLeftDisconnected) {
  const VmInfo original = hv().GetVm(uuid()).value();
  DefineOptions options{test().WithoutNetwork(hv().Configuration(uuid()).value()), "contract-unplugged", {}};
  const std::string path = test().TargetFolder() + "/unplugged.raw";
  ASSERT_OK((*hv().CreateDisk({path, "raw", 8 * base::kMiB}))->Finish());
  options.disk_paths = {{"vdb", path}};
  const auto defined = hv().DefineVm(options);
  ASSERT_OK(defined);
  EXPECT_THAT(ReasonsOf(defined->warnings), UnorderedElementsAre("ADAPTER_DISCONNECTED", "DISK_LEFT_OUT", "DISK_LEFT_OUT"))
      << "for vda and vdc";
  const VmInfo vm = hv().GetVm(defined->uuid).value();
  ASSERT_THAT(vm.adapters, SizeIs(1));
  EXPECT_THAT(vm.adapters[0].network, IsEmpty());
  EXPECT_THAT(vm.disks, SizeIs(1)) << "what was not restored is left out";
  EXPECT_TRUE(hv().Start(defined->uuid).ok());
  EXPECT_TRUE(hv().DeleteVm(defined->uuid).ok());
  EXPECT_TRUE(hv().Version().ok()) << "the hypervisor survived it";
}

TEST_F(HypervisorContract, StartNamesTheMissingDisk) {
  DefineOptions options{hv().Configuration(uuid()).value(), "contract-missing", {}};
  options.disk_paths = {{"vda", "/nowhere/a.qcow2"}, {"vdb", "/nowhere/b.raw"}};
  const auto defined = hv().DefineVm(options);
  ASSERT_OK(defined);
  const absl::Status status = hv().Start(defined->uuid);
  EXPECT_EQ(ErrorOf(status), (Error{absl::StatusCode::kFailedPrecondition, "DISK_MISSING"}));
  EXPECT_THAT(base::MessageOf(status), ::testing::HasSubstr("/nowhere/a.qcow2"));
  EXPECT_TRUE(hv().DeleteVm(defined->uuid).ok());
  options.configuration = "<nonsense>";
  EXPECT_EQ(ErrorOf(hv().DefineVm(options)), kInvalid);
}

}  // namespace

std::string NewTemporaryFolder() {
  std::string pattern = "/tmp/umbra-hv-XXXXXX";
  UMBRA_CHECK(mkdtemp(pattern.data()) != nullptr);
  return pattern;
}

}  // namespace umbra::hypervisor
