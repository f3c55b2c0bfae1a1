#include "tests/fleet/backup.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "agent/link/rpc.h"
#include "storage/base/bytes.h"
#include "storage/base/status.h"
#include "storage/repo/chunk.h"

namespace umbra::fleet {
namespace {

constexpr char kDisk[] = "vda";
constexpr int64_t kReportedBytes = 1 << 20;
// As the real agent's.
constexpr absl::Duration kCallTimeout = absl::Minutes(2);
// About as long as a commit takes.
constexpr absl::Duration kCommitTime = absl::Milliseconds(30);

// A client stream with one message.
template <typename Request>
class OneMessage final : public grpc::ClientWriteReactor<Request> {
 public:
  OneMessage(const Request& request, std::function<void(const grpc::Status&)> then)
      : request_(request), then_(std::move(then)) {}

  void Start() {
    this->StartWriteLast(&request_, grpc::WriteOptions());
    this->StartCall();
  }

 private:
  void OnDone(const grpc::Status& status) override {
    const auto then = std::move(then_);
    delete this;
    then(status);
  }

  const Request& request_;
  std::function<void(const grpc::Status&)> then_;
};

}  // namespace

Backup::Backup(Agent& agent, agent::v1::Assignment assignment, std::shared_ptr<grpc::Channel> channel, Step dies,
               Step cuts)
    : agent_(agent),
      assignment_(std::move(assignment)),
      channel_(std::move(channel)),
      stub_(store::v1::StoreService::NewStub(channel_)),
      dies_(dies),
      cuts_(cuts) {}

void Backup::Stop() {
  absl::MutexLock lock(&mu_);
  stopped_ = true;
  if (call_ != nullptr) call_->TryCancel();
}

std::shared_ptr<grpc::ClientContext> Backup::NewCall() {
  absl::MutexLock lock(&mu_);
  if (stopped_) return nullptr;
  call_ = std::make_shared<grpc::ClientContext>();
  call_->set_deadline(absl::ToChronoTime(agent_.world().clock.Now() + kCallTimeout));
  return call_;
}

std::function<void(const grpc::Status&)> Backup::After(std::shared_ptr<grpc::ClientContext> context,
                                                       std::function<void()> then) {
  return [self = shared_from_this(), context = std::move(context), then = std::move(then)](const grpc::Status& status) {
    {
      absl::MutexLock lock(&self->mu_);
      self->call_.reset();
      if (self->stopped_) return;
    }
    if (!status.ok()) return self->Finish(link::FromRpcStatus(status));
    then();
  };
}

void Backup::Begin(Step step) {
  if (step == dies_) {
    ++agent_.world().tally.deaths;
    if (step != Step::kCommitSent) return agent_.Die(agent_.world().options.down);
    // While the daemon commits, or just after.
    agent_.world().timers.After(kCommitTime * agent_.world().random.Fraction(),
                                [agent = &agent_] { agent->Die(agent->world().options.down); });
  }
  if (step == cuts_) {
    ++agent_.world().tally.cuts;
    agent_.CutLink();
  }
  if (!agent_.slow()) return Do(step);
  agent_.world().timers.After(agent_.world().options.slow_step, [self = shared_from_this(), step] {
    {
      absl::MutexLock lock(&self->mu_);
      if (self->stopped_) return;
    }
    self->Do(step);
  });
}

void Backup::Do(Step step) {
  switch (step) {
    case Step::kAccept: {
      agent::v1::AgentMessage accepted;
      *accepted.mutable_accepted()->mutable_id() = assignment_.id();
      agent_.Say(std::move(accepted));
      return Begin(Step::kOpen);
    }
    case Step::kOpen:
      return Open();
    case Step::kNegotiate:
      return Negotiate();
    case Step::kUpload:
      return Upload();
    case Step::kMap:
      return PutMap(0);
    case Step::kCommit:
      return Begin(Step::kCommitSent);
    case Step::kCommitSent:
      return Commit();
    case Step::kResult:
      return Finish(absl::OkStatus());
    case Step::kDone:
      return;
  }
}

void Backup::SayPhase(umbra::v1::Job::Phase phase) {
  agent::v1::AgentMessage message;
  agent::v1::AssignmentProgress& progress = *message.mutable_progress();
  *progress.mutable_id() = assignment_.id();
  progress.set_phase(phase);
  progress.mutable_progress()->set_total_bytes(static_cast<int64_t>(vms_.size()) * agent_.world().options.disk_bytes);
  agent_.Say(std::move(message));
}

void Backup::Open() {
  const auto context = NewCall();
  if (context == nullptr) return;
  open_request_.set_job_id(assignment_.id().job_id());
  open_request_.set_attempt(assignment_.id().attempt());
  open_request_.set_repository(assignment_.backup().repository());
  stub_->async()->OpenSession(context.get(), &open_request_, &session_, After(context, [this] {
                                MakeData();
                                SayPhase(umbra::v1::Job::PHASE_TRANSFERRING);
                                Report(0, agent_.world().options.reports);
                              }));
}

void Backup::Report(int done, int all) {
  if (done == all) return Begin(Step::kNegotiate);
  {
    absl::MutexLock lock(&mu_);
    if (stopped_) return;
  }
  agent::v1::AgentMessage message;
  agent::v1::AssignmentProgress& progress = *message.mutable_progress();
  *progress.mutable_id() = assignment_.id();
  progress.set_phase(umbra::v1::Job::PHASE_TRANSFERRING);
  progress.mutable_progress()->set_done_bytes((done + 1) * kReportedBytes);
  progress.mutable_progress()->set_total_bytes(all * kReportedBytes);
  agent_.world().tally.Reported(agent_.world().clock.Now());
  agent_.Say(std::move(message));
  agent_.world().timers.After(absl::Milliseconds(agent_.world().options.report_ms.load()),
                              [self = shared_from_this(), done, all] { self->Report(done + 1, all); });
}

void Backup::MakeData() {
  const Options& options = agent_.world().options;
  const auto suite = repo::ToIdSuite(session_.id_suite());
  UMBRA_CHECK(suite.has_value() && session_.id_key().size() == repo::kIdKeySize);
  const repo::ChunkHasher hasher(*suite, base::AsBytes(session_.id_key()));
  for (const std::string& uuid : assignment_.backup().virtual_machines()) {
    Vm& vm = vms_.emplace_back();
    vm.uuid = uuid;
    vm.data = uuid + (options.fresh_data ? assignment_.id().job_id() + std::to_string(assignment_.id().attempt()) : "");
    while (vm.data.size() < static_cast<size_t>(options.disk_bytes)) vm.data += vm.data;
    vm.data.resize(static_cast<size_t>(options.disk_bytes));
    const repo::ChunkId id = hasher.Id(base::AsBytes(vm.data));
    vm.chunk_id.assign(reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size());
  }
}

void Backup::Negotiate() {
  const auto context = NewCall();
  if (context == nullptr) return;
  negotiate_request_.set_session_id(session_.session_id());
  for (const Vm& vm : vms_) negotiate_request_.mutable_chunk_ids()->append(vm.chunk_id);
  stub_->async()->Negotiate(context.get(), &negotiate_request_, &negotiated_, After(context, [this] {
                              bool any = false;
                              for (size_t i = 0; i < vms_.size() && i < negotiated_.wanted().size(); ++i) {
                                any |= vms_[i].wanted = negotiated_.wanted()[i] != 0;
                              }
                              Begin(any ? Step::kUpload : Step::kMap);
                            }));
}

void Backup::Upload() {
  const auto context = NewCall();
  if (context == nullptr) return;
  upload_request_.set_session_id(session_.session_id());
  for (const Vm& vm : vms_) {
    if (!vm.wanted) continue;
    store::v1::Chunk& chunk = *upload_request_.add_chunks();
    chunk.set_id(vm.chunk_id);
    chunk.set_plain_length(static_cast<uint32_t>(vm.data.size()));
    chunk.set_codec(static_cast<uint32_t>(repo::Codec::kRaw));
    chunk.set_data(vm.data);
  }
  auto* const writer =
      new OneMessage<store::v1::UploadRequest>(upload_request_, After(context, [this] { Begin(Step::kMap); }));
  stub_->async()->Upload(context.get(), &uploaded_, writer);
  writer->Start();
}

void Backup::PutMap(size_t vm) {
  if (vm == vms_.size()) return Begin(Step::kCommit);
  const auto context = NewCall();
  if (context == nullptr) return;
  map_request_.set_session_id(session_.session_id());
  map_request_.set_vm_uuid(vms_[vm].uuid);
  map_request_.set_disk(kDisk);
  map_request_.set_capacity_bytes(static_cast<int64_t>(vms_[vm].data.size()));
  map_request_.set_chunk_ids(vms_[vm].chunk_id);
  auto* const writer =
      new OneMessage<store::v1::PutDiskMapRequest>(map_request_, After(context, [this, vm] { PutMap(vm + 1); }));
  stub_->async()->PutDiskMap(context.get(), &mapped_, writer);
  writer->Start();
}

store::v1::Manifest Backup::ManifestOf(const Vm& vm) const {
  store::v1::Manifest manifest;
  manifest.set_vm_uuid(vm.uuid);
  manifest.set_vm_display_name("vm-" + vm.uuid.substr(0, 13));
  manifest.mutable_point_time()->set_seconds(absl::ToUnixSeconds(agent_.world().clock.Now()));
  manifest.set_mechanism(umbra::v1::BACKUP_MECHANISM_CHILD_SNAPSHOT);
  manifest.set_read_bytes(static_cast<int64_t>(vm.data.size()));
  store::v1::ManifestDisk& disk = *manifest.add_disks();
  disk.set_name(kDisk);
  disk.set_capacity_bytes(static_cast<int64_t>(vm.data.size()));
  disk.set_format("qcow2");
  disk.set_path("/simulated/" + vm.uuid);
  store::v1::ManifestDocument& document = *manifest.add_documents();
  document.set_kind("vm.configuration");
  document.set_content("<domain><uuid>" + vm.uuid + "</uuid></domain>");
  return manifest;
}

void Backup::Commit() {
  const auto context = NewCall();
  if (context == nullptr) return;
  commit_request_.set_session_id(session_.session_id());
  for (const Vm& vm : vms_) *commit_request_.add_manifests() = ManifestOf(vm);
  stub_->async()->Commit(context.get(), &commit_request_, &committed_, After(context, [this] {
                           agent_.world().tally.Committed(
                               {committed_.recovery_point_ids().begin(), committed_.recovery_point_ids().end()});
                           Begin(Step::kResult);
                         }));
}

void Backup::Finish(const absl::Status& status) {
  agent::v1::AssignmentResult result;
  *result.mutable_id() = assignment_.id();
  if (status.ok()) {
    ++agent_.world().tally.results;
    result.set_outcome(agent::v1::AssignmentResult::OUTCOME_SUCCEEDED);
    result.mutable_progress()->set_stored_bytes(committed_.stored_bytes());
  } else {
    const std::string reason(base::ReasonOf(status));
    agent_.world().tally.Failed("store: " + (reason.empty() ? base::Describe(status) : reason));
    result.set_outcome(agent::v1::AssignmentResult::OUTCOME_FAILED);
    result.mutable_error()->set_reason(reason.empty() ? "PEER_UNREACHABLE" : reason);
    result.mutable_error()->set_message(std::string(base::MessageOf(status)));
  }
  agent_.Ended(this, std::move(result));
}

}  // namespace umbra::fleet
