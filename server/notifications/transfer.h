// Inside this room: one transfer with libcurl, with limits and checks that no caller can forget.
#ifndef UMBRA_SERVER_NOTIFICATIONS_TRANSFER_H_
#define UMBRA_SERVER_NOTIFICATIONS_TRANSFER_H_

#include <curl/curl.h>

#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/status.h"

namespace umbra::notifications {

inline constexpr absl::Duration kConnectTimeout = absl::Seconds(10);
inline constexpr absl::Duration kTransferTimeout = absl::Seconds(30);
// More of an answer is not read.
inline constexpr size_t kAnswerMax = 64 * 1024;

// A list of texts as libcurl wants it.
class TextList {
 public:
  ~TextList() { curl_slist_free_all(list_); }
  TextList() = default;
  TextList(const TextList&) = delete;
  TextList& operator=(const TextList&) = delete;
  void Add(const std::string& text) { list_ = curl_slist_append(list_, text.c_str()); }
  curl_slist* get() const { return list_; }

 private:
  curl_slist* list_ = nullptr;
};

// One thread at a time, used once. TLS 1.2 or newer, and the server's certificate and name are checked; no redirect is
// followed, no proxy and no .netrc of the environment is used.
class Transfer {
 public:
  // `protocols` as in CURLOPT_PROTOCOLS_STR. `certificates`: PEM to trust instead of the machine's; empty: those.
  Transfer(const std::string& url, const char* protocols, const std::string& certificates);

  template <typename Value>
  void Set(CURLoption option, Value value) {
    curl_easy_setopt(curl_.get(), option, value);
  }

  // Errors as Channel::Deliver.
  absl::Status Perform(std::stop_token stop);
  long ResponseCode() const;

 private:
  struct Closer {
    void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
  };
  static size_t TakeAnswer(char* data, size_t size, size_t count, void* self);
  static int LookForStop(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t);

  std::unique_ptr<CURL, Closer> curl_;
  char error_[CURL_ERROR_SIZE] = {};
  size_t answer_size_ = 0;
  std::stop_token stop_;
};

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_TRANSFER_H_
