#include "storage/base/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <mutex>

namespace umbra::base {
namespace {

// Prints the message as the inside of a JSON string.
class JsonEscapedMessage final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& msg, const std::tm&, spdlog::memory_buf_t& out) override {
    for (const char c : msg.payload) Append(c, out);
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<JsonEscapedMessage>(); }

 private:
  static void Append(char c, spdlog::memory_buf_t& out) {
    if (c == '"' || c == '\\') out.push_back('\\');
    if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<int>(c));
    } else {
      out.push_back(c);
    }
  }
};

std::unique_ptr<spdlog::formatter> JsonFormatter() {
  auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  formatter->add_flag<JsonEscapedMessage>('*');
  formatter->set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%fZ","level":"%l","room":"%n","message":"%*"})");
  return formatter;
}

std::unique_ptr<spdlog::formatter> TextFormatter() {
  return std::make_unique<spdlog::pattern_formatter>("%Y-%m-%dT%H:%M:%S.%fZ %-5l %n: %v",
                                                     spdlog::pattern_time_type::utc);
}

spdlog::sink_ptr& SharedSink() {
  static spdlog::sink_ptr sink = [] {
    auto made = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    return made;
  }();
  return sink;
}

// spdlog keeps it with its default logger, which is gone once the log is set up.
std::atomic<spdlog::level::level_enum> current_level{spdlog::level::info};

}  // namespace

bool SetLogLevel(const std::string& text) {
  const auto level = spdlog::level::from_str(text);
  if (level == spdlog::level::off && text != "off") return false;  // which is what an unknown word becomes
  spdlog::set_level(level);
  current_level = level;
  return true;
}

std::string LogLevel() {
  const auto level = current_level.load();
  if (level == spdlog::level::warn) return "warn";  // spdlog says "warning"
  const auto name = spdlog::level::to_string_view(level);
  return {name.data(), name.size()};
}

bool SetUpLogging(const LogConfig& config) {
  try {
    spdlog::sink_ptr sink;
    if (config.file.empty()) {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(config.file);
    }
    SharedSink() = sink;
  } catch (const spdlog::spdlog_ex&) {
    return false;
  }
  if (!SetLogLevel(config.level)) return false;
  spdlog::drop_all();
  // The registry gives its formatter to every logger that it initializes, so a sink's own one wouldn't last.
  spdlog::set_formatter(config.json ? JsonFormatter() : TextFormatter());
  spdlog::flush_every(std::chrono::seconds(1));
  return true;
}

std::shared_ptr<spdlog::logger> Log(std::string_view room) {
  static std::mutex mu;
  const std::string name(room);
  std::lock_guard lock(mu);
  if (auto existing = spdlog::get(name)) return existing;
  auto logger = std::make_shared<spdlog::logger>(name, SharedSink());
  logger->flush_on(spdlog::level::info);
  spdlog::initialize_logger(logger);
  return logger;
}

}  // namespace umbra::base
