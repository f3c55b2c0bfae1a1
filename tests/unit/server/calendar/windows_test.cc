// Proves which times are open, when they open and close, over both changes of the clocks in every zone.
#include "server/calendar/windows.h"

#include "storage/base/status.h"
#include "tests/unit/server/calendar/zones.h"

namespace umbra::calendar {
namespace {

using Texts = std::vector<std::string>;

Openings Must(const Texts& windows, const Texts& closed = {}) {
  auto openings = Openings::Parse(windows, closed);
  EXPECT_TRUE(openings.ok()) << openings.status();
  return openings.ok() ? *openings : Openings();
}

absl::Time At(const std::string& text, const absl::TimeZone& zone) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime("%Y-%m-%d %H:%M", text, zone, &time, &error)) << text << error;
  return time;
}

std::string Text(std::optional<absl::Time> time, const absl::TimeZone& zone) {
  return time ? absl::FormatTime("%Y-%m-%d %H:%M%z", *time, zone) : "never";
}

TEST(WindowsTest, WithoutAnythingItIsAlwaysOpen) {
  const absl::Time now = absl::FromUnixSeconds(1'800'000'000);
  EXPECT_TRUE(Openings().IsOpen(now, absl::UTCTimeZone()));
  EXPECT_EQ(Openings().OpenFrom(now, absl::UTCTimeZone()), now);
  EXPECT_EQ(Openings().OpenUntil(now, absl::UTCTimeZone()), std::nullopt);
}

TEST(WindowsTest, AWindowPastMidnightBelongsToItsFirstDay) {
  const absl::TimeZone zone = Zone("Europe/Berlin");
  const Openings nights = Must({"mon-fri 20:00-06:00"});
  EXPECT_TRUE(nights.IsOpen(At("2026-11-27 23:00", zone), zone)) << "Friday night";
  EXPECT_TRUE(nights.IsOpen(At("2026-11-28 05:59", zone), zone)) << "goes on into Saturday";
  EXPECT_FALSE(nights.IsOpen(At("2026-11-28 06:00", zone), zone));
  EXPECT_FALSE(nights.IsOpen(At("2026-11-30 05:00", zone), zone)) << "Monday early is Sunday's night";
  EXPECT_EQ(Text(nights.OpenFrom(At("2026-11-28 06:00", zone), zone), zone), "2026-11-30 20:00+0100");
  EXPECT_EQ(Text(nights.OpenUntil(At("2026-11-27 23:00", zone), zone), zone), "2026-11-28 06:00+0100");
  EXPECT_EQ(nights.OpenUntil(At("2026-11-28 12:00", zone), zone), std::nullopt);
}

TEST(WindowsTest, WindowsThatTouchAreOneStretch) {
  const absl::TimeZone zone = absl::UTCTimeZone();
  const Openings openings = Must({"fri 20:00-24:00", "sat,sun 00:00-24:00", "mon 00:00-05:00"});
  EXPECT_EQ(Text(openings.OpenUntil(At("2026-11-27 21:00", zone), zone), zone), "2026-11-30 05:00+0000");
}

TEST(WindowsTest, ClosedTimesWin) {
  const absl::TimeZone zone = Zone("Europe/Berlin");
  const Openings openings =
      Must({"daily 20:00-06:00"}, {"2026-12-24..2026-12-26", "sun 00:00-24:00", "2026-12-31 18:00..2027-01-01 03:00"});
  EXPECT_TRUE(openings.IsOpen(At("2026-12-23 23:59", zone), zone));
  EXPECT_EQ(Text(openings.OpenUntil(At("2026-12-23 21:00", zone), zone), zone), "2026-12-24 00:00+0100");
  EXPECT_EQ(Text(openings.OpenFrom(At("2026-12-24 00:00", zone), zone), zone), "2026-12-28 00:00+0100")
      << "the 27th is a Sunday";
  EXPECT_EQ(Text(openings.OpenFrom(At("2026-12-31 20:00", zone), zone), zone), "2027-01-01 03:00+0100");
}

TEST(WindowsTest, TheClocksChangeWithinAWindow) {
  const absl::TimeZone zone = Zone("Europe/Berlin");
  const Openings openings = Must({"daily 01:00-02:30"});
  // 02:00 to 03:00 is skipped: the edge of 02:30 lies at the end of the gap.
  EXPECT_EQ(Text(openings.OpenUntil(At("2026-03-29 01:30", zone), zone), zone), "2026-03-29 03:00+0200");
  const Openings skipped = Must({"daily 02:10-04:00"});
  EXPECT_EQ(Text(skipped.OpenFrom(At("2026-03-29 01:30", zone), zone), zone), "2026-03-29 03:00+0200");
}

TEST(WindowsTest, WhatIsNoWindowIsRefused) {
  for (const char* text : {"", "mon", "20:00-06:00", "mon 20:00", "mon 20:00-20:00", "mon 25:00-26:00",
                           "abc 20:00-21:00", "mon 20-21", "2026-12-24..2026-12-27", "daily 24:00-02:00"}) {
    EXPECT_EQ(base::ReasonOf(Openings::Parse(Texts{text}, {}).status()), "INVALID_WINDOW") << text;
  }
  for (const char* text :
       {"..", "2026-12-24..", "2026-12-27..2026-12-24", "2026-02-30..2026-03-01", "2026-12-24 1:0..2026-12-25"}) {
    EXPECT_EQ(base::ReasonOf(Openings::Parse({}, Texts{text}).status()), "INVALID_WINDOW") << text;
  }
  EXPECT_EQ(base::ReasonOf(Openings::Parse(Texts{"mon 10:00-12:00"}, Texts{"daily 00:00-24:00"}).status()),
            "INVALID_WINDOW");
}

TEST(WindowsPropertyTest, EdgesAreWhereAWalkFindsThemInEveryZone) {
  std::mt19937_64 random(Seed());
  const Openings openings[] = {Must({"daily 00:30-03:10"}), Must({"mon-fri 20:00-06:00", "sat,sun 01:15-02:45"}),
                               Must({}, {"daily 01:40-02:20"})};
  for (const std::string& name : ZoneNames()) {
    const absl::TimeZone zone = Zone(name);
    const Openings& tested = openings[Below(random, 3)];
    const absl::Time change = RandomChange(zone, random);
    // Whole local minutes, also in zones with an offset of seconds.
    const absl::Time begin = change - absl::Hours(30) + absl::Minutes(Below(random, 120));
    bool open = tested.IsOpen(begin, zone);
    std::vector<absl::Time> walked, told;
    for (absl::Time at = begin + absl::Seconds(10); at <= begin + absl::Hours(48); at += absl::Seconds(10)) {
      if (tested.IsOpen(at, zone) == open) continue;
      open = !open;
      walked.push_back(at);
    }
    open = tested.IsOpen(begin, zone);
    for (absl::Time at = begin;;) {
      const auto next = open ? tested.OpenUntil(at, zone) : tested.OpenFrom(at, zone);
      if (!next || *next > begin + absl::Hours(48)) break;
      told.push_back(*next);
      at = *next;
      open = !open;
    }
    ASSERT_EQ(walked.size(), told.size()) << name << " around " << change;
    for (size_t i = 0; i < told.size(); ++i)
      EXPECT_LT(walked[i] - told[i], absl::Seconds(10)) << name << ' ' << told[i];
  }
}

}  // namespace
}  // namespace umbra::calendar
