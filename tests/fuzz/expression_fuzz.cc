// Target: what people write to select machines and to say when: filters of lists, selections of policies, schedules.
#include "server/calendar/schedule.h"
#include "server/policies/expression.h"
#include "tests/fuzz/fuzz.h"

namespace umbra::fuzz {
namespace {

void FuzzExpression(std::string_view text) {
  const auto expression = policies::Expression::Parse(text);
  if (!expression.ok()) return;
  Require(text.size() <= policies::kExpressionSizeMax, "an expression is bounded");
  const catalog::Subject machine = {{catalog::HostId("h1"), "3f0c"}, "web01", "host.example", {{"env", "prod"}}};
  // Long names are what patterns take long for.
  const catalog::Subject other = {{catalog::HostId("h2"), "fileset:shop"},
                                  std::string(300, 'a'),
                                  std::string(300, 'a'),
                                  {{"env", std::string(60, 'a')}}};
  const bool matches = expression->Matches(machine);
  const bool matches_other = expression->Matches(other);
  Require(!expression->empty() || (!matches && !matches_other), "an empty expression matches nothing");
  // Of a machine, which is what is meant where nothing else is said.
  const auto opposite = policies::Expression::Parse("not (" + std::string(text) + ")");
  Require(!opposite.ok() || opposite->Matches(machine) != matches, "not means the opposite");
}

void FuzzSchedule(std::string_view text) {
  const auto schedule = calendar::Schedule::Parse(text);
  if (!schedule.ok()) return;
  absl::Time at = absl::FromUnixSeconds(1'700'000'000);
  for (int i = 0; i < 3; ++i) {
    const auto next = schedule->NextAfter(at, absl::UTCTimeZone());
    if (!next) return;
    Require(*next > at, "what is due next comes later");
    at = *next;
  }
}

}  // namespace

std::vector<std::string> Seeds() {
  return {"0name=web* and not host=lab-*",
          "0(name=app01 or name=\"data base\") and kind=vm",
          "0uuid=3f0c*",
          "0label.env=prod or label.team=\"a b\"",
          "0kind=file-set and name=[a-z]*?",
          "0all",
          "1daily at 22:00",
          "1every 4 hours",
          "1weekly on sat, sun at 3:30",
          "1monthly on last fri at 1:00",
          "1*/5 8-18 * * mon-fri",
          "10 0 29 2 *"};
}

void TestOneInput(std::string_view input) {
  if (input.empty()) return;
  input[0] % 2 == 0 ? FuzzExpression(input.substr(1)) : FuzzSchedule(input.substr(1));
}

}  // namespace umbra::fuzz
