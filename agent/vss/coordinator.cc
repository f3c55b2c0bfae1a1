#include "agent/vss/coordinator.h"

#include <algorithm>

#include "agent/vss/engine_session.h"

namespace umbra::vss {
namespace {

// Hardware is asked before software before the system's own.
int Precedence(ProviderType type) {
  switch (type) {
    case ProviderType::kHardware:
      return 0;
    case ProviderType::kSoftware:
      return 1;
    default:
      return 2;
  }
}

}  // namespace

Coordinator::Coordinator(base::Clock& clock, base::Random& random, ProviderLimits limits, base::Threads& threads)
    : clock_(clock), random_(random), threads_(threads), limits_(limits) {}

Coordinator::~Coordinator() = default;

void Coordinator::AddWriter(Writer& writer) {
  writers_.push_back({&writer, std::make_unique<Lane>(clock_, threads_)});
  absl::MutexLock lock(&mu_);
  last_status_.push_back({writer.identity(), WriterState::kStable, absl::OkStatus(), 0});
}

void Coordinator::AddProvider(Provider& provider) {
  const int precedence = Precedence(provider.identity().type);
  const auto place = std::find_if(providers_.begin(), providers_.end(), [&](const ProviderSlot& slot) {
    return Precedence(slot.provider->identity().type) > precedence;
  });
  providers_.insert(place, {&provider, std::make_unique<Lane>(clock_, threads_)});
}

std::unique_ptr<Session> Coordinator::NewSession() {
  return std::make_unique<EngineSession>(*this, Guid::Literal(random_.Uuid()));
}

std::vector<WriterStatus> Coordinator::LastWriterStatus() const {
  absl::MutexLock lock(&mu_);
  return last_status_;
}

bool Coordinator::TakeCreation(const Guid& session_id, absl::Duration wait, const std::atomic<bool>& cancelled) {
  struct Turn {
    Coordinator* coordinator;
    Guid session_id;
    const std::atomic<bool>* cancelled;
  };
  Turn turn{this, session_id, &cancelled};
  const auto mine_or_off = +[](Turn* t) ABSL_EXCLUSIVE_LOCKS_REQUIRED(t->coordinator->mu_) {
    return t->cancelled->load() ||
           (t->coordinator->creating_.is_null() && t->coordinator->waiting_.front() == t->session_id);
  };
  absl::MutexLock lock(&mu_);
  waiting_.push_back(session_id);
  const bool ended = clock_.AwaitFor(mu_, absl::Condition(mine_or_off, &turn), wait);
  std::erase(waiting_, session_id);
  if (!ended || cancelled.load()) return false;
  creating_ = session_id;
  return true;
}

void Coordinator::WakeWaiting() {
  absl::MutexLock lock(&mu_);  // conditions are looked at when it is let go
}

void Coordinator::EndCreation(const Guid& session_id) {
  absl::MutexLock lock(&mu_);
  if (creating_ == session_id) creating_ = Guid();
}

void Coordinator::RememberStatus(const WriterStatus& status) {
  absl::MutexLock lock(&mu_);
  for (WriterStatus& known : last_status_) {
    if (known.identity.instance_id == status.identity.instance_id) known = status;
  }
}

}  // namespace umbra::vss
