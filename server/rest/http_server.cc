// Asio waits for sockets and timers. OpenSSL works on the sockets directly (tls_context.h): Asio's own TLS streams hold
// 70 KiB of buffers each, which thousands of event streams can't pay.
#include "server/rest/http_server.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <list>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::rest {
namespace {

namespace asio = boost::asio;
using Tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

// How exact deadlines are.
constexpr auto kTick = std::chrono::milliseconds(250);
constexpr auto kAcceptPause = std::chrono::milliseconds(100);
constexpr size_t kReadSize = 16 * 1024;
// What a client sends ahead while its request is worked on; more stays in the kernel.
constexpr size_t kReadAheadMax = 16 * 1024;
// After an answer that ends the connection, so that what the client still sends doesn't reset it before it has read
// that.
constexpr absl::Duration kLinger = absl::Seconds(2);
// A flood of connections must not keep others waiting for their first answer from the kernel.
constexpr int kBacklog = 4096;
constexpr char kContinue[] = "HTTP/1.1 100 Continue\r\n\r\n";

class Connection;

// What all connections share.
struct Shared {
  HttpLimits limits;
  base::Clock& clock;
  HttpServer::Handler handler;
  HttpServer::Refusal refusal;
  std::unique_ptr<TlsContext> tls;
  ConnectionBook book;
  std::atomic<bool> draining{false};
};

// One thread, and the connections that it alone works on: so nothing of them needs a lock.
class Worker {
 public:
  explicit Worker(Shared& shared) : shared_(shared), ticker_(context_) {
    ArmTicker();
    thread_ = std::jthread([this] { context_.run(); });
  }

  ~Worker() {
    if (thread_.joinable()) Stop();
  }

  // After every connection was told to close. Returns when nothing runs or waits here any more.
  void Stop() {
    asio::post(context_, [this] {
      stopped_ = true;
      ticker_.cancel();
    });
    thread_.join();
  }

  asio::io_context& context() { return context_; }
  std::list<std::shared_ptr<Connection>>& connections() { return connections_; }
  void ForEach(void (Connection::*what)());

 private:
  void ArmTicker() {
    ticker_.expires_after(kTick);
    ticker_.async_wait([this](ErrorCode) {
      if (stopped_) return;
      Tick();
      ArmTicker();
    });
  }
  void Tick();

  Shared& shared_;
  asio::io_context context_{1};
  asio::steady_timer ticker_;
  bool stopped_ = false;
  std::list<std::shared_ptr<Connection>> connections_;
  std::jthread thread_;
};

enum class State {
  kHandShake,
  kIdle,      // nothing of the next request has come
  kReading,   // a part of it
  kWorking,   // somebody makes the answer
  kPieces,    // its head is sent, pieces follow
  kAnswered,  // all of it is on its way
  kLinger,    // everything is sent, the client's rest is thrown away
};

// All but Start and the exchanges' posts runs on the worker's thread.
class Connection final : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Shared& shared, Worker& worker, Tcp::socket socket, std::string peer)
      : shared_(shared), worker_(worker), socket_(std::move(socket)), peer_(std::move(peer)) {}

  void Start(uint64_t book_id);
  void Tick(absl::Duration now);
  void Close();
  void CloseIfIdle() {
    if (state_ == State::kIdle || state_ == State::kHandShake) Close();
  }

  // From exchanges; `serial` says which request they are about: late ones change nothing.
  template <typename Function>
  void Post(Function function) {
    asio::post(worker_.context(), std::move(function));
  }
  void Answer(uint64_t serial, Response response);
  void Begin(uint64_t serial, Response head, std::string heartbeat, absl::Duration every);
  void WritePiece(uint64_t serial, const std::string& bytes, std::function<void()> written);
  void End(uint64_t serial);
  void Abort(uint64_t serial) {
    if (IsCurrent(serial, State::kPieces)) Close();
  }
  void WhenGone(uint64_t serial, std::function<void()> gone);
  void After(uint64_t serial, absl::Duration delay, std::function<void()> then);

 private:
  bool IsCurrent(uint64_t serial, State state) const { return !closed_ && serial == serial_ && state_ == state; }
  absl::Duration Now() { return shared_.clock.Monotonic(); }

  void Wait(Tcp::socket::wait_type type, void (Connection::*then)());
  void HandShake();
  void Read();
  void Received();
  void NextRequest();
  void Parse();
  void Refuse(int status, std::string_view detail);
  void Work(WholeRequest whole);

  std::string Head(const Response& response, std::optional<size_t> length) const;
  void SendPiece(const std::string& bytes);
  void Send(std::string bytes);
  void Flush();
  void Flushed();
  void Done();

  Shared& shared_;
  Worker& worker_;
  Tcp::socket socket_;
  const std::string peer_;
  std::unique_ptr<TlsSession> tls_;
  uint64_t book_id_ = 0;
  std::list<std::shared_ptr<Connection>>::iterator place_;

  State state_ = State::kHandShake;
  bool closed_ = false;
  bool reading_ = false;  // somebody waits for the socket
  bool writing_ = false;
  absl::Duration read_deadline_ = absl::InfiniteDuration();
  absl::Duration write_deadline_ = absl::InfiniteDuration();

  std::string in_;
  std::unique_ptr<RequestParser> parser_;  // of a request that is coming
  std::string out_;
  size_t out_sent_ = 0;
  // Follows `out_`: bytes of many connections, which whoever reads slowly doesn't make more of.
  std::shared_ptr<const std::string> shared_out_;

  // Of the request that is worked on.
  uint64_t serial_ = 0;
  bool keep_alive_ = true;
  bool head_only_ = false;
  bool chunked_ = false;
  bool may_chunk_ = true;  // not with HTTP/1.0
  std::string heartbeat_;
  absl::Duration heartbeat_every_ = absl::InfiniteDuration();
  absl::Duration last_sent_ = absl::ZeroDuration();
  std::function<void()> written_;
  std::function<void()> gone_;
  std::unique_ptr<asio::steady_timer> timer_;
};

void Worker::Tick() {
  const absl::Duration now = shared_.clock.Monotonic();
  for (auto at = connections_.begin(); at != connections_.end();) {
    const std::shared_ptr<Connection> connection = *at++;  // it may leave the list
    connection->Tick(now);
  }
}

void Worker::ForEach(void (Connection::*what)()) {
  for (auto at = connections_.begin(); at != connections_.end();) {
    const std::shared_ptr<Connection> connection = *at++;
    ((*connection).*what)();
  }
}

// ---- The exchange: a handle on one request of a connection ----

class HttpExchange final : public Exchange {
 public:
  HttpExchange(std::shared_ptr<Connection> connection, uint64_t serial, Request request)
      : connection_(std::move(connection)), serial_(serial), request_(std::move(request)) {}
  ~HttpExchange() override {
    if (begun_) {
      Abort();
    } else if (!answered_) {
      Post([serial = serial_](Connection& c) { c.Answer(serial, Response{500, {}, {}}); });
    }
  }

  const Request& request() const override { return request_; }

  void Answer(Response response) override {
    answered_ = true;
    Post([serial = serial_, response = std::move(response)](Connection& c) mutable {
      c.Answer(serial, std::move(response));
    });
  }
  void Begin(Response head, std::string heartbeat, absl::Duration every) override {
    begun_ = true;
    Post([serial = serial_, head = std::move(head), heartbeat = std::move(heartbeat), every](Connection& c) mutable {
      c.Begin(serial, std::move(head), std::move(heartbeat), every);
    });
  }
  void Write(std::string bytes, std::function<void()> written) override {
    Post([serial = serial_, bytes = std::move(bytes), written = std::move(written)](Connection& c) mutable {
      c.WritePiece(serial, bytes, std::move(written));
    });
  }
  void Abort() override {
    Post([serial = serial_](Connection& c) { c.Abort(serial); });
  }
  void End() override {
    Post([serial = serial_](Connection& c) { c.End(serial); });
  }
  void WhenGone(std::function<void()> gone) override {
    Post([serial = serial_, gone = std::move(gone)](Connection& c) mutable { c.WhenGone(serial, std::move(gone)); });
  }
  void After(absl::Duration delay, std::function<void()> then) override {
    Post([serial = serial_, delay, then = std::move(then)](Connection& c) mutable {
      c.After(serial, delay, std::move(then));
    });
  }

 private:
  template <typename Function>
  void Post(Function function) {
    connection_->Post([connection = connection_, function = std::move(function)]() mutable { function(*connection); });
  }

  const std::shared_ptr<Connection> connection_;  // shared with the worker and with what waits for the socket
  const uint64_t serial_;
  const Request request_;
  std::atomic<bool> answered_{false};
  std::atomic<bool> begun_{false};
};

// ---- Connection: its beginning and end ----

void Connection::Start(uint64_t book_id) {
  book_id_ = book_id;
  worker_.connections().push_back(shared_from_this());
  place_ = std::prev(worker_.connections().end());
  ErrorCode ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(Tcp::no_delay(true), ignored);
  tls_ = shared_.tls->NewSession(socket_.native_handle());
  if (tls_ == nullptr || shared_.draining) return Close();
  read_deadline_ = Now() + shared_.limits.handshake;
  HandShake();
}

void Connection::Close() {
  if (closed_) return;
  closed_ = true;
  const auto self = shared_from_this();
  if (tls_ != nullptr) tls_->SayGoodbye();
  ErrorCode ignored;
  socket_.close(ignored);
  worker_.connections().erase(place_);
  shared_.book.Left(book_id_);
  if (timer_ != nullptr) timer_->cancel();
  written_ = nullptr;
  if (const auto gone = std::exchange(gone_, nullptr)) gone();
}

void Connection::Tick(absl::Duration now) {
  if (now >= read_deadline_ || now >= write_deadline_) return Close();
  if (state_ == State::kPieces && out_.empty() && now - last_sent_ >= heartbeat_every_) SendPiece(heartbeat_);
}

void Connection::Wait(Tcp::socket::wait_type type, void (Connection::*then)()) {
  socket_.async_wait(type, [self = shared_from_this(), then](ErrorCode error) {
    if (error || self->closed_) return;
    ((*self).*then)();
  });
}

void Connection::HandShake() {
  const Transfer outcome = tls_->HandShake().outcome;
  if (tls_->greeted()) shared_.book.Greeted(book_id_);
  switch (outcome) {
    case Transfer::kDone:
      state_ = State::kIdle;
      // Who connects has something to ask; the long wait is for those who have asked before.
      read_deadline_ = Now() + shared_.limits.request;
      return Read();
    case Transfer::kWantRead:
      return Wait(Tcp::socket::wait_read, &Connection::HandShake);
    case Transfer::kWantWrite:
      return Wait(Tcp::socket::wait_write, &Connection::HandShake);
    case Transfer::kClosed:
      return Close();
  }
}

// ---- Connection: reading ----

// There is always at most one wait for reading, also while a request is worked on: it tells that the client has gone.
void Connection::Read() {
  reading_ = false;
  char bytes[kReadSize];
  while (!closed_) {
    const bool ahead = state_ != State::kIdle && state_ != State::kReading && state_ != State::kLinger;
    if (ahead && in_.size() >= kReadAheadMax) return;
    const Transferred got = tls_->Read(bytes, sizeof(bytes));
    if (got.outcome == Transfer::kDone) {
      if (state_ == State::kLinger) continue;
      in_.append(bytes, got.count);
      if (!ahead) Received();
      continue;
    }
    if (got.outcome == Transfer::kClosed) return Close();
    reading_ = true;
    return Wait(got.outcome == Transfer::kWantRead ? Tcp::socket::wait_read : Tcp::socket::wait_write,
                &Connection::Read);
  }
}

void Connection::Received() {
  if (state_ == State::kIdle) {
    state_ = State::kReading;
    read_deadline_ = Now() + shared_.limits.request;
  }
  Parse();
}

void Connection::NextRequest() {
  state_ = State::kIdle;
  read_deadline_ = Now() + shared_.limits.idle;
  if (shared_.draining && in_.empty()) return Close();
  if (!in_.empty()) Received();
  if (!closed_ && !reading_) Read();
}

void Connection::Parse() {
  if (parser_ == nullptr) parser_ = std::make_unique<RequestParser>(shared_.limits);
  ParsedRequest parsed = parser_->Take(in_);
  if (auto* whole = std::get_if<WholeRequest>(&parsed)) return Work(std::move(*whole));
  if (const auto* none = std::get_if<NoRequest>(&parsed)) return Refuse(none->status, none->detail);
  if (std::get<PartOfRequest>(parsed).wants_continue) Send(kContinue);
}

void Connection::Refuse(int status, std::string_view detail) {
  ++serial_;
  keep_alive_ = false;
  may_chunk_ = false;
  head_only_ = false;
  state_ = State::kWorking;
  in_.clear();
  parser_ = nullptr;
  shared_.book.Served(book_id_);
  Answer(serial_, shared_.refusal(status, detail));
}

void Connection::Work(WholeRequest whole) {
  shared_.book.Served(book_id_);
  ++serial_;
  keep_alive_ = whole.keep_alive;
  may_chunk_ = whole.may_chunk;
  head_only_ = whole.request.method == "HEAD";
  chunked_ = false;
  heartbeat_every_ = absl::InfiniteDuration();
  parser_ = nullptr;
  state_ = State::kWorking;
  read_deadline_ = absl::InfiniteDuration();
  whole.request.peer = peer_;
  shared_.handler(std::make_shared<HttpExchange>(shared_from_this(), serial_, std::move(whole.request)));
}

// ---- Connection: answering ----

std::string Connection::Head(const Response& response, std::optional<size_t> length) const {
  std::string head = fmt::format("HTTP/1.1 {} {}\r\n", response.status, Phrase(response.status));
  for (const Header& header : response.headers) {
    head += header.name;
    head += ": ";
    head += header.value;
    head += "\r\n";
  }
  head += absl::FormatTime("Date: %a, %d %b %Y %H:%M:%S GMT\r\n", shared_.clock.Now(), absl::UTCTimeZone());
  if (length) head += fmt::format("Content-Length: {}\r\n", *length);
  if (chunked_) head += "Transfer-Encoding: chunked\r\n";
  if (!keep_alive_) head += "Connection: close\r\n";
  head += "\r\n";
  return head;
}

void Connection::Answer(uint64_t serial, Response response) {
  if (!IsCurrent(serial, State::kWorking)) return;
  if (shared_.draining) keep_alive_ = false;
  const bool bodiless = response.status == 204 || response.status == 304;
  const size_t length = response.shared_body != nullptr ? response.shared_body->size() : response.body.size();
  std::string bytes = Head(response, bodiless ? std::nullopt : std::optional(length));
  if (!bodiless && !head_only_) {
    bytes += response.body;
    shared_out_ = std::move(response.shared_body);
  }
  state_ = State::kAnswered;
  gone_ = nullptr;
  shared_.book.Waits(book_id_);
  Send(std::move(bytes));
}

void Connection::Begin(uint64_t serial, Response head, std::string heartbeat, absl::Duration every) {
  if (!IsCurrent(serial, State::kWorking)) return;
  const bool sized = head.headers.end() != std::find_if(head.headers.begin(), head.headers.end(), [](const Header& h) {
                       return EqualsNoCase(h.name, "Content-Length");
                     });
  chunked_ = !sized && may_chunk_ && !head_only_;
  if (shared_.draining || (!sized && !chunked_)) keep_alive_ = false;
  state_ = State::kPieces;
  heartbeat_ = std::move(heartbeat);
  heartbeat_every_ = every;
  Send(Head(head, std::nullopt));
  if (!head.body.empty()) SendPiece(head.body);
}

void Connection::SendPiece(const std::string& bytes) {
  if (head_only_ || bytes.empty()) return;
  Send(chunked_ ? fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes) : bytes);
}

void Connection::WritePiece(uint64_t serial, const std::string& bytes, std::function<void()> written) {
  if (!IsCurrent(serial, State::kPieces)) return;
  written_ = std::move(written);
  SendPiece(bytes);
  if (!closed_ && out_.empty() && written_ != nullptr) Flushed();
}

void Connection::End(uint64_t serial) {
  if (!IsCurrent(serial, State::kPieces)) return;
  state_ = State::kAnswered;
  gone_ = nullptr;
  shared_.book.Waits(book_id_);
  if (chunked_) return Send("0\r\n\r\n");
  if (out_.empty()) Done();
}

void Connection::WhenGone(uint64_t serial, std::function<void()> gone) {
  if (IsCurrent(serial, State::kWorking) || IsCurrent(serial, State::kPieces)) {
    gone_ = std::move(gone);
  } else if (closed_ && serial == serial_ && state_ != State::kAnswered) {
    gone();
  }
}

void Connection::After(uint64_t serial, absl::Duration delay, std::function<void()> then) {
  if (closed_ || serial != serial_) return;
  timer_ = std::make_unique<asio::steady_timer>(worker_.context(), absl::ToChronoMilliseconds(delay));
  timer_->async_wait([self = shared_from_this(), serial, then = std::move(then)](ErrorCode error) {
    const bool open = self->IsCurrent(serial, State::kWorking) || self->IsCurrent(serial, State::kPieces);
    if (!error && open) then();
  });
}

void Connection::Send(std::string bytes) {
  if (closed_ || bytes.empty()) return;
  if (out_.empty()) {
    out_ = std::move(bytes);
    out_sent_ = 0;
    write_deadline_ = Now() + shared_.limits.write_stall;
  } else {
    out_ += bytes;
  }
  if (!writing_) Flush();
}

void Connection::Flush() {
  writing_ = false;
  const size_t total = out_.size() + (shared_out_ != nullptr ? shared_out_->size() : 0);
  while (out_sent_ < total) {
    const bool own = out_sent_ < out_.size();
    const std::string& from = own ? out_ : *shared_out_;
    const size_t at = own ? out_sent_ : out_sent_ - out_.size();
    const Transferred put = tls_->Write(from.data() + at, from.size() - at);
    if (put.outcome == Transfer::kClosed) return Close();
    if (put.outcome == Transfer::kDone) {
      out_sent_ += put.count;
      write_deadline_ = Now() + shared_.limits.write_stall;
      continue;
    }
    writing_ = true;
    return Wait(put.outcome == Transfer::kWantRead ? Tcp::socket::wait_read : Tcp::socket::wait_write,
                &Connection::Flush);
  }
  out_ = std::string();  // an idle connection holds no buffer
  shared_out_ = nullptr;
  out_sent_ = 0;
  write_deadline_ = absl::InfiniteDuration();
  last_sent_ = Now();
  Flushed();
}

void Connection::Flushed() {
  if (state_ == State::kAnswered) return Done();
  if (const auto written = std::exchange(written_, nullptr)) written();
}

// The answer has left.
void Connection::Done() {
  gone_ = nullptr;
  written_ = nullptr;
  timer_ = nullptr;
  if (keep_alive_) {
    // By way of the queue: answers that are there at once must not nest.
    return Post([self = shared_from_this()] {
      if (!self->closed_) self->NextRequest();
    });
  }
  state_ = State::kLinger;
  tls_->SayGoodbye();
  ErrorCode ignored;
  socket_.shutdown(Tcp::socket::shutdown_send, ignored);
  read_deadline_ = Now() + kLinger;
  Post([self = shared_from_this()] {
    if (!self->closed_ && !self->reading_) self->Read();
  });
}

// ---- Address ----

absl::StatusOr<Tcp::endpoint> ParseAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  uint16_t port = 0;
  const char* const begin = address.data() + (colon == std::string::npos ? address.size() : colon + 1);
  const auto [end, bad] = std::from_chars(begin, address.data() + address.size(), port);
  ErrorCode error;
  const auto ip = asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, error);
  if (error || bad != std::errc() || end != address.data() + address.size()) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "LISTEN_FAILED", "http.listen: '{}' is not IP:PORT",
                       address);
  }
  return Tcp::endpoint(ip, port);
}

std::string TextOf(const Tcp::endpoint& endpoint) {
  const std::string ip = endpoint.address().to_string();
  return endpoint.address().is_v6() ? fmt::format("[{}]:{}", ip, endpoint.port())
                                    : fmt::format("{}:{}", ip, endpoint.port());
}

std::string PeerOf(const Tcp::socket& socket) {
  ErrorCode error;
  const auto endpoint = socket.remote_endpoint(error);
  if (error) return {};
  const auto address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).to_string();
  }
  return address.to_string();
}

}  // namespace

// ---- The server ----

struct HttpServer::Impl {
  Impl(std::unique_ptr<TlsContext> tls, const HttpLimits& limits, base::Clock& clock, Handler handler, Refusal refusal)
      : shared{
            limits, clock, std::move(handler), std::move(refusal), std::move(tls), ConnectionBook(limits.connections)} {
    for (int i = 0; i < std::max(1, limits.thread_count); ++i) workers.push_back(std::make_unique<Worker>(shared));
    acceptor = std::make_unique<Tcp::acceptor>(workers.front()->context());
    pause = std::make_unique<asio::steady_timer>(workers.front()->context());
  }

  absl::Status Listen(const std::string& at);
  // On the first worker's thread.
  void Accept();
  void Accepted(Worker& worker, Tcp::socket socket);

  Shared shared;
  std::vector<std::unique_ptr<Worker>> workers;
  std::unique_ptr<Tcp::acceptor> acceptor;
  std::unique_ptr<asio::steady_timer> pause;
  size_t next_worker = 0;
  std::string address;
};

absl::Status HttpServer::Impl::Listen(const std::string& at) {
  ASSIGN_OR_RETURN(const Tcp::endpoint endpoint, ParseAddress(at));
  ErrorCode error;
  acceptor->open(endpoint.protocol(), error);
  if (!error) acceptor->set_option(Tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor->bind(endpoint, error);
  if (!error) acceptor->listen(kBacklog, error);
  if (!error) address = TextOf(acceptor->local_endpoint(error));
  if (!error) return absl::OkStatus();
  return base::Error(absl::StatusCode::kFailedPrecondition, "LISTEN_FAILED", "http.listen: can't listen at {}: {}", at,
                     error.message());
}

void HttpServer::Impl::Accept() {
  Worker& worker = *workers[next_worker++ % workers.size()];
  acceptor->async_accept(worker.context(), [this, &worker](ErrorCode error, Tcp::socket socket) {
    if (!acceptor->is_open()) return;
    if (!error) return Accepted(worker, std::move(socket));
    // Mostly: too many open files. It passes; trying again at once would burn a processor.
    pause->expires_after(kAcceptPause);
    pause->async_wait([this](ErrorCode stopped) {
      if (!stopped && acceptor->is_open()) Accept();
    });
  });
}

void HttpServer::Impl::Accepted(Worker& worker, Tcp::socket socket) {
  const std::string peer = PeerOf(socket);
  auto connection = std::make_shared<Connection>(shared, worker, std::move(socket), peer);
  const std::weak_ptr<Connection> weak = connection;
  const auto id = shared.book.Admit(peer, [weak] {
    const auto oldest = weak.lock();
    if (oldest != nullptr) oldest->Post([oldest] { oldest->Close(); });
  });
  if (!id) return Accept();  // its socket closes
  // The next one when this one has been looked at: else many could come before a busy worker has read the greeting of
  // one, who would give way to them as if he had been silent.
  connection->Post([this, connection, id = *id] {
    connection->Start(id);
    asio::post(workers.front()->context(), [this] {
      if (acceptor->is_open()) Accept();
    });
  });
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& address,
                                                              std::unique_ptr<TlsContext> tls, const HttpLimits& limits,
                                                              base::Clock& clock, Handler handler, Refusal refusal) {
  auto impl = std::make_unique<Impl>(std::move(tls), limits, clock, std::move(handler), std::move(refusal));
  RETURN_IF_ERROR(impl->Listen(address));
  asio::post(impl->workers.front()->context(), [impl = impl.get()] { impl->Accept(); });
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

void HttpServer::StopAccepting() {
  impl_->shared.draining = true;
  asio::post(impl_->workers.front()->context(), [impl = impl_.get()] {
    ErrorCode ignored;
    impl->acceptor->close(ignored);
    impl->pause->cancel();
  });
  for (const auto& worker : impl_->workers) {
    asio::post(worker->context(), [&worker = *worker] { worker.ForEach(&Connection::CloseIfIdle); });
  }
}

void HttpServer::CloseAll() {
  for (const auto& worker : impl_->workers) {
    asio::post(worker->context(), [&worker = *worker] { worker.ForEach(&Connection::Close); });
  }
}

HttpServer::~HttpServer() {
  StopAccepting();
  CloseAll();
  for (const auto& worker : impl_->workers) worker->Stop();
}

const std::string& HttpServer::address() const {
  return impl_->address;
}

size_t HttpServer::connection_count() const {
  return impl_->shared.book.all_count();
}

}  // namespace umbra::rest
