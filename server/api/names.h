// Resource names, such as "hosts/h1/virtualMachines/u2", to ids and back (AIP-122).
//
// Parsing: INVALID_ARGUMENT / INVALID_REQUEST, naming `field`, for anything that hasn't the form. Whether the resource
// exists is another question.
#ifndef UMBRA_SERVER_API_NAMES_H_
#define UMBRA_SERVER_API_NAMES_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "storage/catalog/ids.h"
#include "storage/catalog/notification_records.h"

namespace umbra::api {

std::string NameOf(const catalog::HostId& id);
std::string NameOf(const catalog::JobId& id);
std::string NameOf(const catalog::RecoveryPointId& id);
std::string NameOf(const catalog::PolicyId& id);
std::string NameOf(const catalog::RepositoryId& id);
std::string NameOf(const catalog::ChannelId& id);
// Of a virtual machine or a file set.
std::string NameOf(const catalog::VmKey& key);

absl::StatusOr<catalog::HostId> ParseHostName(std::string_view name, std::string_view field);
// "hosts/-" (all hosts) gives an empty optional.
absl::StatusOr<std::optional<catalog::HostId>> ParseHostNameOrAll(std::string_view name, std::string_view field);
absl::StatusOr<catalog::JobId> ParseJobName(std::string_view name, std::string_view field);
absl::StatusOr<catalog::RecoveryPointId> ParseRecoveryPointName(std::string_view name, std::string_view field);
struct DiskName {
  catalog::RecoveryPointId point;
  std::string disk;  // as the recovery point names it: anything but a slash
};
absl::StatusOr<DiskName> ParseDiskName(std::string_view name, std::string_view field);
absl::StatusOr<catalog::PolicyId> ParsePolicyName(std::string_view name, std::string_view field);
absl::StatusOr<catalog::RepositoryId> ParseRepositoryName(std::string_view name, std::string_view field);

absl::StatusOr<catalog::ChannelId> ParseChannelName(std::string_view name, std::string_view field);
// "notificationChannels/-" (all channels) gives an empty optional.
absl::StatusOr<std::optional<catalog::ChannelId>> ParseChannelNameOrAll(std::string_view name, std::string_view field);

struct NotificationName {
  catalog::ChannelId channel;
  std::string id;
};
absl::StatusOr<NotificationName> ParseNotificationName(std::string_view name, std::string_view field);

struct RepositoryKeyName {
  catalog::RepositoryId repository;
  std::string key;
};
absl::StatusOr<RepositoryKeyName> ParseRepositoryKeyName(std::string_view name, std::string_view field);

// "hosts/{host}/fileSets/{file_set}".
absl::StatusOr<catalog::VmKey> ParseFileSetName(std::string_view name, std::string_view field);
absl::StatusOr<catalog::VmKey> ParseVmName(std::string_view name, std::string_view field);

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_NAMES_H_
