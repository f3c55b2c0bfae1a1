# The program. Its configuration is a library, so that tests can read it without a process.
umbra_room(agent_config
  SOURCES config.cc
  DEPS umbra_base umbra_hypervisor umbra_writers CLI11::CLI11 PkgConfig::TOMLPLUSPLUS)

add_executable(umbra-agent main.cc)
target_link_libraries(umbra-agent PRIVATE
  umbra_agent_config umbra_cluster_pacemaker umbra_runner umbra_link umbra_writers umbra_hypervisor_simulated umbra_base)
if(UMBRA_HYPERVISOR_LIBVIRT)
  target_link_libraries(umbra-agent PRIVATE umbra_hypervisor_libvirt)
  target_compile_definitions(umbra-agent PRIVATE UMBRA_HYPERVISOR_LIBVIRT)
endif()
