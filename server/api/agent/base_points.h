// The recovery points that the increments of a backup may start from.
#ifndef UMBRA_SERVER_API_AGENT_BASE_POINTS_H_
#define UMBRA_SERVER_API_AGENT_BASE_POINTS_H_

#include <vector>

#include "server/dispatch/assignment_table.h"
#include "server/maintenance/repository_set.h"
#include "storage/catalog/catalog.h"
#include "umbra/store/v1/store.pb.h"

namespace umbra::api {

// For each virtual machine of the assignment its newest recovery point in the repository, when that has tracking: an
// older one's checkpoint has been removed since. None is never an error, because a backup then reads everything.
std::vector<store::v1::BasePoint> ChooseBases(catalog::Catalog& catalog, const maintenance::OpenRepository& repository,
                                              const dispatch::Assignment& assignment);

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_BASE_POINTS_H_
