// The agent's identity while it runs: which certificate new connections show, and a new one before it ends.
//
// A certificate has two thirds of its life, and up to a twentieth more (by its fingerprint, so that agents that
// enrolled together don't ask together); then the agent makes a new key and asks for a certificate over its link, and
// again with growing pauses until it has one. What is open stays as it is; new connections of link and data sessions
// show the new certificate, whose first use makes the daemon refuse the one before.
//
// The one before is kept. A daemon whose catalog was brought back from an older copy doesn't know the new certificate:
// an agent that is refused shows the other one that it has.
#ifndef UMBRA_AGENT_LINK_IDENTITY_KEEPER_H_
#define UMBRA_AGENT_LINK_IDENTITY_KEEPER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/link/identity.h"
#include "agent/transfer/backoff.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "umbra/agent/v1/agent_link.pb.h"

namespace umbra::link {

// Thread-safe. What it is given outlives it.
class IdentityKeeper {
 public:
  // The identities are those that `data_dir` holds.
  IdentityKeeper(base::Filesystem& files, std::string data_dir, base::Clock& clock, base::Random& random,
                 Identities identities);

  struct Shown {
    Identity identity;
    int64_t generation = 0;  // another number with every change of what is shown
  };
  // For a new connection.
  Shown Current();
  // That of Current: who holds an older one connects anew when it suits him.
  int64_t generation();

  // ---- For the link ----

  // A stream was welcomed. What an earlier one was asked for isn't answered any more.
  void OnConnected();
  // The request that is to be sent now; empty most of the time. Looks at the clock: call it every few seconds.
  std::optional<agent::v1::CertificateRequest> Ask();
  // The answer. Blocks for two synced writes: key and certificate are on the disk before anybody shows them. One thread
  // at a time.
  void OnCertificate(const agent::v1::Certificate& certificate);
  // The daemon refused the certificate of that generation.
  void OnRefused(int64_t generation);

 private:
  // Of the shown certificate's whole life.
  absl::Duration LifeLocked() const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void PlanLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<Identity> CheckAndStore(const agent::v1::Certificate& certificate, const std::string& key_pem,
                                         const Identity& present);

  base::Filesystem& files_;
  const std::string data_dir_;
  base::Clock& clock_;
  base::Random& random_;

  absl::Mutex mu_;  // the shown identity, its number and what is planned for it belong together
  Identity shown_ ABSL_GUARDED_BY(mu_);
  std::optional<Identity> other_ ABSL_GUARDED_BY(mu_);  // shown when that is refused
  int64_t generation_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time ask_at_ ABSL_GUARDED_BY(mu_);
  std::optional<transfer::Backoff> backoff_ ABSL_GUARDED_BY(mu_);  // of requests for one certificate
  std::string asked_key_pem_ ABSL_GUARDED_BY(mu_);                 // of the request that waits for its answer
};

}  // namespace umbra::link

#endif  // UMBRA_AGENT_LINK_IDENTITY_KEEPER_H_
