// Who this agent is: its key and certificate, the daemon's authority, and where the daemon listens. One file, so that
// there is always either all of it or nothing.
#ifndef UMBRA_AGENT_LINK_IDENTITY_H_
#define UMBRA_AGENT_LINK_IDENTITY_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/base/filesystem.h"

namespace umbra::link {

struct Identity {
  std::string host_id;          // common name of the certificate
  std::string daemon_address;   // agent port, "host:port"
  std::string key_pem;          // secret
  std::string certificate_pem;
  std::string authority_pem;    // the only root that the agent trusts
};

// "<data_dir>/identity.pem": two lines of text, then the key, the certificate and the authority as PEM (OpenSSL's tools
// read it as it is).
std::string IdentityPath(const std::string& data_dir);

// Empty when the agent isn't enrolled yet. DATA_LOSS / IDENTITY_DAMAGED when the file is there but unusable: remove it
// and enrol again.
absl::StatusOr<std::optional<Identity>> LoadIdentity(base::Filesystem& files, const std::string& data_dir);

// Durable and complete when OK; mode 0600. Replaces an older identity, and forgets the one before that.
absl::Status SaveIdentity(base::Filesystem& files, const std::string& data_dir, const Identity& identity);

// What an agent whose certificate was renewed has.
struct Identities {
  Identity present;
  std::optional<Identity> before;  // of the same host and daemon, with the certificate that the present one followed
};

// "<data_dir>/identity-before.pem", written like the other.
std::string IdentityBeforePath(const std::string& data_dir);

// As LoadIdentity. A damaged present identity is replaced by the one before when that can be used; a damaged one before
// is left out.
absl::StatusOr<std::optional<Identities>> LoadIdentities(base::Filesystem& files, const std::string& data_dir);

// `renewed` becomes the present identity, `before` the one before. Both are whole and durable when OK; whatever happens
// meanwhile, the present identity is one of the two, whole.
absl::Status SaveRenewedIdentity(base::Filesystem& files, const std::string& data_dir, const Identity& renewed,
                                 const Identity& before);

}  // namespace umbra::link

#endif  // UMBRA_AGENT_LINK_IDENTITY_H_
