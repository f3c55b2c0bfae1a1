// Proves what the writer of a guest's file systems offers as components, and how long it lets a guest stand still.
#include "agent/guest/filesystem_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "agent/vss/errors.h"
#include "storage/base/status.h"
#include "tests/support/manual_clock.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/agent/writers/recording_hypervisor.h"

namespace umbra::guest {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr vss::Guid kInstance = vss::Guid::Literal("00000000-0000-4000-8000-000000000001");

class FilesystemWriterTest : public ::testing::Test {
 protected:
  FilesystemWriterTest() : simulated_(dir_.File("vms"), files_, clock_, random_) {
    vm_ = *simulated_.CreateVm({.name = "one", .disks = {{"vda", 1 << 20, {}}}});
  }

  std::vector<vss::Component> ComponentsOf(std::vector<hypervisor::GuestFilesystem> filesystems) {
    providers::GuestFreeze freeze(hypervisor_, clock_, vm_, limits_);
    FilesystemWriter writer(freeze, limits_, kInstance, std::move(filesystems), {"vda", "vdb"});
    return writer.OnIdentify({})->components;
  }

  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
  umbra::testing::ManualClock clock_;
  base::SeededRandom random_{1};
  hypervisor::SimulatedHypervisor simulated_;
  writers::RecordingHypervisor hypervisor_{simulated_};
  providers::FreezeLimits limits_;
  std::string vm_;
};

TEST_F(FilesystemWriterTest, EveryFileSystemOnDisksOfTheBackupIsAComponent) {
  const auto components = ComponentsOf({{"/", "ext4", {"vda"}, true},
                                        {"/data", "xfs", {"vda", "vdb"}, true},
                                        {"/data", "xfs", {"vda", "vdb"}, true},  // mounted twice
                                        {"/elsewhere", "ext4", {"sdc"}, true},   // its disk is excluded
                                        {"C:\\", "ntfs", {}, true}});            // disk not known
  ASSERT_EQ(components.size(), 3u);
  EXPECT_EQ(components[0].name, "/");
  EXPECT_EQ(components[0].caption, "ext4 at /");
  EXPECT_THAT(components[0].volumes, ElementsAre("/dev/vda/"));
  EXPECT_THAT(components[1].volumes, ElementsAre("/dev/vda/", "/dev/vdb/"));
  EXPECT_EQ(components[2].name, "C:/");
  EXPECT_THAT(components[2].volumes, ElementsAre("/dev/vda/", "/dev/vdb/"));
}

TEST_F(FilesystemWriterTest, GuestThatReportsNoneIsOneComponent) {
  const auto components = ComponentsOf({});
  ASSERT_EQ(components.size(), 1u);
  EXPECT_THAT(components[0].volumes, ElementsAre("/dev/vda/", "/dev/vdb/"));
}

TEST_F(FilesystemWriterTest, FreezesLastThawsFirstAndTakesNoPartInARestore) {
  providers::GuestFreeze freeze(hypervisor_, clock_, vm_, limits_);
  FilesystemWriter writer(freeze, limits_, kInstance, {}, {"vda"});
  EXPECT_EQ(writer.identity().level, vss::ApplicationLevel::kSystem);
  EXPECT_EQ(writer.OnIdentify({})->restore_method.writer_restore, vss::WriterRestore::kNever);
  EXPECT_THAT(hypervisor_.Take(), IsEmpty());
}

TEST_F(FilesystemWriterTest, WindowIsTheOneOfVssUnlessTheFreezeAloneMayTakeLonger) {
  EXPECT_EQ(FreezeWindowOf(limits_), absl::Seconds(60));
  limits_.freeze_timeout = absl::Minutes(5);
  EXPECT_EQ(FreezeWindowOf(limits_), absl::Minutes(5) + absl::Seconds(10));
}

TEST_F(FilesystemWriterTest, GuestThatStoodStillForTooLongIsThawedAndFails) {
  providers::GuestFreeze freeze(hypervisor_, clock_, vm_, limits_);
  FilesystemWriter writer(freeze, limits_, kInstance, {}, {"vda"});
  vss::EventContext context;
  ASSERT_TRUE(writer.OnFreeze(context).ok());
  clock_.Advance(absl::Seconds(61));
  const absl::Status thawed = writer.OnThaw(context);
  EXPECT_EQ(vss::CodeOf(thawed), vss::Code::kWriterErrorTimeout);
  EXPECT_FALSE(simulated_.IsFrozen(vm_));
  EXPECT_FALSE(freeze.thaw_owed());
}

TEST_F(FilesystemWriterTest, AbortThawsAndMayComeAgain) {
  providers::GuestFreeze freeze(hypervisor_, clock_, vm_, limits_);
  FilesystemWriter writer(freeze, limits_, kInstance, {}, {"vda"});
  vss::EventContext context;
  ASSERT_TRUE(writer.OnFreeze(context).ok());
  EXPECT_TRUE(writer.OnAbort(context).ok());
  EXPECT_TRUE(writer.OnAbort(context).ok());
  EXPECT_THAT(hypervisor_.Take(), ElementsAre("Freeze one", "Thaw one"));
}

}  // namespace
}  // namespace umbra::guest
