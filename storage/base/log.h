// One logger per room: `base::Log("repo")->info("pack sealed pack={} bytes={}", id, size)`.
//
// A message is a fixed phrase, the facts follow as key=value, ids first. No secrets, no guest data.
#ifndef UMBRA_STORAGE_BASE_LOG_H_
#define UMBRA_STORAGE_BASE_LOG_H_

#include <spdlog/logger.h>

#include <memory>
#include <string>
#include <string_view>

namespace umbra::base {

struct LogConfig {
  std::string level = "info";  // trace, debug, info, warn, error
  std::string file;            // empty: standard error
  bool json = false;           // one JSON object a line instead of text
};

// Call once, from main, before other threads start. Returns false when the level or the file is not usable.
bool SetUpLogging(const LogConfig& config);

// Takes on another level at once, in all rooms. Thread-safe. False when it is none.
bool SetLogLevel(const std::string& level);

// The level that is in force: one of those that LogConfig names.
std::string LogLevel();

// The logger of `room`, made on first use. Thread-safe.
std::shared_ptr<spdlog::logger> Log(std::string_view room);

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_LOG_H_
