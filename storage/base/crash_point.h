// Named points at which a test can make the process die, as kill -9 would.
//
// A point does nothing unless the environment names it: UMBRA_CRASH_POINT="agent.frozen" (or "agent.frozen:3" for the
// third time it is passed). The names are part of the test interface; tests/crash walks them.
#ifndef UMBRA_STORAGE_BASE_CRASH_POINT_H_
#define UMBRA_STORAGE_BASE_CRASH_POINT_H_

#include <functional>
#include <string_view>

namespace umbra::base {

// Ends the process at once (no destructors, no flush) when this point is the named one. Thread-safe, cheap.
void CrashPoint(std::string_view name);

// For tests with a simulated world, which die in another way: `observer` is told of every point that is passed, on the
// thread that passes it. Null ends that. Call it while nothing else runs.
void ObserveCrashPoints(std::function<void(std::string_view name)> observer);

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_CRASH_POINT_H_
