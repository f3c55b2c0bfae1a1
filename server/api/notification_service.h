// umbra.v1.NotificationService: channels, and the messages that went over them.
#ifndef UMBRA_SERVER_API_NOTIFICATION_SERVICE_H_
#define UMBRA_SERVER_API_NOTIFICATION_SERVICE_H_

#include <string>

#include "absl/status/status.h"
#include "server/api/door.h"
#include "server/notifications/notifications.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"
#include "umbra/v1/notification.grpc.pb.h"

namespace umbra::api {

// Thread-safe. What it is given outlives it.
class NotificationService final : public v1::NotificationService::CallbackService {
 public:
  NotificationService(Door& door, catalog::Catalog& catalog, base::Clock& clock,
                      notifications::Notifications& notifications)
      : door_(door), catalog_(catalog), clock_(clock), notifications_(notifications) {}

 private:
  using Context = grpc::CallbackServerContext;
  grpc::ServerUnaryReactor* CreateNotificationChannel(Context* context,
                                                      const v1::CreateNotificationChannelRequest* request,
                                                      v1::NotificationChannel* response) override;
  grpc::ServerUnaryReactor* GetNotificationChannel(Context* context, const v1::GetNotificationChannelRequest* request,
                                                   v1::NotificationChannel* response) override;
  grpc::ServerUnaryReactor* ListNotificationChannels(Context* context,
                                                     const v1::ListNotificationChannelsRequest* request,
                                                     v1::ListNotificationChannelsResponse* response) override;
  grpc::ServerUnaryReactor* UpdateNotificationChannel(Context* context,
                                                      const v1::UpdateNotificationChannelRequest* request,
                                                      v1::NotificationChannel* response) override;
  grpc::ServerUnaryReactor* DeleteNotificationChannel(Context* context,
                                                      const v1::DeleteNotificationChannelRequest* request,
                                                      google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* TestNotificationChannel(Context* context, const v1::TestNotificationChannelRequest* request,
                                                    v1::Notification* response) override;
  grpc::ServerUnaryReactor* GetNotification(Context* context, const v1::GetNotificationRequest* request,
                                            v1::Notification* response) override;
  grpc::ServerUnaryReactor* ListNotifications(Context* context, const v1::ListNotificationsRequest* request,
                                              v1::ListNotificationsResponse* response) override;

  absl::Status Create(const v1::CreateNotificationChannelRequest& request, v1::NotificationChannel& response);
  absl::Status Update(const v1::UpdateNotificationChannelRequest& request, v1::NotificationChannel& response);
  absl::Status List(const v1::ListNotificationChannelsRequest& request, v1::ListNotificationChannelsResponse& response);
  absl::Status Delete(const v1::DeleteNotificationChannelRequest& request);
  absl::Status ListMessages(const v1::ListNotificationsRequest& request, v1::ListNotificationsResponse& response);
  // With what waits for it.
  absl::Status Answer(const catalog::ChannelId& id, v1::NotificationChannel& response) const;
  catalog::Event EventOf(const catalog::ChannelId& id, const std::string& type) const;

  Door& door_;
  catalog::Catalog& catalog_;
  base::Clock& clock_;
  notifications::Notifications& notifications_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_NOTIFICATION_SERVICE_H_
