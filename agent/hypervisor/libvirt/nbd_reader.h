// Reads one export of an NBD server on a unix socket, with many requests in flight.
#ifndef UMBRA_AGENT_HYPERVISOR_LIBVIRT_NBD_READER_H_
#define UMBRA_AGENT_HYPERVISOR_LIBVIRT_NBD_READER_H_

#include <libnbd.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/hypervisor/hypervisor.h"
#include "storage/base/clock.h"

namespace umbra::hypervisor {

// What is opened of a server.
struct NbdExport {
  std::string name;
  std::string bitmap = "";  // of changes (QEMU's dirty bitmap of this name); empty: none
  // What Changes says when there is no bitmap, or the server doesn't export it after all.
  absl::Status no_changes = absl::OkStatus();
};

// One thread at a time. A lost connection is ABORTED / GUEST_STOPPED, and the reader is of no use any more.
class NbdReader final : public BlockReader {
 public:
  // `health` is asked about once a second while reading; its error ends the reading. What it refers to, and `clock`, must
  // outlive the reader.
  static absl::StatusOr<std::unique_ptr<BlockReader>> Open(const std::string& socket, const NbdExport& what,
                                                           base::Clock& clock, std::function<absl::Status()> health);
  // The same from a server of its own: `command` is started with the socket in its hands (systemd's socket activation, as
  // qemu-nbd understands it) and ended with the reader.
  static absl::StatusOr<std::unique_ptr<BlockReader>> OpenServer(const std::vector<std::string>& command,
                                                                 const NbdExport& what, base::Clock& clock,
                                                                 std::function<absl::Status()> health);
  ~NbdReader() override;

  uint64_t capacity_bytes() const override { return capacity_bytes_; }
  absl::StatusOr<std::vector<Extent>> Extents() override;
  absl::StatusOr<std::vector<Extent>> Changes() override;
  absl::Status ReadExtents(const std::vector<Extent>& extents, uint32_t piece_bytes, const BlockSink& sink) override;
  absl::Status ReadAt(uint64_t offset_bytes, base::MutableBytes out) override;

 private:
  struct Handle {
    void operator()(nbd_handle* h) const { nbd_close(h); }
  };
  struct Slot;
  class Requests;

  NbdReader(const NbdExport& what, base::Clock& clock, std::function<absl::Status()> health);

  absl::Status SetUp(nbd_handle* h);
  absl::Status Connect(const std::string& socket);
  absl::Status Start(const std::vector<std::string>& command);
  absl::Status LearnSize();
  absl::StatusOr<std::vector<Extent>> BlockStatus(const std::string& context, uint32_t flag);
  absl::Status Error(const char* what) const;
  absl::Status ConnectAgain(const std::string& socket);
  absl::Status Poll();
  absl::Status Pump(std::vector<Slot>& slots, Requests& requests, uint32_t piece_bytes, const BlockSink& sink);
  absl::Status Submit(Slot& slot, Requests& requests);
  absl::Status Deliver(const Slot& slot, uint32_t piece_bytes, const BlockSink& sink) const;
  absl::Status CheckHealth();

  const std::string export_name_;
  const std::string changes_context_;  // empty: none
  const absl::Status no_changes_;
  base::Clock& clock_;
  const std::function<absl::Status()> health_;
  std::unique_ptr<nbd_handle, Handle> nbd_;
  std::unique_ptr<nbd_handle, Handle> second_;  // for ReadExtents; null: nbd_ alone
  uint64_t capacity_bytes_ = 0;
  absl::Duration health_checked_;  // on the monotonic clock
};

}  // namespace umbra::hypervisor

#endif  // UMBRA_AGENT_HYPERVISOR_LIBVIRT_NBD_READER_H_
