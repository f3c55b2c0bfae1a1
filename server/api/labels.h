// Changes of labels as requests ask for them.
#ifndef UMBRA_SERVER_API_LABELS_H_
#define UMBRA_SERVER_API_LABELS_H_

#include <google/protobuf/map.h>
#include <google/protobuf/repeated_field.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/catalog/records.h"

namespace umbra::api {

// Enough for people and programs, and little enough for a page of a thousand machines.
inline constexpr size_t kLabelsMax = 32;
inline constexpr size_t kLabelKeySizeMax = 63;
inline constexpr size_t kLabelValueSizeMax = 255;

// `labels` without the keys in `remove` and with `set`. Keys: a-z, 0-9, and inside also . _ / -. Values: one line of
// UTF-8. INVALID_ARGUMENT / INVALID_REQUEST naming what is wrong: a key or a value, a key in both, more than
// kLabelsMax.
absl::StatusOr<catalog::Labels> ChangedLabels(catalog::Labels labels,
                                              const google::protobuf::Map<std::string, std::string>& set,
                                              const google::protobuf::RepeatedPtrField<std::string>& remove);

// What tells that `resource`, which people know as `display_name`, has `labels` from now on.
catalog::Event LabelsEvent(const std::string& resource, const std::string& display_name, const catalog::Labels& labels,
                           absl::Time now);

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_LABELS_H_
