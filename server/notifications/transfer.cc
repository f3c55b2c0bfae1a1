#include "server/notifications/transfer.h"

#include <mutex>

#include "server/notifications/message.h"
#include "storage/base/status.h"

namespace umbra::notifications {
namespace {

constexpr size_t kErrorMax = 300;

absl::Status Error(absl::StatusCode code, const char* reason, const std::string& message) {
  return base::MakeError(code, reason, OneLine(message, kErrorMax));
}

// The server has spoken, and doesn't want the message. `answer`: the code of its last answer, 0 when there was none.
bool IsRefusal(CURLcode code, long answer) {
  switch (code) {
    case CURLE_LOGIN_DENIED:
    case CURLE_REMOTE_ACCESS_DENIED:
    case CURLE_UPLOAD_FAILED:
    case CURLE_WEIRD_SERVER_REPLY:
      return true;
    case CURLE_SEND_ERROR:  // also a connection that broke
      return answer >= 400;
    default:
      return false;
  }
}

}  // namespace

Transfer::Transfer(const std::string& url, const char* protocols, const std::string& certificates) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  curl_.reset(curl_easy_init());
  UMBRA_CHECK(curl_ != nullptr);
  Set(CURLOPT_URL, url.c_str());
  Set(CURLOPT_PROTOCOLS_STR, protocols);
  Set(CURLOPT_FOLLOWLOCATION, 0L);
  Set(CURLOPT_PROXY, "");
  Set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  Set(CURLOPT_NOSIGNAL, 1L);
  Set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(kConnectTimeout)));
  Set(CURLOPT_TIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(kTransferTimeout)));
  Set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  Set(CURLOPT_SSL_VERIFYPEER, 1L);
  Set(CURLOPT_SSL_VERIFYHOST, 2L);
  Set(CURLOPT_ERRORBUFFER, static_cast<char*>(error_));
  Set(CURLOPT_WRITEFUNCTION, &Transfer::TakeAnswer);
  Set(CURLOPT_WRITEDATA, this);
  Set(CURLOPT_NOPROGRESS, 0L);
  Set(CURLOPT_XFERINFOFUNCTION, &Transfer::LookForStop);
  Set(CURLOPT_XFERINFODATA, this);
  if (certificates.empty()) return;
  curl_blob blob{};
  blob.data = const_cast<char*>(certificates.data());
  blob.len = certificates.size();
  blob.flags = CURL_BLOB_COPY;
  Set(CURLOPT_CAINFO_BLOB, &blob);
  Set(CURLOPT_CAPATH, nullptr);
}

size_t Transfer::TakeAnswer(char*, size_t size, size_t count, void* self) {
  auto* const transfer = static_cast<Transfer*>(self);
  transfer->answer_size_ += size * count;
  return transfer->answer_size_ > kAnswerMax ? 0 : size * count;
}

int Transfer::LookForStop(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Transfer*>(self)->stop_.stop_requested() ? 1 : 0;
}

absl::Status Transfer::Perform(std::stop_token stop) {
  stop_ = std::move(stop);
  const CURLcode code = curl_easy_perform(curl_.get());
  if (code == CURLE_OK) return absl::OkStatus();
  if (stop_.stop_requested()) {
    return Error(absl::StatusCode::kCancelled, "NOTIFICATION_UNREACHABLE", "the daemon stops");
  }
  const std::string text = error_[0] != '\0' ? error_ : curl_easy_strerror(code);
  if (code == CURLE_WRITE_ERROR) {
    return Error(absl::StatusCode::kFailedPrecondition, "NOTIFICATION_REFUSED",
                 fmt::format("the answer is longer than {} bytes", kAnswerMax));
  }
  if (IsRefusal(code, ResponseCode()))
    return Error(absl::StatusCode::kFailedPrecondition, "NOTIFICATION_REFUSED", text);
  return Error(absl::StatusCode::kUnavailable, "NOTIFICATION_UNREACHABLE", text);
}

long Transfer::ResponseCode() const {
  long code = 0;
  curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &code);
  return code;
}

}  // namespace umbra::notifications
