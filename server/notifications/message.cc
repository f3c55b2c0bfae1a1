#include "server/notifications/message.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/notifications/rules.h"
#include "storage/base/bytes.h"
#include "storage/base/status.h"
#include "storage/base/utf8.h"

namespace umbra::notifications {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kJsonVersion = 1;
constexpr size_t kTitleMax = 200;

std::string LocalTime(const Envelope& envelope, absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M %Z", time, envelope.zone);
}

std::string JsonTime(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json JsonOf(const Envelope& envelope, std::string_view kind, const std::string& title) {
  return {{"version", kJsonVersion},         {"id", envelope.id}, {"kind", kind}, {"daemon", envelope.daemon},
          {"time", JsonTime(envelope.time)}, {"title", title}};
}

std::string TitleOf(const Envelope& envelope, const std::string& what) {
  return OneLine(fmt::format("Umbra {}: {}", envelope.daemon, what), kTitleMax);
}

// ---- Notices ----

// Groups in the order in which they are told: what began by weight, then what is over.
struct Group {
  NoticeTopic topic;
  bool over;

  bool operator<(const Group& other) const {
    return std::make_pair(over, WeightOf(topic)) < std::make_pair(other.over, WeightOf(other.topic));
  }
};

Group GroupOf(const catalog::WaitingNotice& notice) {
  return {notice.topic, notice.phase == NoticePhase::kEnded || notice.phase == NoticePhase::kPassed};
}

std::string GroupText(const Group& group, int64_t count) {
  const TopicRule& rule = RuleOf(group.topic);
  return fmt::format("{}{} {}", group.over ? "over: " : "", count, count == 1 ? rule.one : rule.many);
}

std::string NoticeLine(const Envelope& envelope, const catalog::WaitingNotice& notice) {
  std::string line = fmt::format("  {}  {}: {}", LocalTime(envelope, notice.last), OneLine(notice.title, kTextMax),
                                 OneLine(notice.message, kTextMax));
  if (notice.times > 1) line += fmt::format(" ({} times)", notice.times);
  return line + "\n";
}

Json JsonOf(const catalog::WaitingNotice& notice) {
  return {{"topic", WordOf(notice.topic)},
          {"phase", WordOf(notice.phase)},
          {"subject", OneLine(notice.subject, kTextMax)},
          {"title", OneLine(notice.title, kTextMax)},
          {"message", OneLine(notice.message, kTextMax)},
          {"since", JsonTime(notice.first)},
          {"time", JsonTime(notice.last)},
          {"times", notice.times}};
}

// ---- Digest ----

std::string JobsLine(const catalog::EndedJobs& jobs) {
  std::string line = fmt::format("  {} {} {}", jobs.count, catalog::NameOf(jobs.kind), catalog::NameOf(jobs.state));
  if (jobs.stored_bytes > 0) {
    line += fmt::format(", {} new, {} stored", base::FormatSize(static_cast<uint64_t>(jobs.new_bytes)),
                        base::FormatSize(static_cast<uint64_t>(jobs.stored_bytes)));
  }
  return line + "\n";
}

Json JsonOf(const catalog::NoticeCondition& condition) {
  return {{"topic", WordOf(condition.topic)},
          {"subject", OneLine(condition.subject, kTextMax)},
          {"title", OneLine(condition.title, kTextMax)},
          {"message", OneLine(condition.message, kTextMax)},
          {"since", JsonTime(condition.since)},
          {"times", condition.times}};
}

int64_t CountOf(const std::vector<catalog::EndedJobs>& jobs, catalog::JobKind kind, catalog::JobState state) {
  int64_t count = 0;
  for (const catalog::EndedJobs& entry : jobs) {
    if (entry.kind == kind && entry.state == state) count += entry.count;
  }
  return count;
}

}  // namespace

std::string OneLine(const std::string& text, size_t max) {
  std::string line = base::ValidUtf8(text);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  if (line.size() <= max) return line;
  size_t cut = max;
  // Not into a character: its later bytes are 10xxxxxx.
  while (cut > 0 && (static_cast<unsigned char>(line[cut]) & 0xc0) == 0x80) --cut;
  line.resize(cut);
  return line;
}

Rendered RenderNotices(const Envelope& envelope, const Notices& notices) {
  std::vector<catalog::WaitingNotice> sorted = notices.notices;
  std::ranges::stable_sort(sorted, [](const auto& a, const auto& b) {
    const Group of_a = GroupOf(a), of_b = GroupOf(b);
    if (of_a < of_b || of_b < of_a) return of_a < of_b;
    return a.first < b.first;
  });
  std::map<Group, int64_t> counts;
  for (const catalog::WaitingNotice& notice : sorted) ++counts[GroupOf(notice)];
  std::string what;
  for (const auto& [group, count] : counts) what += (what.empty() ? "" : ", ") + GroupText(group, count);
  if (what.empty()) what = fmt::format("{} notices", notices.overflow_count);
  Rendered out{.title = TitleOf(envelope, what), .text = {}, .json = {}};

  Json list = Json::array();
  std::optional<Group> last;
  for (size_t i = 0; i < std::min(sorted.size(), kNamedMax); ++i) {
    const Group group = GroupOf(sorted[i]);
    if (!last || *last < group) out.text += fmt::format("{}{}:\n", last ? "\n" : "", GroupText(group, counts[group]));
    last = group;
    out.text += NoticeLine(envelope, sorted[i]);
    list.push_back(JsonOf(sorted[i]));
  }
  const int64_t unnamed =
      static_cast<int64_t>(sorted.size() - std::min(sorted.size(), kNamedMax)) + notices.overflow_count;
  if (unnamed > 0) out.text += fmt::format("\nand {} more, which are not named here: umbra event list\n", unnamed);
  if (notices.held_back) out.text += "\nSome of this was held back, so that there are not too many messages.\n";

  Json json = JsonOf(envelope, "notices", out.title);
  Json numbers = Json::array();
  for (const auto& [group, count] : counts) {
    numbers.push_back({{"topic", WordOf(group.topic)}, {"over", group.over}, {"count", count}});
  }
  json["counts"] = std::move(numbers);
  json["notices"] = std::move(list);
  json["unnamed_count"] = unnamed;
  json["held_back"] = notices.held_back;
  out.json = Dump(json);
  return out;
}

Rendered RenderDigest(const Envelope& envelope, const DigestFacts& facts) {
  using catalog::JobKind;
  using catalog::JobState;
  const int64_t good = CountOf(facts.jobs, JobKind::kBackup, JobState::kSucceeded);
  const int64_t bad = CountOf(facts.jobs, JobKind::kBackup, JobState::kFailed);
  const std::string open = facts.open.empty() ? "nothing is wrong" : fmt::format("{} open problems", facts.open.size());
  Rendered out{.title = TitleOf(envelope, fmt::format("{} backups succeeded, {} failed, {}", good, bad, open)),
               .text = {},
               .json = {}};
  out.text = fmt::format("From {} to {}:\n", LocalTime(envelope, facts.from), LocalTime(envelope, facts.to));
  Json jobs = Json::array();
  for (const catalog::EndedJobs& entry : facts.jobs) {
    out.text += JobsLine(entry);
    jobs.push_back({{"kind", catalog::NameOf(entry.kind)},
                    {"state", catalog::NameOf(entry.state)},
                    {"count", entry.count},
                    {"new_bytes", entry.new_bytes},
                    {"stored_bytes", entry.stored_bytes}});
  }
  if (facts.jobs.empty()) out.text += "  no job has ended\n";

  std::vector<catalog::NoticeCondition> sorted = facts.open;
  std::ranges::stable_sort(sorted, [](const auto& a, const auto& b) {
    return std::make_pair(WeightOf(a.topic), a.since) < std::make_pair(WeightOf(b.topic), b.since);
  });
  Json list = Json::array();
  out.text += sorted.empty() ? "\nNothing is wrong at present.\n" : "\nWrong at present:\n";
  for (size_t i = 0; i < std::min(sorted.size(), kNamedMax); ++i) {
    out.text += fmt::format("  since {}  {}: {}\n", LocalTime(envelope, sorted[i].since),
                            OneLine(sorted[i].title, kTextMax), OneLine(sorted[i].message, kTextMax));
    list.push_back(JsonOf(sorted[i]));
  }
  if (sorted.size() > kNamedMax) out.text += fmt::format("  and {} more\n", sorted.size() - kNamedMax);

  Json json = JsonOf(envelope, "digest", out.title);
  json["from"] = JsonTime(facts.from);
  json["to"] = JsonTime(facts.to);
  json["jobs"] = std::move(jobs);
  json["open"] = std::move(list);
  json["open_count"] = facts.open.size();
  out.json = Dump(json);
  return out;
}

Rendered RenderTest(const Envelope& envelope, const std::string& channel) {
  Rendered out{.title = TitleOf(envelope, fmt::format("test of {}", channel)), .text = {}, .json = {}};
  out.text = fmt::format("This is a test of the notification channel {}. Nothing is wrong.\n", channel);
  out.json = Dump(JsonOf(envelope, "test", out.title));
  return out;
}

}  // namespace umbra::notifications
