// What a message is about, as what permissions can be limited to: hosts, policies, labels.
#ifndef UMBRA_SERVER_API_OBJECTS_H_
#define UMBRA_SERVER_API_OBJECTS_H_

#include <google/protobuf/message.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/identity/principal.h"
#include "storage/catalog/catalog.h"

namespace umbra::api {

// `text` is the name of a host, a virtual machine, a file set, a job, a recovery point or a policy: what belongs to
// somebody. Everything else (repositories, channels, users) belongs to the whole system.
bool IsOwnedName(std::string_view text);

// All such names in `message`, wherever they stand, each once, in the order of the fields. The services take these
// things by name and no other way, so nothing that a request is about is missing.
std::vector<std::string> OwnedNamesIn(const google::protobuf::Message& message);

// The first of them that isn't below another message; empty when there is none. What an item of a list is about.
std::string OwnedNameOf(const google::protobuf::Message& item);

// Looks up to whom things belong. Thread-safe; blocks for reads of the catalog.
class Objects {
 public:
  explicit Objects(catalog::Catalog& catalog) : catalog_(catalog) {}

  // What the resource of this name consists of: a job that works on three virtual machines is three objects. What
  // isn't there belongs to nobody but the whole system.
  absl::StatusOr<std::vector<identity::Object>> Of(const std::string& name);

 private:
  catalog::Catalog& catalog_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_OBJECTS_H_
