// Policies between the public API and the catalog: checked on the way in.
#ifndef UMBRA_SERVER_API_POLICY_CONVERT_H_
#define UMBRA_SERVER_API_POLICY_CONVERT_H_

#include "absl/status/statusor.h"
#include "server/maintenance/repository_set.h"
#include "server/policies/policy_set.h"
#include "storage/catalog/policy_records.h"
#include "umbra/v1/policy.pb.h"

namespace umbra::api {

// The {policy} of a new policy's name. INVALID_ARGUMENT / INVALID_REQUEST.
absl::StatusOr<catalog::PolicyId> CheckPolicyId(const std::string& id);

// What the caller sets, with every default filled in; id, times, pause and revision are left alone. Besides those of
// policies::CompiledPolicy:
// INVALID_ARGUMENT / INVALID_REQUEST     naming the field.
// NOT_FOUND / REPOSITORY_NOT_FOUND
absl::StatusOr<catalog::Policy> FromProto(const v1::Policy& policy, const maintenance::RepositorySet& repositories);

catalog::PolicyRetention FromProto(const v1::PolicyRetention& retention);
absl::Status CheckRetention(const v1::PolicyRetention& retention);

// All but next_run_time.
void ToProto(const catalog::Policy& policy, v1::Policy* out);

std::string EtagOf(const catalog::Policy& policy);

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_POLICY_CONVERT_H_
