// umbra notification channel add mail | add webhook | list | show | update | test | remove, umbra notification list
#include <fmt/format.h>

#include "server/cli/context.h"
#include "storage/base/clock.h"

namespace umbra::cli {
namespace {

constexpr char kPrefix[] = "NOTIFICATION_TOPIC_";
// A test is one attempt, which takes half a minute at most.
constexpr absl::Duration kTestTimeout = absl::Seconds(45);
constexpr absl::Duration kTestPause = absl::Milliseconds(100);

const std::vector<std::string>& TopicWords() {
  static const auto* words = new std::vector<std::string>{
      "failure", "recovery", "rpo-missed", "agent-offline", "repository-nearly-full", "damage", "digest"};
  return *words;
}

// What both kinds of channels share, then of mail, then of webhooks.
struct ChannelOptions {
  std::string description, digest, zone, window, secret, authority;
  std::vector<std::string> topics;
  int messages_per_hour = 0;
  bool paused = false;
  std::string host, security = "starttls", username, from;
  int port = 0;
  std::vector<std::string> to;
  std::string url;
  bool allow_plaintext = false;
};

std::string ChannelName(const std::string& text) {
  return text.starts_with("notificationChannels/") ? text : "notificationChannels/" + text;
}

google::protobuf::Duration ParseWindow(const std::string& text) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration) || duration < absl::ZeroDuration()) {
    throw ExitError{kExitUsage, fmt::format("--window: \"{}\" is no duration; examples: 30s, 5m", text),
                    "INVALID_REQUEST"};
  }
  google::protobuf::Duration out;
  out.set_seconds(absl::ToInt64Seconds(duration));
  return out;
}

v1::NotificationTopic TopicOf(const std::string& word) {
  for (int i = v1::NOTIFICATION_TOPIC_FAILURE; i <= v1::NotificationTopic_MAX; ++i) {
    const auto topic = static_cast<v1::NotificationTopic>(i);
    if (EnumText(v1::NotificationTopic_Name(topic), kPrefix) == word) return topic;
  }
  throw ExitError{kExitUsage, fmt::format("--topic: \"{}\" is none", word), "INVALID_REQUEST"};
}

std::string TopicsText(const v1::NotificationChannel& channel) {
  std::vector<std::string> words;
  for (const int topic : channel.topics()) {
    words.push_back(EnumText(v1::NotificationTopic_Name(static_cast<v1::NotificationTopic>(topic)), kPrefix));
  }
  return words.empty() ? "all" : JoinText(words, ", ");
}

std::string TargetText(const v1::NotificationChannel& channel) {
  if (channel.has_webhook()) return channel.webhook().url();
  const auto& to = channel.smtp().to();
  return JoinText(std::vector<std::string>(to.begin(), to.end()), ", ");
}

v1::SmtpSettings::Security SecurityOf(const std::string& word) {
  if (word == "tls") return v1::SmtpSettings::SECURITY_TLS;
  return word == "none" ? v1::SmtpSettings::SECURITY_NONE : v1::SmtpSettings::SECURITY_STARTTLS;
}

// Takes the options that were given into the channel, and says which in `mask`.
class Filler {
 public:
  Filler(CLI::App& command, v1::NotificationChannel& channel, google::protobuf::FieldMask& mask)
      : command_(command), channel_(channel), mask_(mask) {}

  void Fill(const ChannelOptions& o) {
    if (Given("--description", "description")) channel_.set_description(o.description);
    if (Given("--topic", "topics")) {
      for (const std::string& word : o.topics) {
        if (word != "all") channel_.add_topics(TopicOf(word));
      }
    }
    if (Given("--digest", "digest_schedule")) channel_.set_digest_schedule(o.digest == "none" ? "" : o.digest);
    if (Given("--zone", "time_zone")) channel_.set_time_zone(o.zone);
    if (Given("--window", "grouping_window")) *channel_.mutable_grouping_window() = ParseWindow(o.window);
    if (Given("--messages-per-hour", "messages_per_hour")) channel_.set_messages_per_hour(o.messages_per_hour);
    if (Given("--paused", "paused")) channel_.set_paused(o.paused);
  }

  void FillMail(const ChannelOptions& o) {
    v1::SmtpSettings& smtp = *channel_.mutable_smtp();
    if (Given("--server", "smtp.host")) smtp.set_host(o.host);
    if (Given("--port", "smtp.port")) smtp.set_port(o.port);
    if (Given("--security", "smtp.security")) smtp.set_security(SecurityOf(o.security));
    if (Given("--user", "smtp.username")) smtp.set_username(o.username);
    if (Given("--secret", "smtp.secret")) smtp.set_secret(o.secret);
    if (Given("--from", "smtp.from")) smtp.set_from(o.from);
    if (Given("--to", "smtp.to")) smtp.mutable_to()->Assign(o.to.begin(), o.to.end());
    if (Given("--trust", "smtp.certificate_authority")) smtp.set_certificate_authority(o.authority);
  }

  void FillWebhook(const ChannelOptions& o) {
    v1::WebhookSettings& webhook = *channel_.mutable_webhook();
    if (Given("--url", "webhook.url")) webhook.set_url(o.url);
    if (Given("--secret", "webhook.secret")) webhook.set_secret(o.secret);
    if (Given("--trust", "webhook.certificate_authority")) webhook.set_certificate_authority(o.authority);
    if (Given("--allow-plaintext", "webhook.allow_plaintext")) webhook.set_allow_plaintext(o.allow_plaintext);
  }

 private:
  bool Given(const std::string& option, const std::string& path) {
    if (command_.get_option(option)->count() == 0) return false;
    mask_.add_paths(path);
    return true;
  }

  CLI::App& command_;
  v1::NotificationChannel& channel_;
  google::protobuf::FieldMask& mask_;
};

v1::NotificationChannel GetChannel(Context& context, const std::string& text) {
  v1::GetNotificationChannelRequest request;
  request.set_name(ChannelName(text));
  return Call(*context.client().notifications, &v1::NotificationService::Stub::GetNotificationChannel, request);
}

std::string LimitText(const v1::NotificationChannel& channel) {
  return fmt::format("{} an hour, grouped for {}", channel.messages_per_hour(),
                     DurationText(channel.grouping_window()));
}

void PrintChannel(Context& context, const v1::NotificationChannel& channel) {
  if (context.json) return context.output().Json(channel);
  const bool mail = channel.has_smtp();
  const v1::SmtpSettings& smtp = channel.smtp();
  context.output().Fields(
      {{"Channel", LastSegment(channel.name())},
       {"Description", channel.description()},
       {"State", channel.paused() ? "paused" : "active"},
       {"Kind", mail ? "mail" : "webhook"},
       {mail ? "To" : "URL", TargetText(channel)},
       {"From", smtp.from()},
       {"Server", mail ? fmt::format("{}:{}, {}", smtp.host(), smtp.port(),
                                     EnumText(v1::SmtpSettings::Security_Name(smtp.security()), "SECURITY_"))
                       : ""},
       {"User", smtp.username()},
       {"Secret", mail ? smtp.secret() : channel.webhook().secret()},
       {"Trusts", mail ? smtp.certificate_authority() : channel.webhook().certificate_authority()},
       {"Topics", TopicsText(channel)},
       {"Digest", channel.digest_schedule().empty() ? "none" : channel.digest_schedule()},
       {"Time zone", channel.time_zone().empty() ? "UTC" : channel.time_zone()},
       {"Messages", LimitText(channel)},
       {"Waiting", fmt::format("{} notices", channel.waiting_count())}});
}

void ListChannels(Context& context) {
  Table table({"CHANNEL", "KIND", "STATE", "TO", "TOPICS", "DIGEST", "WAITING"});
  ForEach(*context.client().notifications, &v1::NotificationService::Stub::ListNotificationChannels,
          v1::ListNotificationChannelsRequest(), &v1::ListNotificationChannelsResponse::notification_channels, 0,
          [&](const v1::NotificationChannel& channel) {
            if (context.json) return context.output().Json(channel);
            table.Add({LastSegment(channel.name()), channel.has_smtp() ? "mail" : "webhook",
                       channel.paused() ? "paused" : "active", TargetText(channel), TopicsText(channel),
                       channel.digest_schedule(), std::to_string(channel.waiting_count())});
          });
  if (!context.json) table.Print();
}

void AddChannel(Context& context, CLI::App& command, const std::string& id, const ChannelOptions& options, bool mail) {
  v1::CreateNotificationChannelRequest request;
  google::protobuf::FieldMask given;
  request.set_notification_channel_id(id);
  Filler filler(command, *request.mutable_notification_channel(), given);
  filler.Fill(options);
  if (mail) {
    filler.FillMail(options);
  } else {
    filler.FillWebhook(options);
  }
  PrintChannel(context, Call(*context.client().notifications, &v1::NotificationService::Stub::CreateNotificationChannel,
                             request));
}

// An option of the other kind would make another channel of it.
void RefuseOthers(CLI::App& command, bool mail) {
  const std::vector<std::string> others =
      mail ? std::vector<std::string>{"--url", "--allow-plaintext"}
           : std::vector<std::string>{"--server", "--port", "--security", "--user", "--from", "--to"};
  for (const std::string& option : others) {
    if (command.get_option(option)->count() == 0) continue;
    throw ExitError{kExitUsage, fmt::format("{}: not of a {} channel", option, mail ? "mail" : "webhook"),
                    "INVALID_REQUEST"};
  }
}

void UpdateChannel(Context& context, CLI::App& command, const std::string& text, const ChannelOptions& options) {
  v1::UpdateNotificationChannelRequest request;
  const bool mail = GetChannel(context, text).has_smtp();
  RefuseOthers(command, mail);
  Filler filler(command, *request.mutable_notification_channel(), *request.mutable_update_mask());
  filler.Fill(options);
  if (mail) {
    filler.FillMail(options);
  } else {
    filler.FillWebhook(options);
  }
  if (request.update_mask().paths().empty()) {
    throw ExitError{kExitUsage, "nothing to change; --help shows the options", "INVALID_REQUEST"};
  }
  request.mutable_notification_channel()->set_name(ChannelName(text));
  PrintChannel(context, Call(*context.client().notifications, &v1::NotificationService::Stub::UpdateNotificationChannel,
                             request));
}

void RemoveChannel(Context& context, const std::string& text, bool yes) {
  const v1::NotificationChannel channel = GetChannel(context, text);
  if (!yes) {
    throw ExitError{kExitUsage,
                    fmt::format("this removes the channel {}; nobody is told by it any more; say --yes to do it",
                                LastSegment(channel.name())),
                    "INVALID_REQUEST"};
  }
  v1::DeleteNotificationChannelRequest request;
  request.set_name(channel.name());
  request.set_etag(channel.etag());
  Call(*context.client().notifications, &v1::NotificationService::Stub::DeleteNotificationChannel, request);
  fmt::print(stderr, "removed channel {}\n", LastSegment(channel.name()));
}

void TestChannel(Context& context, const std::string& text) {
  v1::TestNotificationChannelRequest request;
  request.set_name(ChannelName(text));
  v1::Notification message =
      Call(*context.client().notifications, &v1::NotificationService::Stub::TestNotificationChannel, request);
  base::SystemClock clock;
  const absl::Duration end = clock.Monotonic() + kTestTimeout;
  v1::GetNotificationRequest again;
  again.set_name(message.name());
  while (message.state() == v1::Notification::STATE_QUEUED && clock.Monotonic() < end) {
    clock.Sleep(kTestPause);
    message = Call(*context.client().notifications, &v1::NotificationService::Stub::GetNotification, again);
  }
  if (context.json) context.output().Json(message);
  if (message.state() == v1::Notification::STATE_DELIVERED) {
    if (!context.json) fmt::print("taken by the other side\n");
    return;
  }
  const bool queued = message.state() == v1::Notification::STATE_QUEUED;
  throw ExitError{kExitFailed,
                  context.json ? ""
                  : queued     ? "not sent yet; umbra notification list tells what becomes of it"
                               : message.error_message(),
                  message.error_reason()};
}

void ListMessages(Context& context, const std::string& channel, int limit) {
  v1::ListNotificationsRequest request;
  request.set_parent(ChannelName(channel.empty() ? "-" : channel));
  Table table({"TIME", "CHANNEL", "KIND", "STATE", "ATTEMPTS", "TITLE", "ERROR"});
  ForEach(*context.client().notifications, &v1::NotificationService::Stub::ListNotifications, request,
          &v1::ListNotificationsResponse::notifications, limit, [&](const v1::Notification& message) {
            if (context.json) return context.output().Json(message);
            const std::string& name = message.name();
            const size_t begin = name.find('/') + 1;
            table.Add({TimeText(message.has_create_time(), message.create_time()),
                       name.substr(begin, name.find('/', begin) - begin),
                       EnumText(v1::Notification::Kind_Name(message.kind()), "KIND_"),
                       EnumText(v1::Notification::State_Name(message.state()), "STATE_"),
                       std::to_string(message.attempts()), message.title(), message.error_message()});
          });
  if (!context.json) table.Print();
}

void AddSharedOptions(CLI::App* command, ChannelOptions& o) {
  std::vector<std::string> words = TopicWords();
  words.emplace_back("all");
  command->add_option("--description", o.description, "For people");
  command
      ->add_option("--topic", o.topics,
                   "What it is told of: " + JoinText(TopicWords(), ", ") + "; may be repeated; all when not given")
      ->check(CLI::IsMember(words))
      ->allow_extra_args(false);
  command->add_option("--digest", o.digest, "When it gets a digest, such as \"daily at 07:00\"; none: never");
  command->add_option("--zone", o.zone, "Time zone, such as Europe/Berlin; UTC when not given");
  command->add_option("--window", o.window,
                      "What happens within this time is one message, such as 30s; 1m when not given");
  command
      ->add_option("--messages-per-hour", o.messages_per_hour, "More is held back and told together; 12 when not given")
      ->check(CLI::Range(1, 1000));
  command->add_flag("--paused,!--active", o.paused, "Send nothing; what happens meanwhile isn't told later");
}

void AddMailOptions(CLI::App* command, ChannelOptions& o) {
  command->add_option("--server", o.host, "Mail server");
  command->add_option("--port", o.port, "587, with tls 465, with none 25 when not given")->check(CLI::Range(1, 65535));
  command->add_option("--security", o.security, "starttls, tls or none")
      ->check(CLI::IsMember({"starttls", "tls", "none"}));
  command->add_option("--user", o.username, "For authentication");
  command->add_option("--from", o.from, "Address of the sender");
  command->add_option("--to", o.to, "Who gets it; may be repeated")->allow_extra_args(false);
}

void AddWebhookOptions(CLI::App* command, ChannelOptions& o) {
  command->add_option("--url", o.url, "https://...");
  command->add_flag("--allow-plaintext", o.allow_plaintext, "Also http://, which everybody on the way can read");
}

void AddSecretOptions(CLI::App* command, ChannelOptions& o) {
  command->add_option("--secret", o.secret,
                      "File with the password, or the key of the signature, in umbrad's folder of secrets");
  command->add_option("--trust", o.authority, "File with certificates to trust, in umbrad's folder of secrets");
}

void AddAddVerbs(CLI::App* channel, Context& context, std::string& name, ChannelOptions& options) {
  CLI::App* add = channel->add_subcommand("add", "Makes a channel: add mail, add webhook");
  add->require_subcommand(1);
  CLI::App* mail = add->add_subcommand("mail", "Sends mail over SMTP");
  mail->add_option("NAME", name, "1 to 63 of a-z, 0-9 and -")->required();
  AddMailOptions(mail, options);
  AddSecretOptions(mail, options);
  for (const char* option : {"--server", "--from", "--to"}) mail->get_option(option)->required();
  AddSharedOptions(mail, options);
  mail->footer(
      "Example:\n  umbra notification channel add mail ops --server mail.example.org --user umbra --secret "
      "mail-password \\\n      --from umbra@example.org --to ops@example.org --digest \"daily at 07:00\" --zone "
      "Europe/Berlin");
  mail->callback([&context, mail, &name, &options] { AddChannel(context, *mail, name, options, true); });

  CLI::App* webhook = add->add_subcommand("webhook", "Sends signed JSON to a program");
  webhook->add_option("NAME", name, "1 to 63 of a-z, 0-9 and -")->required();
  AddWebhookOptions(webhook, options);
  AddSecretOptions(webhook, options);
  for (const char* option : {"--url", "--secret"}) webhook->get_option(option)->required();
  AddSharedOptions(webhook, options);
  webhook->footer(
      "Example:\n  umbra notification channel add webhook chat --url https://chat.example.org/hooks/umbra --secret "
      "chat-key \\\n      --topic failure --topic damage --topic recovery");
  webhook->callback([&context, webhook, &name, &options] { AddChannel(context, *webhook, name, options, false); });
}

}  // namespace

void AddNotificationCommands(CLI::App& app, Context& context) {
  static std::string name, of_channel;
  static ChannelOptions options;
  static bool yes = false;
  static int limit = 50;
  CLI::App* notification =
      app.add_subcommand("notification", "Who is told when something goes wrong, and when it is over");
  notification->require_subcommand(1);
  CLI::App* list = notification->add_subcommand("list", "Lists messages, newest first");
  list->add_option("--channel", of_channel, "Only of this channel");
  list->add_option("--limit", limit, "Most lines; 0 means all")->capture_default_str();
  list->footer("Examples:\n  umbra notification list\n  umbra notification list --channel ops --json");
  list->callback([&context] { ListMessages(context, of_channel, limit); });

  CLI::App* channel = notification->add_subcommand("channel", "Where messages go");
  channel->require_subcommand(1);
  AddAddVerbs(channel, context, name, options);
  CLI::App* channels = channel->add_subcommand("list", "Lists channels");
  channels->footer("Example:\n  umbra notification channel list");
  channels->callback([&context] { ListChannels(context); });
  const auto verb = [&](const char* word, const char* help) {
    CLI::App* command = channel->add_subcommand(word, help);
    command->add_option("CHANNEL", name, "Name")->required();
    return command;
  };
  CLI::App* show = verb("show", "Shows a channel");
  show->footer("Example:\n  umbra notification channel show ops");
  show->callback([&context] { PrintChannel(context, GetChannel(context, name)); });
  CLI::App* update = verb("update", "Changes what is given of a channel");
  AddMailOptions(update, options);
  AddWebhookOptions(update, options);
  AddSecretOptions(update, options);
  AddSharedOptions(update, options);
  update->footer(
      "Examples:\n  umbra notification channel update ops --digest \"daily at 06:30\"\n  umbra notification channel "
      "update ops --to ops@example.org --to night@example.org\n  umbra notification channel update ops --paused");
  update->callback([&context, update] { UpdateChannel(context, *update, name, options); });
  CLI::App* test = verb("test", "Sends a message now, and tells whether it was taken");
  test->footer("Example:\n  umbra notification channel test ops");
  test->callback([&context] { TestChannel(context, name); });
  CLI::App* remove = verb("remove", "Removes a channel and what waits for it");
  remove->add_flag("--yes", yes, "Really remove it");
  remove->footer("Example:\n  umbra notification channel remove ops --yes");
  remove->callback([&context] { RemoveChannel(context, name, yes); });
}

}  // namespace umbra::cli
