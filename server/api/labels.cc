#include "server/api/labels.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "storage/base/invalid.h"
#include "storage/base/status.h"
#include "storage/base/utf8.h"

namespace umbra::api {
namespace {

using base::Invalid;

bool IsPlain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool IsKey(std::string_view key) {
  return !key.empty() && key.size() <= kLabelKeySizeMax && IsPlain(key.front()) && IsPlain(key.back()) &&
         std::ranges::all_of(
             key, [](char c) { return IsPlain(c) || std::string_view("._/-").find(c) != std::string::npos; });
}

bool IsValue(std::string_view value) {
  return value.size() <= kLabelValueSizeMax && base::ValidUtf8(value) == value &&
         std::ranges::all_of(value,
                             [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f && c != '"'; });
}

}  // namespace

absl::StatusOr<catalog::Labels> ChangedLabels(catalog::Labels labels,
                                              const google::protobuf::Map<std::string, std::string>& set,
                                              const google::protobuf::RepeatedPtrField<std::string>& remove) {
  for (const std::string& key : remove) {
    if (set.contains(key)) return Invalid("remove: \"{}\" is in set, too", key.substr(0, kLabelKeySizeMax));
    labels.erase(key);
  }
  for (const auto& [key, value] : set) {
    if (!IsKey(key)) {
      return Invalid("set: \"{}\": a key is 1 to {} of a-z, 0-9, and inside also . _ / -",
                     key.substr(0, kLabelKeySizeMax), kLabelKeySizeMax);
    }
    if (!IsValue(value)) {
      return Invalid("set: {}: a value is at most {} bytes of one line, without \"", key, kLabelValueSizeMax);
    }
    labels[key] = value;
  }
  if (labels.size() > kLabelsMax)
    return Invalid("set: at most {} labels, these would be {}", kLabelsMax, labels.size());
  return labels;
}

catalog::Event LabelsEvent(const std::string& resource, const std::string& display_name, const catalog::Labels& labels,
                           absl::Time now) {
  catalog::Event event;
  event.time = now;
  event.type = "LABELS_CHANGED";
  event.resource = resource;
  event.message = fmt::format("labels of {}:", display_name);
  for (const auto& [key, value] : labels) event.message += fmt::format(" {}={}", key, value);
  if (labels.empty()) event.message += " none";
  return event;
}

}  // namespace umbra::api
