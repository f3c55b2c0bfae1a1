// Proves that what is told to the writer about a component arrives unchanged, whatever bytes it has.
#include "agent/writers/component_options.h"

#include <gtest/gtest.h>

#include "storage/base/status.h"

namespace umbra::writers {
namespace {

TEST(ComponentOptions, SurviveTheRoundTrip) {
  const BackupOptions backup{{true, true, true}, absl::Milliseconds(1500), "job-7-1"};
  EXPECT_EQ(*ParseBackupOptions(Print(backup)), backup);
  EXPECT_EQ(*ParseBackupOptions(""), BackupOptions());

  const RestoreOptions restore{"new; name=100%",
                               "<domain type='kvm'>\n\t<name>x</name>\n</domain>\n",
                               {{"vda", "/a b/c;d=e%20.img"}, {"vdb", "/\xC3\xA9"}},
                               "mail01",
                               true};
  EXPECT_EQ(*ParseRestoreOptions(Print(restore)), restore);

  const BackupFacts facts{"saved_state",
                          "GUEST_AGENT_NOT_RUNNING",
                          {{"GUEST_AGENT_NOT_RUNNING", "silent; since=1%"}, {"GUEST_FILESYSTEM_CANNOT_FREEZE", "vfat"}},
                          absl::Microseconds(134567),
                          absl::Microseconds(412345),
                          (uint64_t{5} << 32) + 1,
                          absl::FromUnixMicros(1'800'000'000'123'456),
                          {{"vda", "/x"}},
                          {{"first", "", hypervisor::CheckpointKind::kInternal, true, absl::FromUnixSeconds(7), false},
                           {"a,b=c;", "first,too", hypervisor::CheckpointKind::kExternal, false, absl::FromUnixSeconds(8),
                            true}}};
  EXPECT_EQ(*ParseBackupFacts(Print(facts)), facts);
}

TEST(ComponentOptions, KeepTheBaseOfAnIncrement) {
  BackupOptions options;
  options.owner_tag = "job-1-1";
  options.base = {"umbra-job-0-1", {{"vda", "/disks/a b;c.qcow2#12", uint64_t{5} << 40}, {"vdb", "", 512}}};
  EXPECT_EQ(*ParseBackupOptions(Print(options)), options);
  EXPECT_EQ(base::ReasonOf(ParseBackupOptions("base_disk.vda=much x").status()), "INVALID_REQUEST");
}

TEST(ComponentOptions, IgnoreKeysOfLaterVersions) {
  EXPECT_EQ(ParseBackupOptions("later=x;owner_tag=job-1-1")->owner_tag, "job-1-1");
}

TEST(ComponentOptions, RefuseWhatIsMalformed) {
  EXPECT_FALSE(ParseBackupFacts("state_bytes=-1").ok());
  EXPECT_FALSE(ParseBackupOptions("base_disk.vda=-4096 7").ok());
  for (const char* text : {"x", "a=%", "a=%4", "a=%zz", "freeze_timeout_us=soon", "a=1;;b=2"}) {
    EXPECT_EQ(base::ReasonOf(ParseBackupOptions(text).status()), "INVALID_REQUEST") << text;
  }
  for (const char* text : {"checkpoint.x=external", "checkpoint.x=external,,,soon,"}) {
    EXPECT_EQ(base::ReasonOf(ParseBackupFacts(text).status()), "INVALID_REQUEST") << text;
  }
}

}  // namespace
}  // namespace umbra::writers
