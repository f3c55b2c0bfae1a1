#include "server/api/notification_service.h"

#include <google/protobuf/util/field_mask_util.h>

#include <utility>

#include "server/api/names.h"
#include "server/api/notification_convert.h"
#include "server/api/paging.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

// A person's doing; more would be a program gone wrong.
constexpr size_t kChannelsMax = 100;

absl::Status CheckEtag(const catalog::Channel& channel, const std::string& etag) {
  if (etag.empty() || etag == EtagOf(channel)) return absl::OkStatus();
  return base::Error(absl::StatusCode::kAborted, "NOTIFICATION_CHANNEL_CHANGED",
                     "notification channel {} was changed since it was read", channel.id);
}

absl::StatusOr<v1::NotificationChannel> Merged(const v1::NotificationChannel& current,
                                               const v1::UpdateNotificationChannelRequest& request) {
  const google::protobuf::FieldMask& mask = request.update_mask();
  if (mask.paths().empty() || (mask.paths_size() == 1 && mask.paths(0) == "*")) return request.notification_channel();
  if (!google::protobuf::util::FieldMaskUtil::IsValidFieldMask<v1::NotificationChannel>(mask)) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST",
                       "update_mask: not fields of a notification channel");
  }
  google::protobuf::util::FieldMaskUtil::MergeOptions options;
  options.set_replace_message_fields(true);
  options.set_replace_repeated_fields(true);
  v1::NotificationChannel merged = current;
  google::protobuf::util::FieldMaskUtil::MergeMessageTo(request.notification_channel(), mask, options, &merged);
  return merged;
}

// Digests cover the time since the last one; of a time in which there were none, or others, nothing is made up.
bool BeginsDigestsAnew(const catalog::Channel& before, const catalog::Channel& after) {
  return before.digest_schedule != after.digest_schedule || before.time_zone != after.time_zone ||
         (before.paused && !after.paused);
}

}  // namespace

grpc::ServerUnaryReactor* NotificationService::CreateNotificationChannel(
    Context* context, const v1::CreateNotificationChannelRequest* request, v1::NotificationChannel* response) {
  return door_.Unary(context, request, response, [=, this] { return Create(*request, *response); });
}

grpc::ServerUnaryReactor* NotificationService::GetNotificationChannel(Context* context,
                                                                      const v1::GetNotificationChannelRequest* request,
                                                                      v1::NotificationChannel* response) {
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::ChannelId id, ParseChannelName(request->name(), "name"));
    return Answer(id, *response);
  });
}

grpc::ServerUnaryReactor* NotificationService::ListNotificationChannels(
    Context* context, const v1::ListNotificationChannelsRequest* request,
    v1::ListNotificationChannelsResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return List(*request, *response); });
}

grpc::ServerUnaryReactor* NotificationService::UpdateNotificationChannel(
    Context* context, const v1::UpdateNotificationChannelRequest* request, v1::NotificationChannel* response) {
  return door_.Unary(context, request, response, [=, this] { return Update(*request, *response); });
}

grpc::ServerUnaryReactor* NotificationService::DeleteNotificationChannel(
    Context* context, const v1::DeleteNotificationChannelRequest* request, google::protobuf::Empty* response) {
  (void)response;
  return door_.Unary(context, request, response, [=, this] { return Delete(*request); });
}

grpc::ServerUnaryReactor* NotificationService::TestNotificationChannel(
    Context* context, const v1::TestNotificationChannelRequest* request, v1::Notification* response) {
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::ChannelId id, ParseChannelName(request->name(), "name"));
    ASSIGN_OR_RETURN(const catalog::Delivery queued, notifications_.Test(id));
    ToProto(queued, response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* NotificationService::GetNotification(Context* context,
                                                               const v1::GetNotificationRequest* request,
                                                               v1::Notification* response) {
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const NotificationName name, ParseNotificationName(request->name(), "name"));
    ASSIGN_OR_RETURN(const catalog::Delivery delivery,
                     catalog_.Read([&](const catalog::Stores& s) { return s.notifications.GetDelivery(name.id); }));
    if (delivery.channel != name.channel) {
      return base::Error(absl::StatusCode::kNotFound, "NOTIFICATION_NOT_FOUND", "no notification {}", name.id);
    }
    ToProto(delivery, response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* NotificationService::ListNotifications(Context* context,
                                                                 const v1::ListNotificationsRequest* request,
                                                                 v1::ListNotificationsResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return ListMessages(*request, *response); });
}

catalog::Event NotificationService::EventOf(const catalog::ChannelId& id, const std::string& type) const {
  return {.time = clock_.Now(), .type = type, .resource = NameOf(id), .message = NameOf(id)};
}

absl::Status NotificationService::Answer(const catalog::ChannelId& id, v1::NotificationChannel& response) const {
  return catalog_.Read([&](const catalog::Stores& s) -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::Channel channel, s.notifications.Get(id));
    ASSIGN_OR_RETURN(const auto waiting, s.notifications.FactsOfWaiting(id));
    ToProto(channel, &response);
    response.set_waiting_count(waiting.count + channel.overflow_count);
    return absl::OkStatus();
  });
}

absl::Status NotificationService::Create(const v1::CreateNotificationChannelRequest& request,
                                         v1::NotificationChannel& response) {
  ASSIGN_OR_RETURN(const catalog::ChannelId id, CheckChannelId(request.notification_channel_id()));
  ASSIGN_OR_RETURN(catalog::Channel channel, FromProto(request.notification_channel()));
  channel.id = id;
  channel.create_time = channel.update_time = channel.digest_done = channel.rate_used_to = clock_.Now();
  RETURN_IF_ERROR(notifications_.Check(channel));
  RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& s) -> absl::Status {
    ASSIGN_OR_RETURN(const auto all, s.notifications.All());
    if (all.size() >= kChannelsMax) {
      return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "there are {} channels already",
                         kChannelsMax);
    }
    RETURN_IF_ERROR(s.notifications.Insert(channel));
    return s.events.Append(EventOf(id, "NOTIFICATION_CHANNEL_CREATED")).status();
  }));
  notifications_.Wake();
  return Answer(id, response);
}

absl::Status NotificationService::Update(const v1::UpdateNotificationChannelRequest& request,
                                         v1::NotificationChannel& response) {
  ASSIGN_OR_RETURN(const catalog::ChannelId id,
                   ParseChannelName(request.notification_channel().name(), "notification_channel.name"));
  ASSIGN_OR_RETURN(const catalog::Channel current,
                   catalog_.Read([&](const catalog::Stores& s) { return s.notifications.Get(id); }));
  RETURN_IF_ERROR(CheckEtag(current, request.notification_channel().etag()));
  v1::NotificationChannel said;
  ToProto(current, &said);
  ASSIGN_OR_RETURN(const v1::NotificationChannel merged, Merged(said, request));
  ASSIGN_OR_RETURN(catalog::Channel updated, FromProto(merged));
  updated.id = id;
  updated.create_time = current.create_time;
  updated.update_time = clock_.Now();
  updated.digest_done = updated.update_time;
  RETURN_IF_ERROR(notifications_.Check(updated));
  RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& s) -> absl::Status {
    ASSIGN_OR_RETURN(catalog::Channel now, s.notifications.Get(id));
    // The check, which reads files, was outside of the transaction.
    RETURN_IF_ERROR(CheckEtag(now, EtagOf(current)));
    RETURN_IF_ERROR(s.notifications.Update(updated));
    if (BeginsDigestsAnew(current, updated)) {
      now.digest_done = updated.update_time;
      RETURN_IF_ERROR(s.notifications.SetProgress(now));
    }
    return s.events.Append(EventOf(id, "NOTIFICATION_CHANNEL_UPDATED")).status();
  }));
  notifications_.Wake();
  return Answer(id, response);
}

absl::Status NotificationService::List(const v1::ListNotificationChannelsRequest& request,
                                       v1::ListNotificationChannelsResponse& response) {
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<std::string>(request, "notificationChannels"));
  ASSIGN_OR_RETURN(const auto all, catalog_.Read([](const catalog::Stores& s) { return s.notifications.All(); }));
  std::optional<std::string> last;
  for (const catalog::Channel& channel : all) {
    if (options.after_key && channel.id.value <= *options.after_key) continue;
    if (response.notification_channels_size() == options.page_size) {
      response.set_next_page_token(NextPageToken(last, "notificationChannels"));
      break;
    }
    last = channel.id.value;
    const absl::Status answered = Answer(channel.id, *response.add_notification_channels());
    // Deleted meanwhile.
    if (absl::IsNotFound(answered)) {
      response.mutable_notification_channels()->RemoveLast();
      continue;
    }
    RETURN_IF_ERROR(answered);
  }
  return absl::OkStatus();
}

absl::Status NotificationService::Delete(const v1::DeleteNotificationChannelRequest& request) {
  ASSIGN_OR_RETURN(const catalog::ChannelId id, ParseChannelName(request.name(), "name"));
  RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& s) -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::Channel channel, s.notifications.Get(id));
    RETURN_IF_ERROR(CheckEtag(channel, request.etag()));
    RETURN_IF_ERROR(s.notifications.Delete(id));
    return s.events.Append(EventOf(id, "NOTIFICATION_CHANNEL_DELETED")).status();
  }));
  notifications_.Wake();
  return absl::OkStatus();
}

absl::Status NotificationService::ListMessages(const v1::ListNotificationsRequest& request,
                                               v1::ListNotificationsResponse& response) {
  ASSIGN_OR_RETURN(const auto channel, ParseChannelNameOrAll(request.parent(), "parent"));
  const std::string list = "notifications of " + request.parent();
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<int64_t>(request, list));
  ASSIGN_OR_RETURN(const auto page, catalog_.Read([&](const catalog::Stores& s) {
    return s.notifications.ListDeliveries(channel, options);
  }));
  for (const catalog::Delivery& delivery : page.items) ToProto(delivery, response.add_notifications());
  response.set_next_page_token(NextPageToken(page.next_key, list));
  return absl::OkStatus();
}

}  // namespace umbra::api
