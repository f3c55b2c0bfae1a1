// The catalog's records as messages of the public API. Pure functions; what they don't set is named.
#ifndef UMBRA_SERVER_API_CONVERT_H_
#define UMBRA_SERVER_API_CONVERT_H_

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include "absl/time/time.h"
#include "storage/catalog/records.h"
#include "umbra/v1/event.pb.h"
#include "umbra/v1/file_set.pb.h"
#include "umbra/v1/host.pb.h"
#include "umbra/v1/job.pb.h"
#include "umbra/v1/recovery_point.pb.h"
#include "umbra/v1/virtual_machine.pb.h"
#include "umbra/v1/writer.pb.h"

namespace umbra::api {

void ToProto(absl::Time time, google::protobuf::Timestamp* out);
void ToProto(absl::Duration duration, google::protobuf::Duration* out);
// Also of durations out of the message's range, which a caller may send.
absl::Duration FromProto(const google::protobuf::Duration& duration);
absl::Time FromProto(const google::protobuf::Timestamp& time);

void ToProto(const catalog::Host& host, bool online, v1::Host* out);
void ToProto(const catalog::Vm& vm, v1::VirtualMachine* out);
void ToProto(const catalog::HostId& host, const catalog::Writer& writer, v1::Writer* out);
// 0 when there is nothing to compare.
double RatioOf(int64_t whole, int64_t part);
void ToProto(const catalog::BackupFigures& figures, v1::BackupFigures* out);
void ToProto(const catalog::Damage& damage, v1::RecoveryPointDamage* out);
void ToProto(const catalog::FileSet& set, v1::FileSet* out);
void ToProto(const catalog::RecoveryPoint& point, v1::RecoveryPoint* out);
void ToProto(const catalog::Event& event, v1::Event* out);
void ToProto(const catalog::Job& job, v1::Job* out);
// Only the fields of the queue: policy, priority, times, retries, limits.
void ToProto(const catalog::BackupHooks& hooks, v1::BackupHooks* out);
void ToProto(const catalog::JobTerms& terms, v1::Job* out);
// Only the spec and the host.
void ToProto(const catalog::JobSpec& spec, v1::Job* out);

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_CONVERT_H_
