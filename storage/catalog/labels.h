// What people write on hosts and virtual machines to find and select them by, such as env=prod. docs/policies.md has
// the forms; who writes checks them (server/api).
#ifndef UMBRA_STORAGE_CATALOG_LABELS_H_
#define UMBRA_STORAGE_CATALOG_LABELS_H_

#include <map>
#include <string>

namespace umbra::catalog {

using Labels = std::map<std::string, std::string>;  // key to value

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_LABELS_H_
