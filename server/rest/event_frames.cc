#include "server/rest/event_frames.h"

#include "server/rest/conventions.h"
#include "server/rest/transcoder.h"

namespace umbra::rest {
namespace {

std::string Print(const google::protobuf::Descriptor& type, const std::string& bytes) {
  const std::unique_ptr<google::protobuf::Message> message = NewMessage(type);
  absl::StatusOr<std::string> json = message->ParseFromString(bytes) ? ToJson(*message) : absl::InternalError("");
  if (!json.ok()) json = "{}";  // of a message that the service itself made: it can't be
  const auto sequence = SequenceOf(*message);
  return FormatEvent(sequence ? std::to_string(*sequence) : std::string(), "", *json);
}

}  // namespace

std::shared_ptr<const std::string> EventFrames::Of(const google::protobuf::Descriptor& type, std::string bytes) {
  if (bytes.size() > bytes_max_) return std::make_shared<std::string>(Print(type, bytes));
  Key key(&type, std::move(bytes));
  {
    absl::MutexLock lock(&mu_);
    if (const auto found = frames_.find(key); found != frames_.end()) return found->second;
  }
  // Others may print the same meanwhile: that costs less than waiting for each other.
  auto frame = std::make_shared<const std::string>(Print(type, key.second));
  absl::MutexLock lock(&mu_);
  if (!frames_.emplace(key, frame).second) return frame;
  oldest_first_.push_back(std::move(key));
  if (oldest_first_.size() > count_max_) {
    frames_.erase(oldest_first_.front());
    oldest_first_.pop_front();
  }
  return frame;
}

size_t EventFrames::kept_count() const {
  absl::MutexLock lock(&mu_);
  return frames_.size();
}

}  // namespace umbra::rest
