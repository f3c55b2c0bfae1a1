// Proves that progress never goes down, credits holes in step with data, and tells the rate of the last seconds.
#include "agent/transfer/progress_meter.h"

#include <gtest/gtest.h>

#include "tests/support/stepping_clock.h"

namespace umbra::transfer {
namespace {

TEST(ProgressMeter, CreditsHolesInStepWithData) {
  testing::SteppingClock clock;
  ProgressMeter meter(clock);
  const size_t disk = meter.AddDisk("vm", "vda", 1000);
  meter.SetDataBytes(disk, 100);
  meter.AddDone(disk, 50);
  EXPECT_EQ(meter.Figures().done_bytes, 500u);
  meter.AddDone(disk, 50);
  EXPECT_EQ(meter.Figures().done_bytes, 1000u);
  meter.AddDone(disk, 50);
  EXPECT_EQ(meter.Figures().done_bytes, 1000u) << "never beyond the total";
}

TEST(ProgressMeter, NeverGoesDown) {
  testing::SteppingClock clock;
  ProgressMeter meter(clock);
  const size_t disk = meter.AddDisk("vm", "vda", 1000);
  meter.SetDone(disk, 600);
  meter.SetDone(disk, 400);  // a slower worker's older message
  EXPECT_EQ(meter.Figures().done_bytes, 600u);
  meter.FinishDisk(disk);
  EXPECT_EQ(meter.Figures().disks[0].done_bytes, 1000u);
}

TEST(ProgressMeter, RateIsOfTheLastSecondsAndGivesTheEta) {
  testing::SteppingClock clock;
  ProgressMeter meter(clock);
  const size_t disk = meter.AddDisk("vm", "vda", 10'000);
  meter.SetDataBytes(disk, 10'000);
  EXPECT_FALSE(meter.Figures().eta.has_value());
  for (int i = 0; i < 20; ++i) {  // a fast start of 20 s ...
    clock.Advance(absl::Seconds(1));
    meter.AddRead(200);
    meter.AddDone(disk, 200);
    meter.Figures();
  }
  TransferFigures figures;
  for (int i = 0; i < 10; ++i) {  // ... that is forgotten after 5 s
    clock.Advance(absl::Seconds(1));
    meter.AddRead(100);
    meter.AddDone(disk, 100);
    figures = meter.Figures();
  }
  EXPECT_EQ(figures.rate_bytes_per_second, 100u);
  ASSERT_TRUE(figures.eta.has_value());
  EXPECT_EQ(*figures.eta, absl::Seconds(50));
  EXPECT_EQ(figures.read_bytes, 5000u);
}

}  // namespace
}  // namespace umbra::transfer
