// One try to reach the daemon's control stream, as ControlLink sees it. Over gRPC in the product; tests and the
// simulation bring their own.
#ifndef UMBRA_AGENT_LINK_LINK_STREAM_H_
#define UMBRA_AGENT_LINK_LINK_STREAM_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"
#include "umbra/agent/v1/agent_link.pb.h"

namespace umbra::link {

// In this order: WaitForConnection until it is true, Open, Read and Write by one thread each, Finish.
class LinkStream {
 public:
  virtual ~LinkStream() = default;

  // False when nobody answered in `timeout`; may be called again.
  virtual bool WaitForConnection(base::Clock& clock, absl::Duration timeout) = 0;
  virtual void Open() = 0;
  // Both block, and are false when the stream is over.
  virtual bool Read(agent::v1::DaemonMessage* message) = 0;
  virtual bool Write(const agent::v1::AgentMessage& message) = 0;
  // Ends the stream, from any thread, also before Open.
  virtual void Cancel() = 0;
  // After the last Read, with nobody writing: why it is over.
  virtual absl::Status Finish() = 0;
};

// A new try; nothing is connected yet.
using LinkStreamFactory = std::function<std::unique_ptr<LinkStream>()>;

}  // namespace umbra::link

#endif  // UMBRA_AGENT_LINK_LINK_STREAM_H_
