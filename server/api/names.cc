#include "server/api/names.h"

#include <algorithm>
#include <vector>

#include "storage/base/status.h"
#include "storage/filetree/subject.h"

namespace umbra::api {
namespace {

// Longer than any id of ours.
constexpr size_t kSegmentSizeMax = 128;
// What an error repeats of a bad name.
constexpr size_t kShownMax = 80;

bool IsId(std::string_view text) {
  return !text.empty() && text.size() <= kSegmentSizeMax && text != "-" &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                  c == '.';
         });
}

std::vector<std::string_view> Split(std::string_view text) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t slash = text.find('/');
    parts.push_back(text.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    text.remove_prefix(slash + 1);
  }
}

// The ids in `name` when it is "<collections[0]>/{id}/<collections[1]>/{id}...".
absl::StatusOr<std::vector<std::string>> Parse(std::string_view name, std::string_view field,
                                               const std::vector<std::string_view>& collections,
                                               std::string_view form) {
  const std::vector<std::string_view> parts = Split(name);
  bool fine = parts.size() == 2 * collections.size();
  std::vector<std::string> ids;
  for (size_t i = 0; fine && i < collections.size(); ++i) {
    fine = parts[2 * i] == collections[i] && IsId(parts[2 * i + 1]);
    ids.emplace_back(parts[2 * i + 1]);
  }
  if (fine) return ids;
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "{}: '{}' is not of the form {}", field,
                     name.substr(0, kShownMax), form);
}

template <typename Id>
absl::StatusOr<Id> ParseOne(std::string_view name, std::string_view field, std::string_view collection,
                            std::string_view form) {
  ASSIGN_OR_RETURN(std::vector<std::string> ids, Parse(name, field, {collection}, form));
  return Id(std::move(ids[0]));
}

}  // namespace

std::string NameOf(const catalog::HostId& id) {
  return "hosts/" + id.value;
}
std::string NameOf(const catalog::JobId& id) {
  return "jobs/" + id.value;
}
std::string NameOf(const catalog::RecoveryPointId& id) {
  return "recoveryPoints/" + id.value;
}
std::string NameOf(const catalog::PolicyId& id) {
  return "policies/" + id.value;
}
std::string NameOf(const catalog::RepositoryId& id) {
  return "repositories/" + id.value;
}
std::string NameOf(const catalog::ChannelId& id) {
  return "notificationChannels/" + id.value;
}
std::string NameOf(const catalog::VmKey& key) {
  if (const auto file_set = filetree::FileSetOf(key.uuid)) return NameOf(key.host) + "/fileSets/" + *file_set;
  return NameOf(key.host) + "/virtualMachines/" + key.uuid;
}

absl::StatusOr<catalog::HostId> ParseHostName(std::string_view name, std::string_view field) {
  return ParseOne<catalog::HostId>(name, field, "hosts", "hosts/{host}");
}

absl::StatusOr<std::optional<catalog::HostId>> ParseHostNameOrAll(std::string_view name, std::string_view field) {
  if (name == "hosts/-") return std::optional<catalog::HostId>();
  ASSIGN_OR_RETURN(catalog::HostId id, ParseHostName(name, field));
  return std::optional<catalog::HostId>(std::move(id));
}

absl::StatusOr<catalog::JobId> ParseJobName(std::string_view name, std::string_view field) {
  return ParseOne<catalog::JobId>(name, field, "jobs", "jobs/{job}");
}

absl::StatusOr<catalog::RecoveryPointId> ParseRecoveryPointName(std::string_view name, std::string_view field) {
  return ParseOne<catalog::RecoveryPointId>(name, field, "recoveryPoints", "recoveryPoints/{uuid}");
}

absl::StatusOr<DiskName> ParseDiskName(std::string_view name, std::string_view field) {
  constexpr std::string_view kDisks = "/disks/";
  const size_t at = name.find(kDisks);
  const std::string_view disk = at == std::string_view::npos ? "" : name.substr(at + kDisks.size());
  if (disk.empty() || disk.size() > kSegmentSizeMax || disk.find('/') != std::string_view::npos) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "{}: '{}' is not of the form {}", field,
                       name.substr(0, kShownMax), "recoveryPoints/{uuid}/disks/{disk}");
  }
  ASSIGN_OR_RETURN(catalog::RecoveryPointId point, ParseRecoveryPointName(name.substr(0, at), field));
  return DiskName{std::move(point), std::string(disk)};
}

absl::StatusOr<catalog::PolicyId> ParsePolicyName(std::string_view name, std::string_view field) {
  return ParseOne<catalog::PolicyId>(name, field, "policies", "policies/{policy}");
}

absl::StatusOr<catalog::RepositoryId> ParseRepositoryName(std::string_view name, std::string_view field) {
  return ParseOne<catalog::RepositoryId>(name, field, "repositories", "repositories/{repository}");
}

absl::StatusOr<catalog::ChannelId> ParseChannelName(std::string_view name, std::string_view field) {
  return ParseOne<catalog::ChannelId>(name, field, "notificationChannels", "notificationChannels/{channel}");
}

absl::StatusOr<std::optional<catalog::ChannelId>> ParseChannelNameOrAll(std::string_view name, std::string_view field) {
  if (name == "notificationChannels/-") return std::optional<catalog::ChannelId>();
  ASSIGN_OR_RETURN(catalog::ChannelId id, ParseChannelName(name, field));
  return std::optional<catalog::ChannelId>(std::move(id));
}

absl::StatusOr<NotificationName> ParseNotificationName(std::string_view name, std::string_view field) {
  ASSIGN_OR_RETURN(std::vector<std::string> ids, Parse(name, field, {"notificationChannels", "notifications"},
                                                       "notificationChannels/{channel}/notifications/{uuid}"));
  return NotificationName{catalog::ChannelId(std::move(ids[0])), std::move(ids[1])};
}

absl::StatusOr<RepositoryKeyName> ParseRepositoryKeyName(std::string_view name, std::string_view field) {
  ASSIGN_OR_RETURN(std::vector<std::string> ids,
                   Parse(name, field, {"repositories", "keys"}, "repositories/{repository}/keys/{key}"));
  return RepositoryKeyName{catalog::RepositoryId(std::move(ids[0])), std::move(ids[1])};
}

absl::StatusOr<catalog::VmKey> ParseFileSetName(std::string_view name, std::string_view field) {
  ASSIGN_OR_RETURN(std::vector<std::string> ids,
                   Parse(name, field, {"hosts", "fileSets"}, "hosts/{host}/fileSets/{file_set}"));
  return catalog::VmKey{catalog::HostId(std::move(ids[0])), filetree::SubjectOfFileSet(ids[1])};
}

absl::StatusOr<catalog::VmKey> ParseVmName(std::string_view name, std::string_view field) {
  ASSIGN_OR_RETURN(std::vector<std::string> ids,
                   Parse(name, field, {"hosts", "virtualMachines"}, "hosts/{host}/virtualMachines/{uuid}"));
  return catalog::VmKey{catalog::HostId(std::move(ids[0])), std::move(ids[1])};
}

}  // namespace umbra::api
