// A backup assignment, carried out by a simulated agent: the real calls of the data service with a disk of one chunk
// for each machine.
#ifndef UMBRA_TESTS_FLEET_BACKUP_H_
#define UMBRA_TESTS_FLEET_BACKUP_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "tests/fleet/agent.h"
#include "umbra/store/v1/store.grpc.pb.h"

namespace umbra::fleet {

// Steps, each begun when the one before has been answered; an agent may die at the beginning of each.
enum class Step { kAccept, kOpen, kNegotiate, kUpload, kMap, kCommit, kCommitSent, kResult, kDone };

// Owners: the agent, and each call that is under way. Thread-safe.
class Backup : public std::enable_shared_from_this<Backup> {
 public:
  // `dies`: the step at which its agent does; kDone: none. `cuts`: the same for the link.
  Backup(Agent& agent, agent::v1::Assignment assignment, std::shared_ptr<grpc::Channel> channel, Step dies, Step cuts);

  void Start() { Begin(Step::kAccept); }
  // Its agent is gone, or was told to stop: calls are cut, and nothing more is begun.
  void Stop();

  const agent::v1::Assignment& assignment() const { return assignment_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

 private:
  struct Vm {
    std::string uuid;
    std::string data;
    std::string chunk_id;
    bool wanted = false;
  };

  using Then = std::function<void(const absl::Status&)>;

  // Faults and slowness, then the step.
  void Begin(Step step);
  void Do(Step step);
  void Open();
  void MakeData();
  void Negotiate();
  void Upload();
  void PutMap(size_t vm);
  void Commit();
  void Finish(const absl::Status& status);
  // Tells of the steps of progress from `done` on that the options ask for, then begins to send.
  void Report(int done, int all);
  void SayPhase(umbra::v1::Job::Phase phase);
  store::v1::Manifest ManifestOf(const Vm& vm) const;

  // A context for the next call; null when this was stopped.
  std::shared_ptr<grpc::ClientContext> NewCall();
  // What a call's answer leads to: `then` when all is well, else the end.
  std::function<void(const grpc::Status&)> After(std::shared_ptr<grpc::ClientContext> context,
                                                 std::function<void()> then);

  Agent& agent_;
  const agent::v1::Assignment assignment_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<store::v1::StoreService::Stub> stub_;
  const Step dies_, cuts_;

  // One step at a time touches these.
  std::vector<Vm> vms_;
  store::v1::OpenSessionRequest open_request_;
  store::v1::OpenSessionResponse session_;
  store::v1::NegotiateRequest negotiate_request_;
  store::v1::NegotiateResponse negotiated_;
  store::v1::UploadRequest upload_request_;
  store::v1::UploadResponse uploaded_;
  store::v1::PutDiskMapRequest map_request_;
  store::v1::PutDiskMapResponse mapped_;
  store::v1::CommitRequest commit_request_;
  store::v1::CommitResponse committed_;

  absl::Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::shared_ptr<grpc::ClientContext> call_ ABSL_GUARDED_BY(mu_);  // shared with its callback
};

}  // namespace umbra::fleet

#endif  // UMBRA_TESTS_FLEET_BACKUP_H_
