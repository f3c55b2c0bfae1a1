// The whole daemon: makes every part, connects them, starts and stops them in this order.
//
// Start                                                       Stop (the reverse)
//   1 lock of the data folder                                  10 lock released
//   2 health over HTTP, where the figures will be               4 no more figures, then no more answers
//   3 certificate authority                                     9 -
//   4 catalog                                                   8 catalog closed
//   5 repositories (heal what a crash left)                     7 repositories closed
//   6 jobs: RecoverJobs, then rows for points without one       6 -
//   7 dispatcher, verifications, prunes, housekeeping,          5 notifications, a last copy of the catalog; policies,
//     policies: retention, then what is due; copies of            then the others, the dispatcher last
//     the catalog; notifications
//   8 agent port, then enrolment port                           3 both: streams end, then no more calls
//   9 local API, not serving yet by its health service; the     2 watches end, REST closes, then no more calls
//     REST edge on top of it
//  10 "<data_dir>/umbrad.addresses" is written; ready           1 not ready any more; removed
//
// Nobody from outside is let in before the jobs of the last run are sorted out. A stop ends no job: agents go on for
// the length of the lease, and a daemon that comes back in time finds out what became of their work.
//
// Crash points, in this order: daemon.catalog_open, daemon.jobs_recovered, daemon.catalog_rebuilt, daemon.listening;
// those around a commit are in server/api/agent/store_service.cc.
#ifndef UMBRA_SERVER_SERVER_H_
#define UMBRA_SERVER_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/config.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"

namespace umbra::server {

// Name of the file in the data folder that tells tools where a running daemon is: a JSON object with "pid",
// "api_socket", "agent_address", "enrolment_address", "metrics_address", "http_address" and "authority_fingerprint". It appears when everything listens
// and goes when the daemon stops.
inline constexpr char kAddressesFile[] = "umbrad.addresses";

// Real addresses, also where the configuration asked for port 0.
struct Addresses {
  std::string api_socket;
  std::string agent;      // "host:port" as agents are told
  std::string enrolment;  // "host:port" as people are told
  std::string metrics;    // "address:port"; empty: none
  std::string http;       // "address:port" of the REST API; empty: none
};

class Server {
 public:
  // Blocks until everything listens. `config` is complete (CompleteConfig); the others outlive the server.
  // FAILED_PRECONDITION / FILE_LOCKED      another umbrad uses the data folder.
  // FAILED_PRECONDITION / LISTEN_FAILED    an address is taken or not ours.
  // and what the parts return; nothing stays behind but what they made durable.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Config& config, base::Filesystem& filesystem,
                                                       base::Clock& clock, base::Random& random);
  // Stops, see above: takes a few seconds at most, whatever the peers do.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  const Addresses& addresses() const;

  // Reads the files of `http.certificate` and `http.key` again: connections that begin from now on are shown what is in
  // them. False when there are none to read. When they can't be used, everything stays as it is: INVALID_ARGUMENT /
  // CERTIFICATE_INVALID, or why they can't be read.
  absl::StatusOr<bool> ReloadCertificate();

  // Takes on the limits of repositories from `config`, the rest of which is what it was started with. Any thread.
  void TakeOn(const Config& config);

  // The catalog answers: what a watchdog wants to know. Blocks as long as that takes.
  bool Alive() const;

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace umbra::server

#endif  // UMBRA_SERVER_SERVER_H_
