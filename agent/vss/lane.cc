#include "agent/vss/lane.h"

#include <exception>
#include <utility>

#include "storage/base/status.h"

namespace umbra::vss {
namespace {

absl::Status Guarded(const std::function<absl::Status()>& work) {
  try {
    return work();
  } catch (const std::exception& e) {
    return base::Error(absl::StatusCode::kInternal, "INTERNAL", "a handler threw: {}", e.what());
  } catch (...) {
    return base::Error(absl::StatusCode::kInternal, "INTERNAL", "a handler threw");
  }
}

}  // namespace

Lane::Lane(base::Clock& clock, base::Threads& threads)
    : clock_(clock), threads_(threads), thread_(threads.Start([this] { Run(); })) {}

Lane::~Lane() {
  absl::MutexLock lock(&mu_);
  stopping_ = true;
  std::erase_if(queue_, [](const CallPtr& call) { return !call->must_run; });
}

Lane::CallPtr Lane::Post(std::function<absl::Status()> work, bool must_run) {
  auto call = std::make_shared<Call>();
  call->work = std::move(work);
  call->must_run = must_run;
  absl::MutexLock lock(&mu_);
  queue_.push_back(call);
  return call;
}

bool Lane::Await(const CallPtr& call, absl::Duration timeout, Outcome* outcome) {
  absl::MutexLock lock(&mu_);
  if (!call->done && !clock_.AwaitFor(mu_, absl::Condition(&call->done), timeout)) return false;
  *outcome = {call->result, call->finished};
  return true;
}

void Lane::Abandon(const CallPtr& call) {
  absl::MutexLock lock(&mu_);
  if (!call->started && !call->must_run) std::erase(queue_, call);
}

bool Lane::IsDone(const CallPtr& call) const {
  absl::MutexLock lock(&mu_);
  return call->done;
}

void Lane::Run() {
  while (true) {
    CallPtr call;
    {
      absl::MutexLock lock(&mu_);
      threads_.Await(mu_, absl::Condition(
                              +[](Lane* lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lane->mu_) {
                                return lane->stopping_ || !lane->queue_.empty();
                              },
                              this));
      if (queue_.empty()) return;
      call = queue_.front();
      queue_.pop_front();
      call->started = true;
    }
    absl::Status result = Guarded(call->work);
    call->work = nullptr;  // what it owns goes before anybody learns that it ended
    const absl::Duration now = clock_.Monotonic();
    absl::MutexLock lock(&mu_);
    call->result = std::move(result);
    call->finished = now;
    call->done = true;
    // Let go of under the lock: the poster, who may hold a copy of the result, goes last and knows that nobody else has it.
    call.reset();
  }
}

}  // namespace umbra::vss
