# The daemon itself: configuration, assembly, program.
umbra_room(config
  SOURCES config.cc
  DEPS umbra_base PkgConfig::TOMLPLUSPLUS CLI11::CLI11 absl::time)

umbra_room(server
  SOURCES repository_keys.cc restore_catalog.cc server.cc service_manager.cc unix_socket.cc
  DEPS umbra_config umbra_secrets umbra_api umbra_rest umbra_agent_api umbra_metrics umbra_notifications umbra_maintenance umbra_auth umbra_identity umbra_dispatch umbra_jobs umbra_repo
       umbra_catalog umbra_tls umbra_base gRPC::grpc++ gRPC::grpc++_reflection nlohmann_json::nlohmann_json PkgConfig::SYSTEMD)

add_executable(umbrad main.cc)
target_link_libraries(umbrad PRIVATE umbra_server)
