#include "tests/fleet/fleet.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <thread>
#include <utility>

#include "absl/synchronization/notification.h"
#include "agent/link/enrolment.h"
#include "storage/base/status.h"
#include "umbra/v1/host.grpc.pb.h"

namespace umbra::fleet {
namespace {

// Each waits for the daemon's signature and two synced writes most of its time.
constexpr int kEnrolThreads = 8;

}  // namespace

std::string Fleet::FolderOf(int agent) const {
  return fmt::format("{}/{:05}", world_.options.folder, agent);
}

absl::StatusOr<link::Identity> Fleet::Identify(int agent) {
  ASSIGN_OR_RETURN(std::optional<link::Identity> identity, link::LoadIdentity(files_, FolderOf(agent)));
  if (identity.has_value()) return *std::move(identity);
  const auto channel = grpc::CreateChannel("unix:" + world_.options.api_socket, grpc::InsecureChannelCredentials());
  grpc::ClientContext context;
  umbra::v1::EnrolmentToken token;
  const grpc::Status made = umbra::v1::HostService::NewStub(channel)->CreateEnrolmentToken(&context, {}, &token);
  if (!made.ok()) return absl::UnavailableError("no enrolment token: " + made.error_message());
  return link::Enrol(files_, world_.clock,
                     {.token = token.token(),
                      .address = world_.options.enrolment_address,
                      .host_name = fmt::format("fleet-{:05}", agent),
                      .data_dir = FolderOf(agent)});
}

absl::Status Fleet::KeepCallbackThreads() {
  kept_ = grpc::CreateChannel("unix:" + world_.options.api_socket, grpc::InsecureChannelCredentials());
  const auto stub = umbra::v1::HostService::NewStub(kept_);
  grpc::ClientContext context;
  umbra::v1::ListHostsRequest request;
  umbra::v1::ListHostsResponse response;
  grpc::Status status;
  absl::Notification done;
  stub->async()->ListHosts(&context, &request, &response, [&](const grpc::Status& s) {
    status = s;
    done.Notify();
  });
  done.WaitForNotification();
  return status.ok() ? absl::OkStatus() : absl::UnavailableError("umbrad doesn't answer: " + status.error_message());
}

absl::Status Fleet::Enrol() {
  RETURN_IF_ERROR(KeepCallbackThreads());
  const auto count = static_cast<size_t>(world_.options.agents);
  std::vector<absl::StatusOr<link::Identity>> identities(count, absl::UnknownError("not enrolled"));
  std::atomic<size_t> next{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < kEnrolThreads; ++i) {
    threads.emplace_back([&] {
      for (size_t agent = next++; agent < count; agent = next++) identities[agent] = Identify(static_cast<int>(agent));
    });
  }
  threads.clear();  // joins
  for (size_t i = 0; i < count; ++i) {
    if (!identities[i].ok()) return base::Annotate(identities[i].status(), "agent {}", i);
    agents_.push_back(std::make_unique<Agent>(world_, static_cast<int>(i), *std::move(identities[i])));
  }
  return absl::OkStatus();
}

void Fleet::Start() {
  for (const auto& agent : agents_) agent->Start();
}

void Fleet::Storm(absl::Duration down) {
  for (const auto& agent : agents_) agent->Die(down);
}

void Fleet::CutLinks() {
  for (const auto& agent : agents_) agent->CutLink();
}

void Fleet::Stop() {
  for (const auto& agent : agents_) agent->Stop();
}

}  // namespace umbra::fleet
