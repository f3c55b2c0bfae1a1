#include "server/notifications/smtp_channel.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/escaping.h"
#include "server/notifications/message.h"
#include "server/notifications/transfer.h"
#include "storage/base/status.h"

namespace umbra::notifications {
namespace {

constexpr char kLineEnd[] = "\r\n";
// Bytes of base64 a line (RFC 2045: at most 76 characters).
constexpr size_t kBase64Line = 76;
// Of text in one encoded word, which has at most 75 characters (RFC 2047).
constexpr size_t kEncodedWordBytes = 42;
constexpr size_t kPlainTitleMax = 60;
constexpr size_t kTitleMax = 200;

std::string Base64(std::string_view bytes) {
  return absl::Base64Escape(base::Av(bytes));
}

bool IsPlain(const std::string& title) {
  return title.size() <= kPlainTitleMax && title.find("=?") == std::string::npos &&
         std::ranges::all_of(title, [](char c) { return c >= 0x20 && c < 0x7f; });
}

std::string EncodedTitle(const std::string& text) {
  const std::string title = OneLine(text, kTitleMax);
  if (IsPlain(title)) return title;
  std::string encoded;
  for (size_t begin = 0; begin < title.size();) {
    size_t size = std::min(kEncodedWordBytes, title.size() - begin);
    while (begin + size < title.size() && (static_cast<unsigned char>(title[begin + size]) & 0xc0) == 0x80) --size;
    encoded += fmt::format("{}=?UTF-8?B?{}?=", encoded.empty() ? "" : "\r\n ", Base64(title.substr(begin, size)));
    begin += size;
  }
  return encoded;
}

std::string EncodedText(const std::string& text) {
  const std::string encoded = Base64(text);
  std::string lines;
  for (size_t begin = 0; begin < encoded.size(); begin += kBase64Line) {
    lines += encoded.substr(begin, kBase64Line) + kLineEnd;
  }
  return lines;
}

// Letters, digits, dots and dashes of a name, for where nothing else may stand.
std::string SafeName(const std::string& name) {
  std::string safe;
  for (const char c : name) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-') safe += c;
  }
  return safe.empty() ? "umbra" : safe;
}

std::string UrlOf(const SmtpOptions& options) {
  const bool v6 = options.host.find(':') != std::string::npos;
  return fmt::format("{}://{}:{}/{}", options.security == catalog::SmtpSecurity::kTls ? "smtps" : "smtp",
                     v6 ? "[" + options.host + "]" : options.host, options.port, SafeName(options.machine));
}

// What libcurl reads the mail from.
struct Source {
  std::string_view left;

  static size_t Read(char* out, size_t size, size_t count, void* self) {
    std::string_view& left = static_cast<Source*>(self)->left;
    const size_t bytes = std::min(size * count, left.size());
    std::memcpy(out, left.data(), bytes);
    left.remove_prefix(bytes);
    return bytes;
  }
};

}  // namespace

std::string MailOf(const SmtpOptions& options, const Outgoing& message) {
  std::string to;
  for (const std::string& address : options.recipients) to += (to.empty() ? "" : ",\r\n ") + address;
  std::string mail;
  const auto header = [&](std::string_view name, const std::string& value) {
    mail += fmt::format("{}: {}{}", name, value, kLineEnd);
  };
  header("From", options.sender);
  header("To", to);
  header("Subject", EncodedTitle(message.title));
  header("Date", absl::FormatTime("%a, %d %b %Y %H:%M:%S +0000", message.create_time, absl::UTCTimeZone()));
  header("Message-ID", fmt::format("<{}@{}>", message.id, SafeName(options.machine)));
  header("Umbra-Delivery", message.id);
  header("Auto-Submitted", "auto-generated");
  header("MIME-Version", "1.0");
  header("Content-Type", "text/plain; charset=utf-8");
  header("Content-Transfer-Encoding", "base64");
  return mail + kLineEnd + EncodedText(message.text);
}

absl::Status SmtpChannel::Deliver(const Outgoing& message, std::stop_token stop) {
  Transfer transfer(UrlOf(options_), "smtp,smtps", options_.certificates);
  const bool start_tls = options_.security == catalog::SmtpSecurity::kStartTls;
  transfer.Set(CURLOPT_USE_SSL, static_cast<long>(start_tls ? CURLUSESSL_ALL : CURLUSESSL_NONE));
  if (!options_.username.empty()) {
    transfer.Set(CURLOPT_USERNAME, options_.username.c_str());
    transfer.Set(CURLOPT_PASSWORD, options_.password.c_str());
  }
  const std::string sender = "<" + options_.sender + ">";
  transfer.Set(CURLOPT_MAIL_FROM, sender.c_str());
  TextList recipients;
  for (const std::string& address : options_.recipients) recipients.Add("<" + address + ">");
  transfer.Set(CURLOPT_MAIL_RCPT, recipients.get());
  const std::string mail = MailOf(options_, message);
  Source source{mail};
  transfer.Set(CURLOPT_UPLOAD, 1L);
  transfer.Set(CURLOPT_READFUNCTION, &Source::Read);
  transfer.Set(CURLOPT_READDATA, &source);
  return transfer.Perform(std::move(stop));
}

}  // namespace umbra::notifications
