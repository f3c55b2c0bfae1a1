// Mail over SMTP, with STARTTLS, TLS or neither, with or without authentication.
#ifndef UMBRA_SERVER_NOTIFICATIONS_SMTP_CHANNEL_H_
#define UMBRA_SERVER_NOTIFICATIONS_SMTP_CHANNEL_H_

#include <string>
#include <vector>

#include "server/notifications/channel.h"

namespace umbra::notifications {

struct SmtpOptions {
  std::string host;  // name or address; an IPv6 address without brackets
  int port = 0;
  catalog::SmtpSecurity security = catalog::SmtpSecurity::kStartTls;
  std::string username;  // empty: no authentication
  std::string password;
  std::string sender;
  std::vector<std::string> recipients;
  std::string certificates;  // PEM; empty: those that the machine trusts
  std::string machine;       // the name that this machine gives itself
};

class SmtpChannel final : public Channel {
 public:
  explicit SmtpChannel(SmtpOptions options) : options_(std::move(options)) {}

  absl::Status Deliver(const Outgoing& message, std::stop_token stop) override;

 private:
  const SmtpOptions options_;
};

// The mail as it goes over the line: ASCII, lines of at most 76 characters with CR LF. Nothing in title or text can
// become a header: the title is encoded or printable ASCII, the text is base64.
std::string MailOf(const SmtpOptions& options, const Outgoing& message);

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_SMTP_CHANNEL_H_
