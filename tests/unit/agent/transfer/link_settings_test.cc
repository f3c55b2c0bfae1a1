// Proves that a backup's pipeline has as much under way as its link needs, in no more memory, and what is measured.
#include "agent/transfer/link_settings.h"

#include <gtest/gtest.h>

#include "storage/base/status.h"
#include "tests/support/manual_clock.h"
#include "tests/support/memory_chunk_store.h"

namespace umbra::transfer {
namespace {

// What the settings take at most: the pool, and each batch twice.
uint64_t MemoryOf(const BackupSettings& settings) {
  return settings.memory_bytes + 2 * static_cast<uint64_t>(settings.uploaders) * settings.upload_batch_bytes;
}

TEST(SettingsForLink, ANearDaemonNeedsNothingMore) {
  const BackupSettings usual;
  for (const absl::Duration round_trip : {absl::ZeroDuration(), absl::Microseconds(300), absl::Milliseconds(5)}) {
    const BackupSettings settings = SettingsForLink(usual, round_trip);
    EXPECT_EQ(settings.uploaders, usual.uploaders);
    EXPECT_EQ(settings.askers, usual.askers);
    EXPECT_EQ(settings.memory_bytes, usual.memory_bytes);
  }
}

TEST(SettingsForLink, ALongLineIsFilled) {
  for (const int ms : {20, 50, 100, 150}) {
    const BackupSettings settings = SettingsForLink({}, absl::Milliseconds(ms));
    const uint64_t line_bytes = 125'000u * static_cast<uint64_t>(ms);
    EXPECT_GE(static_cast<uint64_t>(settings.uploaders) * settings.upload_batch_bytes, line_bytes * 3 / 2) << ms;
    EXPECT_GE(static_cast<uint64_t>(settings.askers) * 8 * base::kMiB, line_bytes) << ms;
    EXPECT_LE(MemoryOf(settings), 120 * base::kMiB) << ms;
    EXPECT_GE(settings.memory_bytes, BackupSettings().memory_bytes / 2) << ms;
    EXPECT_GE(settings.memory_bytes, line_bytes * 5 / 4)
        << "while their ids are asked about, chunks lie in the pool: " << ms;
  }
}

TEST(SettingsForLink, BeyondIsNoFurther) {
  const BackupSettings far = SettingsForLink({}, absl::Milliseconds(150));
  const BackupSettings moon = SettingsForLink({}, absl::Seconds(3));
  EXPECT_EQ(moon.uploaders, far.uploaders);
  EXPECT_EQ(moon.askers, far.askers);
  EXPECT_EQ(moon.memory_bytes, far.memory_bytes);
}

TEST(MeasureRoundTrip, TakesTheShorterOfTwoAnswers) {
  testing::ManualClock clock;
  testing::MemoryChunkStore store;
  const std::string session = store.OpenSession({})->session_id();
  int calls = 0;
  store.SetFault([&](const std::string&, int) {
    clock.Advance(absl::Milliseconds(++calls == 1 ? 700 : 150));  // the first one may have to wait for the connection
    return absl::OkStatus();
  });
  EXPECT_EQ(*MeasureRoundTrip(store, session, clock), absl::Milliseconds(150));
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(base::ReasonOf(MeasureRoundTrip(store, "another", clock).status()), "SESSION_NOT_FOUND");
}

}  // namespace
}  // namespace umbra::transfer
