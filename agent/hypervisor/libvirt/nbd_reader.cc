#include "agent/hypervisor/libvirt/nbd_reader.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <tuple>
#include <utility>

#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

using absl::StatusCode;

// Enough to keep QEMU's disk busy while one answer is looked at; with kRequestBytes this is the reader's memory.
constexpr size_t kRequestsInFlight = 16;
// Requests of this size cost little to send and answer, and 16 buffers of it still fit in a CPU's cache.
constexpr uint32_t kRequestBytes = 512 * base::kKiB;
// QEMU's server refuses more.
constexpr uint32_t kPieceBytesMax = 32 * base::kMiB;
// The protocol has 32 bits for it.
constexpr uint64_t kBlockStatusBytes = 2 * base::kGiB;
constexpr char kAllocation[] = "base:allocation";
constexpr uint32_t kZeroFlag = 2;  // NBD_STATE_ZERO
constexpr char kBitmapPrefix[] = "qemu:dirty-bitmap:";
constexpr uint32_t kDirtyFlag = 1;
constexpr absl::Duration kHealthInterval = absl::Seconds(1);
constexpr int kPollMs = 1000;  // so that health is looked at although nothing arrives

// Collects (length, flags) pairs from `offset` on: of one context, and of its flags one, as Extent::zero.
struct ExtentCollector {
  std::vector<Extent>& extents;
  std::string_view context;
  uint32_t flag;
  uint64_t offset;
  uint64_t end;

  void Add(uint64_t length, bool zero) {
    length = std::min(length, end - offset);  // an answer may reach beyond what was asked
    if (length == 0) return;
    if (extents.empty() || extents.back().zero != zero) extents.push_back({offset, 0, zero});
    extents.back().length_bytes += length;
    offset += length;
  }
};

int OnExtents(void* user_data, const char* context, uint64_t offset, uint32_t* entries, size_t count, int*) {
  auto* collector = static_cast<ExtentCollector*>(user_data);
  if (context != collector->context || offset != collector->offset) return 0;
  for (size_t i = 0; i + 1 < count; i += 2) collector->Add(entries[i], (entries[i + 1] & collector->flag) != 0);
  return 0;
}

}  // namespace

struct NbdReader::Slot {
  std::vector<std::byte> buffer;
  uint64_t offset = 0;
  uint64_t length = 0;
  nbd_handle* nbd = nullptr;  // whose requests use it
  int64_t cookie = -1;        // of the request in flight; -1: free
};

// Cuts extents into requests that never cross a multiple of the request's size.
class NbdReader::Requests {
 public:
  Requests(const std::vector<Extent>& extents, uint64_t request_bytes)
      : next_(extents.begin()), end_(extents.end()), request_bytes_(request_bytes) {}

  // Offset and length.
  std::optional<std::pair<uint64_t, uint64_t>> Next() {
    while (next_ != end_ && (next_->zero || done_ == next_->length_bytes)) {
      ++next_;
      done_ = 0;
    }
    if (next_ == end_) return std::nullopt;
    const uint64_t offset = next_->offset_bytes + done_;
    const uint64_t length = std::min(next_->length_bytes - done_, request_bytes_ - offset % request_bytes_);
    done_ += length;
    return std::pair(offset, length);
  }

 private:
  std::vector<Extent>::const_iterator next_;
  const std::vector<Extent>::const_iterator end_;
  const uint64_t request_bytes_;
  uint64_t done_ = 0;  // of *next_
};

NbdReader::NbdReader(const NbdExport& what, base::Clock& clock, std::function<absl::Status()> health)
    : export_name_(what.name),
      changes_context_(what.bitmap.empty() ? "" : kBitmapPrefix + what.bitmap),
      no_changes_(what.no_changes),
      clock_(clock),
      health_(std::move(health)),
      nbd_(nbd_create()) {}

NbdReader::~NbdReader() = default;

absl::StatusOr<std::unique_ptr<BlockReader>> NbdReader::Open(const std::string& socket, const NbdExport& what,
                                                             base::Clock& clock, std::function<absl::Status()> health) {
  std::unique_ptr<NbdReader> reader(new NbdReader(what, clock, std::move(health)));
  RETURN_IF_ERROR(reader->Connect(socket));
  return reader;
}

absl::StatusOr<std::unique_ptr<BlockReader>> NbdReader::OpenServer(const std::vector<std::string>& command,
                                                                   const NbdExport& what, base::Clock& clock,
                                                                   std::function<absl::Status()> health) {
  std::unique_ptr<NbdReader> reader(new NbdReader(what, clock, std::move(health)));
  RETURN_IF_ERROR(reader->Start(command));
  return reader;
}

absl::Status NbdReader::SetUp(nbd_handle* h) {
  if (h == nullptr) return base::Error(StatusCode::kInternal, "HYPERVISOR_ERROR", "libnbd: {}", nbd_get_error());
  // Every byte of a buffer is either written by an answer or not looked at, so libnbd needn't clear it first.
  if (nbd_set_pread_initialize(h, false) != 0 || nbd_set_export_name(h, export_name_.c_str()) != 0 ||
      nbd_add_meta_context(h, kAllocation) != 0) {
    return Error("open");
  }
  if (!changes_context_.empty() && nbd_add_meta_context(h, changes_context_.c_str()) != 0) return Error("open");
  return absl::OkStatus();
}

absl::Status NbdReader::Connect(const std::string& socket) {
  RETURN_IF_ERROR(SetUp(nbd_.get()));
  if (nbd_connect_unix(nbd_.get(), socket.c_str()) != 0) return Error("open");
  RETURN_IF_ERROR(LearnSize());
  return ConnectAgain(socket);
}

// A unix socket holds 200 KiB: with one of them QEMU and we would spend much of the time waiting for each other. Only a
// server that promises one view over all connections gets a second one, and may refuse it.
absl::Status NbdReader::ConnectAgain(const std::string& socket) {
  if (nbd_can_multi_conn(nbd_.get()) != 1) return absl::OkStatus();
  second_.reset(nbd_create());
  RETURN_IF_ERROR(SetUp(second_.get()));
  if (nbd_connect_unix(second_.get(), socket.c_str()) != 0) second_.reset();
  return absl::OkStatus();
}

absl::Status NbdReader::Start(const std::vector<std::string>& command) {
  RETURN_IF_ERROR(SetUp(nbd_.get()));
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  if (nbd_connect_systemd_socket_activation(nbd_.get(), words.data()) != 0) {
    return base::Error(StatusCode::kInternal, "HYPERVISOR_ERROR", "{} can't serve disk '{}': {}", command.front(),
                       export_name_, nbd_get_error());
  }
  return LearnSize();
}

absl::Status NbdReader::LearnSize() {
  const int64_t size = nbd_get_size(nbd_.get());
  if (size < 0) return Error("get the size of");
  capacity_bytes_ = static_cast<uint64_t>(size);
  return absl::OkStatus();
}

// libnbd's last error in this thread.
absl::Status NbdReader::Error(const char* what) const {
  const int error = nbd_get_errno();
  const char* words = nbd_get_error();
  const std::string text =
      fmt::format("{} the view of disk '{}': {}", what, export_name_, words ? words : "lost before");
  const auto gone = [](nbd_handle* h) { return nbd_aio_is_dead(h) == 1 || nbd_aio_is_closed(h) == 1; };
  const bool lost = nbd_ == nullptr || gone(nbd_.get()) || (second_ != nullptr && gone(second_.get())) ||
                    error == ENOTCONN || error == ESHUTDOWN || error == EPIPE || error == ECONNRESET ||
                    error == ECONNREFUSED || error == ENOENT;
  if (lost) return base::MakeError(StatusCode::kAborted, "GUEST_STOPPED", text);
  return base::MakeError(StatusCode::kInternal, "HYPERVISOR_ERROR", text);
}

absl::StatusOr<std::vector<Extent>> NbdReader::Extents() {
  if (nbd_ == nullptr) return Error("use");
  if (nbd_can_meta_context(nbd_.get(), kAllocation) != 1) return std::vector<Extent>{{0, capacity_bytes_, false}};
  return BlockStatus(kAllocation, kZeroFlag);
}

absl::StatusOr<std::vector<Extent>> NbdReader::Changes() {
  if (nbd_ == nullptr) return Error("use");
  if (changes_context_.empty() || nbd_can_meta_context(nbd_.get(), changes_context_.c_str()) != 1) {
    if (!no_changes_.ok()) return no_changes_;
    return base::Error(StatusCode::kFailedPrecondition, "CBT_CHECKPOINT_BROKEN",
                       "QEMU doesn't export the changes of disk '{}'", export_name_);
  }
  ASSIGN_OR_RETURN(std::vector<Extent> extents, BlockStatus(changes_context_, kDirtyFlag));
  std::erase_if(extents, [](const Extent& extent) { return !extent.zero; });  // here: not dirty
  for (Extent& extent : extents) extent.zero = false;
  return extents;
}

// The whole disk in stretches that have `flag` (as Extent::zero) or don't.
absl::StatusOr<std::vector<Extent>> NbdReader::BlockStatus(const std::string& context, uint32_t flag) {
  std::vector<Extent> extents;
  for (uint64_t offset = 0; offset < capacity_bytes_;) {
    ExtentCollector collector{extents, context, flag, offset, capacity_bytes_};
    const uint64_t count = std::min(kBlockStatusBytes, capacity_bytes_ - offset);
    const nbd_extent_callback callback{OnExtents, &collector, nullptr};
    if (nbd_block_status(nbd_.get(), count, offset, callback, 0) != 0) return Error("ask for the allocation of");
    if (collector.offset == offset) {
      return base::Error(StatusCode::kInternal, "HYPERVISOR_ERROR", "no {} given for disk '{}' at {}", context,
                         export_name_, offset);
    }
    offset = collector.offset;
  }
  return extents;
}

absl::Status NbdReader::ReadAt(uint64_t offset, base::MutableBytes out) {
  if (offset > capacity_bytes_ || out.size() > capacity_bytes_ - offset) {
    return base::Error(StatusCode::kOutOfRange, "INVALID_REQUEST", "read beyond the disk's end");
  }
  if (nbd_ == nullptr) return Error("use");
  while (!out.empty()) {
    const size_t size = std::min<size_t>(out.size(), kPieceBytesMax);
    if (nbd_pread(nbd_.get(), out.data(), size, offset, 0) != 0) return Error("read");
    out = out.subspan(size);
    offset += size;
  }
  return absl::OkStatus();
}

absl::Status NbdReader::ReadExtents(const std::vector<Extent>& extents, uint32_t piece_bytes, const BlockSink& sink) {
  if (piece_bytes == 0 || piece_bytes > kPieceBytesMax) {
    return base::Error(StatusCode::kInvalidArgument, "INVALID_REQUEST", "pieces of {} bytes", piece_bytes);
  }
  for (const Extent& extent : extents) {
    if (extent.offset_bytes > capacity_bytes_ || extent.length_bytes > capacity_bytes_ - extent.offset_bytes) {
      return base::Error(StatusCode::kOutOfRange, "INVALID_REQUEST", "a stretch is beyond the disk's end");
    }
  }
  if (nbd_ == nullptr) return Error("use");
  const uint64_t request_bytes = piece_bytes * std::max<uint64_t>(1, kRequestBytes / piece_bytes);
  Requests requests(extents, request_bytes);
  std::vector<Slot> slots(kRequestsInFlight);
  for (size_t i = 0; i < slots.size(); ++i) {
    slots[i].buffer.resize(request_bytes);
    slots[i].nbd = second_ != nullptr && i % 2 == 1 ? second_.get() : nbd_.get();
  }
  absl::Status status = Pump(slots, requests, piece_bytes, sink);
  // The buffers go with this call, so nothing may be in flight into them any more.
  for (Slot& slot : slots) {
    while (nbd_ != nullptr && slot.cookie != -1 && nbd_aio_command_completed(slot.nbd, slot.cookie) == 0) {
      if (nbd_poll(slot.nbd, kPollMs) > 0) continue;
      nbd_.reset();  // closing ends them too
      second_.reset();
    }
  }
  return status;
}

absl::Status NbdReader::Pump(std::vector<Slot>& slots, Requests& requests, uint32_t piece_bytes,
                             const BlockSink& sink) {
  for (Slot& slot : slots) RETURN_IF_ERROR(Submit(slot, requests));
  while (std::any_of(slots.begin(), slots.end(), [](const Slot& s) { return s.cookie != -1; })) {
    RETURN_IF_ERROR(Poll());
    RETURN_IF_ERROR(CheckHealth());
    for (Slot& slot : slots) {
      if (slot.cookie == -1) continue;
      const int completed = nbd_aio_command_completed(slot.nbd, slot.cookie);
      if (completed == 0) continue;
      slot.cookie = -1;
      if (completed < 0) return Error("read");
      RETURN_IF_ERROR(Deliver(slot, piece_bytes, sink));
      RETURN_IF_ERROR(Submit(slot, requests));
    }
  }
  return absl::OkStatus();
}

// Waits until a connection has something to do, at most kPollMs, and does it.
absl::Status NbdReader::Poll() {
  const std::array<nbd_handle*, 2> handles = {nbd_.get(), second_.get()};
  std::array<pollfd, 2> fds{};
  const nfds_t count = second_ == nullptr ? 1 : 2;
  for (size_t i = 0; i < count; ++i) {
    const unsigned direction = nbd_aio_get_direction(handles[i]);
    fds[i].fd = nbd_aio_get_fd(handles[i]);
    if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0) fds[i].events |= POLLIN;
    if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0) fds[i].events |= POLLOUT;
  }
  if (::poll(fds.data(), count, kPollMs) < 0 && errno != EINTR) return Error("read");
  for (size_t i = 0; i < count; ++i) {
    const unsigned direction = nbd_aio_get_direction(handles[i]);
    // An end of file and an error are for the reading side to find.
    if ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && (direction & LIBNBD_AIO_DIRECTION_READ) != 0) {
      if (nbd_aio_notify_read(handles[i]) < 0) return Error("read");
    } else if (fds[i].revents != 0 && (direction & LIBNBD_AIO_DIRECTION_WRITE) != 0) {
      if (nbd_aio_notify_write(handles[i]) < 0) return Error("read");
    }
  }
  return absl::OkStatus();
}

absl::Status NbdReader::Submit(Slot& slot, Requests& requests) {
  const auto request = requests.Next();
  if (!request.has_value()) return absl::OkStatus();
  std::tie(slot.offset, slot.length) = *request;
  slot.cookie = nbd_aio_pread(slot.nbd, slot.buffer.data(), slot.length, slot.offset, NBD_NULL_COMPLETION, 0);
  return slot.cookie == -1 ? Error("read") : absl::OkStatus();
}

absl::Status NbdReader::Deliver(const Slot& slot, uint32_t piece_bytes, const BlockSink& sink) const {
  for (uint64_t done = 0; done < slot.length;) {
    const uint64_t offset = slot.offset + done;
    const uint64_t size = std::min(slot.length - done, piece_bytes - offset % piece_bytes);
    RETURN_IF_ERROR(sink(offset, base::Bytes(slot.buffer.data() + done, size)));
    done += size;
  }
  return absl::OkStatus();
}

absl::Status NbdReader::CheckHealth() {
  const absl::Duration now = clock_.Monotonic();
  if (now - health_checked_ < kHealthInterval) return absl::OkStatus();
  health_checked_ = now;
  return health_ ? health_() : absl::OkStatus();
}

}  // namespace umbra::hypervisor
