#include "server/rest/gateway.h"

#include <algorithm>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "server/rest/api_description.h"
#include "server/rest/conventions.h"
#include "server/rest/problem.h"
#include "server/rest/transcoder.h"
#include "storage/base/log.h"
#include "storage/base/status.h"
#include "umbra/v1/disk_content.pb.h"

namespace umbra::rest {
namespace {

namespace pb = google::protobuf;

constexpr char kCreateSession[] = "umbra.v1.SessionService.CreateSession";
constexpr char kDeleteSession[] = "umbra.v1.SessionService.DeleteSession";
constexpr char kSecretField[] = "session_secret";
constexpr char kOwnSession[] = "/sessions/current";
constexpr char kCookieAttributes[] = "; Path=/; Secure; HttpOnly; SameSite=Strict";
constexpr char kRequestMark[] = "X-Umbra-Request";
constexpr std::string_view kHtml = "text/html; charset=utf-8";
constexpr char kNothing[] = "default-src 'none'; frame-ancestors 'none'";
// The page of the reference has a style and nothing else.
constexpr char kReferencePolicy[] = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'";
constexpr char kCorsHeaders[] =
    "Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID, Request-Timeout, X-Request-Id, "
    "X-Umbra-Request";
constexpr size_t kClientNameMax = 200;
// Less isn't worth it.
constexpr size_t kGzipFrom = 1024;
// A stream that has nothing to say yet begins after this; one that is refused has an answer of its own by then.
constexpr absl::Duration kStreamBegins = absl::Milliseconds(200);
constexpr double kBurstSeconds = 2;
constexpr absl::Duration kStopGrace = absl::Seconds(2);

bool IsRead(const std::string& method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS";
}

bool IsJson(const std::string& type) {
  return EqualsNoCase(std::string_view(type).substr(0, type.find(';')), "application/json");
}

Problem Invalid(std::string_view detail) {
  return {400, "INVALID_REQUEST", std::string(detail)};
}

// A disk in a recovery point never changes: its name is what it is.
std::string TagOfDownload(const Request& request) {
  return TagOf("", std::string_view(request.target).substr(0, request.target.find('?')));
}

Problem Overloaded() {
  return {503, "OVERLOADED", "too much is asked for at the moment"};
}

// Counts itself; told apart from others by `admitted`.
class Place {
 public:
  Place(std::atomic<size_t>& now, size_t max) : now_(now), admitted_(now.fetch_add(1) < max) {}
  ~Place() { now_.fetch_sub(1); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  bool admitted() const { return admitted_; }

 private:
  std::atomic<size_t>& now_;
  const bool admitted_;
};

// Holds the call of a stream. The call may answer, and end, before whoever starts it has it in hand: what is asked of
// it until then waits here. Thread-safe.
class CallSlot {
 public:
  // Once. False: it has ended already, or was cancelled, and nothing is to be done with it any more.
  bool Fill(const std::shared_ptr<Stream>& call) {
    bool next = false;
    bool cancelled = false;
    {
      absl::MutexLock lock(&mu_);
      if (ended_) return false;
      call_ = call;
      next = next_;
      cancelled = cancelled_;
    }
    if (cancelled) {
      call->Cancel();
    } else if (next) {
      call->Next();
    }
    return !cancelled;
  }

  // Asks for the next message.
  void Next() {
    std::shared_ptr<Stream> call;
    {
      absl::MutexLock lock(&mu_);
      call = call_;
      next_ = call == nullptr;
    }
    if (call != nullptr) call->Next();
  }

  void Cancel() {
    std::shared_ptr<Stream> call;
    {
      absl::MutexLock lock(&mu_);
      cancelled_ = true;
      call = call_;
    }
    if (call != nullptr) call->Cancel();
  }

  // The call has ended: it is let go of.
  void Ended() {
    std::shared_ptr<Stream> call;
    absl::MutexLock lock(&mu_);
    ended_ = true;
    call = std::move(call_);
  }

 private:
  absl::Mutex mu_;  // who asks for something finds a call that hasn't ended, or leaves word
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  bool next_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  std::shared_ptr<Stream> call_ ABSL_GUARDED_BY(mu_);  // keeps its listener, and so this, until it ends
};

}  // namespace

// One request on its way.
struct Gateway::Job {
  std::shared_ptr<Exchange> exchange;
  std::string id;
  const Route* route = nullptr;
  bool conditional = false;            // If-Match was given
  bool ranged = false;                 // of a download: a part is wanted
  bool own_session = false;            // the caller's own session is to be deleted
  std::optional<std::string> session;  // the cookie
  std::unique_ptr<Place> place;

  const Request& request() const { return exchange->request(); }
};

// ---- Event streams ----

class Gateway::EventStream final : public StreamListener, public std::enable_shared_from_this<EventStream> {
 public:
  EventStream(Gateway& gateway, std::shared_ptr<Job> job) : gateway_(gateway), job_(std::move(job)) {}

  void Start(Calls& calls, CallRequest request) {
    const auto self = shared_from_this();
    const auto call = calls.StartStream(std::move(request), self);
    if (!call_.Fill(call)) return;
    job_->exchange->WhenGone([call] { call->Cancel(); });
    job_->exchange->After(kStreamBegins, [self] {
      absl::MutexLock lock(&self->mu_);
      if (!self->ended_) self->BeginLocked();
    });
  }

  void OnMessage(std::string bytes) override {
    std::string event = *gateway_.frames_.Of(*job_->route->method->output_type(), std::move(bytes));
    {
      absl::MutexLock lock(&mu_);
      BeginLocked();
    }
    job_->exchange->Write(std::move(event), [self = shared_from_this()] { self->call_.Next(); });
  }

  void OnEnd(absl::Status status) override {
    call_.Ended();
    bool refused = false;
    {
      absl::MutexLock lock(&mu_);
      ended_ = true;
      refused = !begun_ && !status.ok();
      if (!refused) BeginLocked();
    }
    if (refused) return gateway_.Complain(*job_, ProblemOf(status));
    std::string data = status.ok() ? "{}" : ProblemJson(ProblemOf(status), job_->id);
    job_->exchange->Write(FormatEvent("", "end", data), nullptr);
    job_->exchange->End();
  }

 private:
  void BeginLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (std::exchange(begun_, true)) return;
    Response head;
    head.Set("Content-Type", "text/event-stream");
    head.Set("Cache-Control", "no-store");
    head.Set("X-Accel-Buffering", "no");  // a proxy in front must not hold events back
    gateway_.AddCommonHeaders(*job_, head);
    head.body = kHeartbeat;
    job_->exchange->Begin(std::move(head), kHeartbeat, gateway_.options_.heartbeat);
  }

  Gateway& gateway_;
  const std::shared_ptr<Job> job_;
  CallSlot call_;

  absl::Mutex mu_;  // the head is sent once and first, nothing after the end
  bool begun_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

// ---- Downloads: a stream whose messages are the bytes of the answer ----

class Gateway::Download final : public StreamListener, public std::enable_shared_from_this<Download> {
 public:
  Download(Gateway& gateway, std::shared_ptr<Job> job) : gateway_(gateway), job_(std::move(job)) {}

  void Start(Calls& calls, CallRequest request) {
    const auto call = calls.StartStream(std::move(request), shared_from_this());
    if (call_.Fill(call)) job_->exchange->WhenGone([call] { call->Cancel(); });
  }

  void OnMessage(std::string bytes) override {
    v1::DiskContent content;
    if (!content.ParseFromString(bytes))
      content.Clear();  // its length then isn't what was announced, and that is noticed
    if (!begun_) {
      begun_ = true;
      left_ = content.length_bytes();
      Begin(content);
      if (job_->request().method == "HEAD") return End();
      return call_.Next();
    }
    left_ -= static_cast<int64_t>(content.data().size());
    job_->exchange->Write(std::move(*content.mutable_data()), [self = shared_from_this()] { self->call_.Next(); });
  }

  void OnEnd(absl::Status status) override {
    call_.Ended();
    if (!begun_) return Refuse(status);
    status.ok() && left_ == 0 ? job_->exchange->End() : job_->exchange->Abort();
  }

 private:
  // The head is all that is wanted.
  void End() {
    job_->exchange->End();
    call_.Cancel();
  }

  void Begin(const v1::DiskContent& first) {
    Response head;
    head.status = job_->ranged ? 206 : 200;
    head.Set("Content-Type", "application/octet-stream");
    head.Set("Content-Length", std::to_string(first.length_bytes()));
    head.Set("Accept-Ranges", "bytes");
    head.Set("Cache-Control", "private, no-cache");
    head.Set("ETag", TagOfDownload(job_->request()));
    if (job_->ranged) {
      head.Set("Content-Range", fmt::format("bytes {}-{}/{}", first.offset_bytes(),
                                            first.offset_bytes() + first.length_bytes() - 1, first.disk_size_bytes()));
    }
    head.Set("Content-Disposition", "attachment");
    gateway_.AddCommonHeaders(*job_, head);
    job_->exchange->Begin(std::move(head), {}, absl::InfiniteDuration());
  }

  void Refuse(const absl::Status& status) {
    Problem problem = ProblemOf(status);
    if (status.code() == absl::StatusCode::kOutOfRange) problem.status = 416;
    if (status.ok()) problem.status = 500;
    gateway_.Complain(*job_, problem);
  }

  Gateway& gateway_;
  const std::shared_ptr<Job> job_;
  bool begun_ = false;  // this and the next belong to gRPC's thread
  int64_t left_ = 0;
  CallSlot call_;
};

// ---- Gateway ----

Gateway::Gateway(std::shared_ptr<grpc::Channel> channel, RouteTable routes, StaticFiles files, base::Clock& clock,
                 base::Random& random, GatewayOptions options)
    : routes_(std::move(routes)),
      files_(std::move(files)),
      clock_(clock),
      random_(random),
      options_(std::move(options)),
      by_credential_(clock, options_.requests_per_second, kBurstSeconds * options_.requests_per_second),
      by_address_(clock, options_.requests_per_second_of_address,
                  kBurstSeconds * options_.requests_per_second_of_address),
      calls_(std::move(channel)) {
  const auto add = [this](std::string_view path, std::string_view type, std::string_view text) {
    pages_.push_back({path, type, std::make_shared<std::string>(text),
                      std::make_shared<std::string>(Gzip(std::string(text))), TagOf("", text)});
  };
  add("/openapi.json", "application/json", OpenApiJson());
  add("/docs.css", "text/css; charset=utf-8", ReferenceCss());
  add("/docs", kHtml, ReferenceHtml());
}

Gateway::~Gateway() = default;

void Gateway::Stop() {
  calls_.Stop(clock_, kStopGrace);
}

bool Gateway::IsCorsOrigin(const std::string& origin) const {
  return std::find(options_.cors_origins.begin(), options_.cors_origins.end(), origin) != options_.cors_origins.end();
}

bool Gateway::IsOurOrigin(const Request& request, const std::string& origin) const {
  const std::string* host = request.Find("Host");
  return host != nullptr && origin == "https://" + *host;
}

void Gateway::AddCommonHeaders(const Job& job, Response& response) const {
  response.Set("X-Request-Id", job.id);
  response.Set("Strict-Transport-Security", "max-age=31536000");
  response.Set("X-Content-Type-Options", "nosniff");
  response.Set("Referrer-Policy", "no-referrer");
  if (FindHeader(response.headers, "Content-Security-Policy") == nullptr) {
    response.Set("Content-Security-Policy", kNothing);
  }
  if (options_.cors_origins.empty() || job.exchange == nullptr) return;
  response.Set("Vary", "Origin");
  const std::string* origin = job.request().Find("Origin");
  if (origin == nullptr || !IsCorsOrigin(*origin)) return;
  response.Set("Access-Control-Allow-Origin", *origin);
  response.Set("Access-Control-Allow-Credentials", "true");
  response.Set("Access-Control-Expose-Headers", "ETag, Retry-After, X-Request-Id");
}

void Gateway::Finish(Job& job, Response response) {
  AddCommonHeaders(job, response);
  job.exchange->Answer(std::move(response));
}

void Gateway::Complain(Job& job, const Problem& problem) {
  if (problem.status >= 500) {
    base::Log("rest")->warn("request failed id={} status={} reason={}", job.id, problem.status, problem.reason);
  }
  Finish(job, ProblemResponse(problem, job.id));
}

Response Gateway::Refusal(int status, std::string_view detail) {
  Job job;
  job.id = random_.Hex(8);
  static constexpr std::pair<int, const char*> kReasons[] = {{413, "BODY_TOO_LARGE"}, {431, "HEADER_TOO_LARGE"}};
  std::string reason = "INVALID_REQUEST";
  for (const auto& [number, name] : kReasons) {
    if (number == status) reason = name;
  }
  Response response = ProblemResponse({status, reason, std::string(detail)}, job.id);
  AddCommonHeaders(job, response);
  return response;
}

// ---- Checks ----

// A page of another site can make a browser send our cookie, but neither this header nor another Origin than its own.
bool Gateway::CheckOrigin(Job& job) {
  if (!job.session || IsRead(job.request().method)) return true;
  const std::string* mark = job.request().Find(kRequestMark);
  const std::string* origin = job.request().Find("Origin");
  const bool ours = origin != nullptr && (IsOurOrigin(job.request(), *origin) || IsCorsOrigin(*origin));
  if (ours && mark != nullptr && *mark == "1") return true;
  Complain(job,
           {403, "CSRF_REFUSED", "a call with a session's cookie needs 'X-Umbra-Request: 1' and an Origin of ours"});
  return false;
}

bool Gateway::CheckRate(Job& job) {
  const std::string* authorization = job.request().Find("Authorization");
  const std::string credential = job.session                ? "s" + *job.session
                                 : authorization != nullptr ? "a" + *authorization
                                                            : "";
  const bool allowed =
      by_address_.Allow(job.request().peer) && (credential.empty() || by_credential_.Allow(credential));
  if (!allowed) Complain(job, {429, "RATE_LIMITED", "too many requests"});
  return allowed;
}

// ---- The way of a request ----

void Gateway::Handle(std::shared_ptr<Exchange> exchange) {
  auto job = std::make_shared<Job>();
  job->exchange = std::move(exchange);
  const Request& request = job->request();
  const std::string* given = request.Find("X-Request-Id");
  job->id = given != nullptr && IsRequestId(*given) ? *given : random_.Hex(8);
  if (const std::string* cookies = request.Find("Cookie")) job->session = CookieValue(*cookies, kSessionCookie);
  const size_t question = request.target.find('?');
  const std::string_view target = request.target;
  const std::string_view path = target.substr(0, question);
  const std::string_view query = question == std::string::npos ? std::string_view() : target.substr(question + 1);

  if (!CheckRate(*job)) return;
  if (request.method == "OPTIONS") return AnswerPreflight(*job);
  if (!path.starts_with("/v1/")) return AnswerPage(*job, path);
  FoundRoute found = routes_.Find(request.method, path);
  if (found.route == nullptr && found.allowed.empty()) {
    return Complain(*job, {404, "ROUTE_NOT_FOUND", "there is nothing at this path; see /docs"});
  }
  if (found.route == nullptr) {
    Response response = ProblemResponse({405, "METHOD_NOT_ALLOWED", "this path has other methods, see Allow"}, job->id);
    std::string allowed;
    for (const std::string& method : found.allowed) allowed += (allowed.empty() ? "" : ", ") + method;
    response.Set("Allow", allowed);
    return Finish(*job, std::move(response));
  }
  if (!CheckOrigin(*job)) return;
  StartCall(std::move(job), std::move(found), query);
}

void Gateway::AnswerPreflight(Job& job) {
  Response response;
  response.status = 204;
  const std::string* origin = job.request().Find("Origin");
  if (origin != nullptr && IsCorsOrigin(*origin)) {
    response.Set("Access-Control-Allow-Methods", "GET, POST, PATCH, PUT, DELETE");
    response.Set("Access-Control-Allow-Headers", kCorsHeaders);
    response.Set("Access-Control-Max-Age", "600");
  }
  Finish(job, std::move(response));
}

void Gateway::AnswerPage(Job& job, std::string_view path) {
  const Request& request = job.request();
  if (request.method != "GET" && request.method != "HEAD") {
    return Complain(job, {405, "METHOD_NOT_ALLOWED", "only GET here"});
  }
  Response response;
  const std::string* encodings = request.Find("Accept-Encoding");
  const std::string* if_none_match = request.Find("If-None-Match");
  const bool gzip = encodings != nullptr && AcceptsGzip(*encodings);
  for (const Page& page : pages_) {
    if (page.path != path) continue;
    response.Set("Content-Type", page.type);
    response.Set("Cache-Control", "no-cache");
    response.Set("ETag", page.tag);
    response.Set("Vary", "Accept-Encoding");
    if (page.type == kHtml) response.Set("Content-Security-Policy", kReferencePolicy);
    if (if_none_match != nullptr && Matches(*if_none_match, page.tag)) {
      response.status = 304;
    } else {
      response.shared_body = gzip ? page.packed : page.plain;
      if (gzip) response.Set("Content-Encoding", "gzip");
    }
    return Finish(job, std::move(response));
  }
  const auto decoded = DecodePercent(path, false);
  if (files_.empty() && path == "/") {
    response.status = 302;
    response.Set("Location", "/docs");
    return Finish(job, std::move(response));
  }
  if (!files_.empty() && decoded) response = files_.Get(*decoded, gzip, if_none_match);
  if (files_.empty() || !decoded || response.status == 404) {
    return Complain(job, {404, "ROUTE_NOT_FOUND", "there is nothing at this path; see /docs"});
  }
  Finish(job, std::move(response));
}

CallRequest Gateway::MakeCall(const Job& job, const pb::Message& message) const {
  CallRequest call;
  call.rpc = job.route->rpc;
  call.body = message.SerializeAsString();
  call.metadata.emplace_back("umbra-edge", options_.edge_secret);
  call.metadata.emplace_back("umbra-peer", job.request().peer);
  call.metadata.emplace_back("x-request-id", job.id);
  const std::string* client = job.request().Find("User-Agent");
  if (client != nullptr && client->size() <= kClientNameMax && IsHeaderValue(*client)) {
    call.metadata.emplace_back("umbra-client", *client);
  }
  if (const std::string* authorization = job.request().Find("Authorization")) {
    call.metadata.emplace_back("authorization", *authorization);
  }
  if (job.session) call.metadata.emplace_back("umbra-session", *job.session);
  return call;
}

namespace {

// Puts a Range into the request; false: the whole is wanted.
bool SetRange(const Request& request, pb::Message& message) {
  const std::string* range = request.Find("Range");
  const std::string* condition = request.Find("If-Range");
  const auto wanted = range != nullptr ? ParseRange(*range) : std::nullopt;
  if (!wanted || (condition != nullptr && *condition != TagOfDownload(request))) return false;
  return SetField(message, "offset_bytes", std::to_string(wanted->offset)).ok() &&
         SetField(message, "length_bytes", std::to_string(wanted->length)).ok();
}

}  // namespace

void Gateway::StartCall(std::shared_ptr<Job> job, FoundRoute found, std::string_view query) {
  const Request& request = job->request();
  job->route = found.route;
  const std::string* authorization = request.Find("Authorization");
  if (authorization != nullptr && !IsHeaderValue(*authorization))
    return Complain(*job, Invalid("Authorization: no text"));
  const std::string* type = request.Find("Content-Type");
  if (!request.body.empty() && (type == nullptr || !IsJson(*type))) {
    return Complain(*job, {415, "INVALID_REQUEST", "Content-Type: application/json is what is taken"});
  }
  CallInput input{std::move(found.values), query, request.body, {}, {}};
  job->own_session = job->session && job->route->method->full_name() == kDeleteSession && !input.path_values.empty() &&
                     input.path_values[0].value.ends_with(kOwnSession);
  if (const std::string* if_match = request.Find("If-Match")) input.if_match = EtagOfIfMatch(*if_match);
  if (const std::string* last = request.Find("Last-Event-ID")) input.last_event_id = *last;
  job->conditional = input.if_match.has_value();
  absl::Duration timeout = options_.call_timeout;
  if (const std::string* wanted = request.Find("Request-Timeout")) {
    const auto parsed = ParseTimeout(*wanted);
    if (!parsed.ok()) return Complain(*job, ProblemOf(parsed.status()));
    timeout = *parsed;
  }
  const auto message = MakeRequest(*job->route, input);
  if (!message.ok()) return Complain(*job, ProblemOf(message.status()));
  const bool downloads = job->route->method->output_type() == v1::DiskContent::descriptor();
  if (downloads) job->ranged = SetRange(request, **message);
  if (job->route->method->server_streaming() && !downloads && request.method == "HEAD") {
    return Complain(*job, {405, "METHOD_NOT_ALLOWED", "a stream of events has no HEAD"});
  }
  CallRequest call = MakeCall(*job, **message);
  const bool streams = job->route->method->server_streaming();
  job->place = streams ? std::make_unique<Place>(streams_now_, options_.event_streams_max)
                       : std::make_unique<Place>(calls_now_, options_.calls_max);
  if (!job->place->admitted()) return Complain(*job, Overloaded());
  if (downloads) return std::make_shared<Download>(*this, std::move(job))->Start(calls_, std::move(call));
  if (streams) return std::make_shared<EventStream>(*this, std::move(job))->Start(calls_, std::move(call));
  call.timeout = timeout;
  StartUnary(std::move(job), std::move(call));
}

namespace {

// Moves the secret of a new session out of the answer and into the browser's cookie, where no script reads it.
void MoveSecretToCookie(pb::Message& message, Response& response) {
  const std::string secret = TextField(message, kSecretField);
  if (!IsHeaderName(secret)) return;
  response.Set("Set-Cookie", fmt::format("{}={}{}", kSessionCookie, secret, kCookieAttributes));
  message.GetReflection()->ClearField(&message, message.GetDescriptor()->FindFieldByName(kSecretField));
}

// Etag, and 304 where the client has this already; compressed where it likes that.
void DressAnswer(const Request& request, const std::string& etag, Response& response) {
  if (!IsRead(request.method)) return response.Set("Cache-Control", "no-store");
  response.Set("Cache-Control", "private, no-cache");
  response.Set("Vary", "Accept-Encoding, Authorization, Cookie");
  std::string tag = TagOf(etag, response.body);
  const std::string* if_none_match = request.Find("If-None-Match");
  const bool known = if_none_match != nullptr && Matches(*if_none_match, tag);
  const std::string* encodings = request.Find("Accept-Encoding");
  if (!known && response.body.size() >= kGzipFrom && encodings != nullptr && AcceptsGzip(*encodings)) {
    response.body = Gzip(response.body);
    response.Set("Content-Encoding", "gzip");
    tag = "W/" + tag;
  }
  response.Set("ETag", tag);
  if (!known) return;
  response.status = 304;
  response.body.clear();
}

}  // namespace

void Gateway::StartUnary(std::shared_ptr<Job> job, CallRequest request) {
  const auto done = [this, job](const absl::Status& status, const std::string& bytes) {
    if (!status.ok()) return Complain(*job, ProblemOf(status, job->conditional));
    const std::unique_ptr<pb::Message> message = NewMessage(*job->route->method->output_type());
    if (!message->ParseFromString(bytes)) return Complain(*job, {500, "INTERNAL", "the answer can't be read"});
    Response response;
    const std::string* mark = job->request().Find(kRequestMark);
    if (job->route->method->full_name() == kCreateSession && mark != nullptr && *mark == "1") {
      MoveSecretToCookie(*message, response);
    }
    if (job->own_session)
      response.Set("Set-Cookie", fmt::format("{}={}; Max-Age=0", kSessionCookie, kCookieAttributes));
    auto json = ToJson(*message);
    if (!json.ok()) return Complain(*job, ProblemOf(json.status()));
    response.Set("Content-Type", "application/json");
    response.body = *std::move(json);
    DressAnswer(job->request(), TextField(*message, "etag"), response);
    Finish(*job, std::move(response));
  };
  const auto call = calls_.StartUnary(std::move(request), done);
  job->exchange->WhenGone([call] { call->Cancel(); });
}

}  // namespace umbra::rest
