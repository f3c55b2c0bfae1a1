#include "tests/sim/scheduler.h"

#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "storage/base/status.h"

#if defined(__SANITIZE_ADDRESS__)
#define UMBRA_SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UMBRA_SIM_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define UMBRA_SIM_TSAN 1
#endif
#endif
#if defined(UMBRA_SIM_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(UMBRA_SIM_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace umbra::sim {
namespace {

// Engine calls go some twenty frames deep, SQLite's and the compressor's come on top; the sanitizers' frames are
// several times larger. Pages that nobody touches cost nothing.
constexpr size_t kStackBytes = 1024 * 1024;

// A run has some thousand steps; one that gets here goes in circles.
constexpr int64_t kStepsMax = 20'000'000;

// The fiber that is being entered for the first time finds its scheduler here.
thread_local Scheduler* entering = nullptr;

void MakeContext(ucontext_t* context, char* stack, void (*enter)()) {
  getcontext(context);
  context->uc_stack.ss_sp = stack;
  context->uc_stack.ss_size = kStackBytes;
  context->uc_link = nullptr;
  makecontext(context, enter, 0);
}

}  // namespace

struct Scheduler::Fiber {
  int number = 0;
  ucontext_t context{};
  std::unique_ptr<char[]> stack;  // none for the thread's own
  std::function<void()> body;
  bool ended = false;
  const std::function<bool()>* ready = nullptr;  // while waiting
  absl::Duration deadline;
  bool met = false;  // whether `ready` was true when it was chosen
#if defined(UMBRA_SIM_ASAN)
  void* fake_stack = nullptr;
  const void* bottom = nullptr;
  size_t size = 0;
#endif
#if defined(UMBRA_SIM_TSAN)
  void* tsan = nullptr;
#endif
};

class Scheduler::FiberThread final : public base::Thread {
 public:
  FiberThread(Scheduler& scheduler, Fiber* fiber) : scheduler_(scheduler), fiber_(fiber) {}
  ~FiberThread() override {
    if (!fiber_->ended) scheduler_.Wait([this] { return fiber_->ended; }, absl::InfiniteDuration());
    scheduler_.ended_.push_back(fiber_);
  }

 private:
  Scheduler& scheduler_;
  Fiber* const fiber_;
};

Scheduler::Scheduler(uint64_t seed) : dice_(seed) {
  // It would take the locks of several fibers, which wait with them, for those of one thread.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  owned_.push_back(std::make_unique<Fiber>());
  current_ = owned_.back().get();
#if defined(UMBRA_SIM_TSAN)
  current_->tsan = __tsan_get_current_fiber();
#endif
  fibers_.push_back(current_);
}

Scheduler::~Scheduler() {
  UMBRA_CHECK(fibers_.size() == 1);
#if defined(UMBRA_SIM_TSAN)
  for (const auto& fiber : owned_) {
    if (fiber->stack != nullptr && fiber->tsan != nullptr) __tsan_destroy_fiber(fiber->tsan);
  }
#endif
}

std::unique_ptr<base::Thread> Scheduler::Start(std::function<void()> body) {
  Fiber* fiber = nullptr;
  if (!ended_.empty()) {
    fiber = ended_.back();
    ended_.pop_back();
  } else {
    owned_.push_back(std::make_unique<Fiber>());
    fiber = owned_.back().get();
    fiber->stack.reset(new char[kStackBytes]);
  }
  fiber->number = ++fiber_count_;
  fiber->body = std::move(body);
  fiber->ended = false;
  fiber->ready = nullptr;
#if defined(UMBRA_SIM_ASAN)
  __asan_unpoison_memory_region(fiber->stack.get(), kStackBytes);
#endif
#if defined(UMBRA_SIM_TSAN)
  if (fiber->tsan != nullptr) __tsan_destroy_fiber(fiber->tsan);
  fiber->tsan = __tsan_create_fiber(0);
#endif
  MakeContext(&fiber->context, fiber->stack.get(), &Scheduler::Enter);
  fibers_.push_back(fiber);
  return std::make_unique<FiberThread>(*this, fiber);
}

void Scheduler::Enter() {
  entering->RunBody();
}

void Scheduler::RunBody() {
#if defined(UMBRA_SIM_ASAN)
  Fiber* from = fibers_.front();
  __sanitizer_finish_switch_fiber(nullptr, from->bottom == nullptr ? &from->bottom : nullptr,
                                  from->size == 0 ? &from->size : nullptr);
#endif
  current_->body();
  current_->body = nullptr;
  current_->ended = true;
  std::erase(fibers_, current_);
  Switch();  // never comes back
  std::abort();
}

void Scheduler::SwitchTo(Fiber* next) {
  Fiber* const from = current_;
  if (next == from) return;
  current_ = next;
  entering = this;
#if defined(UMBRA_SIM_TSAN)
  __tsan_switch_to_fiber(next->tsan, 0);
#endif
#if defined(UMBRA_SIM_ASAN)
  const void* bottom = next->stack != nullptr ? next->stack.get() : next->bottom;
  const size_t size = next->stack != nullptr ? kStackBytes : next->size;
  __sanitizer_start_switch_fiber(from->ended ? nullptr : &from->fake_stack, bottom, size);
#endif
  swapcontext(&from->context, &next->context);
#if defined(UMBRA_SIM_ASAN)
  __sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);
#endif
}

Scheduler::Fiber* Scheduler::Choose() {
  std::vector<Fiber*> able;
  while (true) {
    absl::Duration next = absl::InfiniteDuration();
    able.clear();
    for (Fiber* fiber : fibers_) {
      fiber->met = fiber->ready == nullptr || (*fiber->ready)();
      if (fiber->met || fiber->deadline <= now_) {
        able.push_back(fiber);
      } else {
        next = std::min(next, fiber->deadline);
      }
    }
    if (!able.empty()) return able[able.size() == 1 ? 0 : dice_.Below(able.size())];
    if (next == absl::InfiniteDuration()) Stuck();
    now_ = next;
  }
}

void Scheduler::Switch() {
  if (++step_count_ > kStepsMax) Stuck();
  SwitchTo(Choose());
}

void Scheduler::Stuck() {
  std::fprintf(stderr, "simulation: nobody can go on at %s; waiting:", absl::FormatDuration(now_).c_str());
  for (const Fiber* fiber : fibers_) std::fprintf(stderr, " %d", fiber->number);
  std::fprintf(stderr, "\n");
  std::abort();
}

bool Scheduler::Wait(const std::function<bool()>& ready, absl::Duration deadline) {
  current_->ready = &ready;
  current_->deadline = deadline;
  Switch();
  current_->ready = nullptr;
  return current_->met;
}

bool Scheduler::AwaitFor(absl::Mutex& mu, const absl::Condition& condition,
                         absl::Duration timeout) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (condition.Eval()) return true;
  if (timeout <= absl::ZeroDuration()) return false;
  const absl::Duration deadline = now_ + timeout;
  mu.Unlock();
  // There is one thread, so looking needs no lock; going on with the mutex does.
  const std::function<bool()> met = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (!condition.Eval() || !mu.TryLock()) return false;
    mu.Unlock();
    return true;
  };
  Wait(met, deadline);
  // The deadline has passed, but somebody holds the mutex: it is waited for, as a thread would.
  while (!mu.TryLock()) {
    const std::function<bool()> free = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      if (!mu.TryLock()) return false;
      mu.Unlock();
      return true;
    };
    Wait(free, absl::InfiniteDuration());
  }
  return condition.Eval();
}

void Scheduler::Await(absl::Mutex& mu, const absl::Condition& condition) {
  AwaitFor(mu, condition, absl::InfiniteDuration());
}

}  // namespace umbra::sim
