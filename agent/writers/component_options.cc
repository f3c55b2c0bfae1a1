#include "agent/writers/component_options.h"

#include <fmt/format.h>

#include <charconv>
#include <functional>
#include <optional>

#include "storage/base/bytes.h"
#include "storage/base/status.h"

namespace umbra::writers {
namespace {

constexpr std::string_view kDiskPrefix = "disk.";
constexpr std::string_view kObstaclePrefix = "obstacle.";
constexpr std::string_view kCheckpointPrefix = "checkpoint.";
constexpr std::string_view kBaseDiskPrefix = "base_disk.";  // its value: size and generation

std::string Encode(std::string_view value) {
  std::string text;
  for (const char c : value) {
    if (c == '%' || c == ';' || c == '=' || static_cast<unsigned char>(c) < ' ') {
      text += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    } else {
      text += c;
    }
  }
  return text;
}

std::optional<std::string> Decode(std::string_view text) {
  std::string value;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      value += text[i];
      continue;
    }
    const auto byte = base::FromHex(text.substr(i + 1, 2));
    if (!byte.has_value() || byte->size() != 1) return std::nullopt;
    value += *byte;
    i += 2;
  }
  return value;
}

class Printer {
 public:
  void Add(std::string_view key, std::string_view value) {
    if (value.empty()) return;
    if (!text_.empty()) text_ += ';';
    text_ += fmt::format("{}={}", Encode(key), Encode(value));
  }
  void AddDisks(const std::vector<std::pair<std::string, std::string>>& disks) {
    for (const auto& [name, path] : disks) Add(fmt::format("{}{}", kDiskPrefix, name), path);
  }
  void AddMicroseconds(std::string_view key, int64_t value) {
    if (value != 0) Add(key, std::to_string(value));
  }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
};

absl::Status Malformed(std::string_view what) {
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "malformed component option \"{}\"", what);
}

using Take = std::function<absl::Status(const std::string& key, const std::string& value)>;

absl::Status ForEach(std::string_view text, const Take& take) {
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find(';'));
    text.remove_prefix(std::min(text.size(), pair.size() + 1));
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) return Malformed(pair);
    const auto key = Decode(pair.substr(0, equals));
    const auto value = Decode(pair.substr(equals + 1));
    if (!key.has_value() || !value.has_value()) return Malformed(pair);
    RETURN_IF_ERROR(take(*key, *value));
  }
  return absl::OkStatus();
}

absl::Status ToNumber(const std::string& text, int64_t* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size() ? absl::OkStatus() : Malformed(text);
}

// Written as a signed number, so no larger one is ever there.
absl::Status ToSize(const std::string& text, uint64_t* size) {
  int64_t number = 0;
  RETURN_IF_ERROR(ToNumber(text, &number));
  if (number < 0) return Malformed(text);
  *size = static_cast<uint64_t>(number);
  return absl::OkStatus();
}

absl::Status ToDuration(const std::string& text, absl::Duration* duration) {
  int64_t microseconds = 0;
  RETURN_IF_ERROR(ToNumber(text, &microseconds));
  *duration = absl::Microseconds(microseconds);
  return absl::OkStatus();
}

// "external,memory,current,1800000000,PARENT"; the parent's name comes last, because it may hold anything.
std::string PrintCheckpoint(const hypervisor::OwnCheckpoint& checkpoint) {
  return fmt::format("{},{},{},{},{}", checkpoint.kind == hypervisor::CheckpointKind::kExternal ? "external" : "internal",
                     checkpoint.has_memory ? "memory" : "", checkpoint.current ? "current" : "",
                     absl::ToUnixSeconds(checkpoint.create_time), checkpoint.parent);
}

absl::StatusOr<hypervisor::OwnCheckpoint> ParseCheckpoint(std::string name, std::string_view text) {
  std::string fields[4];
  for (std::string& field : fields) {
    const size_t comma = text.find(',');
    if (comma == std::string_view::npos) return Malformed(text);
    field = text.substr(0, comma);
    text.remove_prefix(comma + 1);
  }
  hypervisor::OwnCheckpoint checkpoint;
  checkpoint.name = std::move(name);
  checkpoint.parent = text;
  if (fields[0] == "external") checkpoint.kind = hypervisor::CheckpointKind::kExternal;
  checkpoint.has_memory = fields[1] == "memory";
  checkpoint.current = fields[2] == "current";
  int64_t seconds = 0;
  RETURN_IF_ERROR(ToNumber(fields[3], &seconds));
  checkpoint.create_time = absl::FromUnixSeconds(seconds);
  return checkpoint;
}

bool TakeDisk(const std::string& key, const std::string& value,
              std::vector<std::pair<std::string, std::string>>* disks) {
  if (!std::string_view(key).starts_with(kDiskPrefix)) return false;
  disks->emplace_back(key.substr(kDiskPrefix.size()), value);
  return true;
}

}  // namespace

std::string Print(const BackupOptions& options) {
  Printer out;
  if (options.mechanism.child_snapshot_only) out.Add("mechanism", "child_snapshot");
  if (options.mechanism.forbid_saved_state) out.Add("saved_state", "forbid");
  if (options.mechanism.allow_crash_consistent) out.Add("crash_consistent", "allow");
  out.AddMicroseconds("freeze_timeout_us", absl::ToInt64Microseconds(options.freeze_timeout));
  out.Add("owner_tag", options.owner_tag);
  out.Add("base", options.base.name);
  for (const hypervisor::TrackedDisk& disk : options.base.disks) {
    out.Add(fmt::format("{}{}", kBaseDiskPrefix, disk.name),
            fmt::format("{} {}", disk.capacity_bytes, disk.generation));
  }
  return out.Take();
}

std::string Print(const RestoreOptions& options) {
  Printer out;
  out.Add("new_name", options.new_name);
  out.Add("vm_name", options.vm_name);
  if (options.take_cluster_offline) out.Add("cluster", "take_offline");
  out.AddDisks(options.disk_paths);
  out.Add("configuration", options.configuration);
  return out.Take();
}

std::string Print(const BackupFacts& facts) {
  Printer out;
  out.Add("mechanism", facts.mechanism);
  out.Add("mechanism_reason", facts.mechanism_reason);
  for (const Obstacle& obstacle : facts.obstacles) out.Add(fmt::format("{}{}", kObstaclePrefix, obstacle.reason), obstacle.message);
  out.AddMicroseconds("downtime_us", absl::ToInt64Microseconds(facts.downtime));
  if (facts.state_bytes != 0) out.Add("state_bytes", std::to_string(facts.state_bytes));
  out.AddMicroseconds("freeze_us", absl::ToInt64Microseconds(facts.freeze_duration));
  out.AddMicroseconds("point_time_us", absl::ToUnixMicros(facts.point_time));
  out.AddDisks(facts.disk_paths);
  for (const hypervisor::OwnCheckpoint& checkpoint : facts.checkpoints) {
    out.Add(fmt::format("{}{}", kCheckpointPrefix, checkpoint.name), PrintCheckpoint(checkpoint));
  }
  return out.Take();
}

absl::StatusOr<BackupOptions> ParseBackupOptions(std::string_view text) {
  BackupOptions options;
  RETURN_IF_ERROR(ForEach(text, [&](const std::string& key, const std::string& value) -> absl::Status {
    if (key == "mechanism") options.mechanism.child_snapshot_only = value == "child_snapshot";
    if (key == "saved_state") options.mechanism.forbid_saved_state = value == "forbid";
    if (key == "crash_consistent") options.mechanism.allow_crash_consistent = value == "allow";
    if (key == "freeze_timeout_us") return ToDuration(value, &options.freeze_timeout);
    if (key == "owner_tag") options.owner_tag = value;
    if (key == "base") options.base.name = value;
    if (std::string_view(key).starts_with(kBaseDiskPrefix)) {
      const size_t space = value.find(' ');
      uint64_t capacity_bytes = 0;
      RETURN_IF_ERROR(ToSize(value.substr(0, space), &capacity_bytes));
      options.base.disks.push_back({key.substr(kBaseDiskPrefix.size()),
                                    space == std::string::npos ? "" : value.substr(space + 1), capacity_bytes});
    }
    return absl::OkStatus();
  }));
  return options;
}

absl::StatusOr<RestoreOptions> ParseRestoreOptions(std::string_view text) {
  RestoreOptions options;
  RETURN_IF_ERROR(ForEach(text, [&](const std::string& key, const std::string& value) -> absl::Status {
    if (TakeDisk(key, value, &options.disk_paths)) return absl::OkStatus();
    if (key == "new_name") options.new_name = value;
    if (key == "vm_name") options.vm_name = value;
    if (key == "cluster") options.take_cluster_offline = value == "take_offline";
    if (key == "configuration") options.configuration = value;
    return absl::OkStatus();
  }));
  return options;
}

absl::StatusOr<BackupFacts> ParseBackupFacts(std::string_view text) {
  BackupFacts facts;
  RETURN_IF_ERROR(ForEach(text, [&](const std::string& key, const std::string& value) -> absl::Status {
    if (TakeDisk(key, value, &facts.disk_paths)) return absl::OkStatus();
    if (key == "mechanism") facts.mechanism = value;
    if (key == "mechanism_reason") facts.mechanism_reason = value;
    if (std::string_view(key).starts_with(kObstaclePrefix)) {
      facts.obstacles.push_back({key.substr(kObstaclePrefix.size()), value});
    }
    if (std::string_view(key).starts_with(kCheckpointPrefix)) {
      ASSIGN_OR_RETURN(auto checkpoint, ParseCheckpoint(key.substr(kCheckpointPrefix.size()), value));
      facts.checkpoints.push_back(std::move(checkpoint));
      return absl::OkStatus();
    }
    if (key == "downtime_us") return ToDuration(value, &facts.downtime);
    if (key == "freeze_us") return ToDuration(value, &facts.freeze_duration);
    if (key == "state_bytes") return ToSize(value, &facts.state_bytes);
    int64_t microseconds = 0;
    if (key == "point_time_us") RETURN_IF_ERROR(ToNumber(value, &microseconds));
    if (key == "point_time_us") facts.point_time = absl::FromUnixMicros(microseconds);
    return absl::OkStatus();
  }));
  return facts;
}

}  // namespace umbra::writers
