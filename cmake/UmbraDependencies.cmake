# Every outside library, found once. docs/dependencies.md has the reason for each.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Protobuf REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(fmt CONFIG REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(pugixml CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(GTest CONFIG REQUIRED)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(LZ4 REQUIRED IMPORTED_TARGET liblz4)
pkg_check_modules(PROMETHEUS REQUIRED IMPORTED_TARGET prometheus-cpp-core)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl>=7.85)
find_library(UMBRA_CIVETWEB civetweb REQUIRED)
pkg_check_modules(SYSTEMD REQUIRED IMPORTED_TARGET libsystemd)
pkg_check_modules(TOMLPLUSPLUS REQUIRED IMPORTED_TARGET tomlplusplus)
if(UMBRA_HYPERVISOR_LIBVIRT)
  pkg_check_modules(LIBVIRT REQUIRED IMPORTED_TARGET libvirt)
  pkg_check_modules(LIBNBD REQUIRED IMPORTED_TARGET libnbd)
endif()

if(NOT EXISTS "${UMBRA_BLAKE3_DIR}/blake3.c")
  message(FATAL_ERROR "BLAKE3 sources not found in ${UMBRA_BLAKE3_DIR}: run deploy/install-deps --build")
endif()
add_library(umbra_blake3 STATIC
  ${UMBRA_BLAKE3_DIR}/blake3.c
  ${UMBRA_BLAKE3_DIR}/blake3_dispatch.c
  ${UMBRA_BLAKE3_DIR}/blake3_portable.c)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_sources(umbra_blake3 PRIVATE
    ${UMBRA_BLAKE3_DIR}/blake3_sse2_x86-64_unix.S
    ${UMBRA_BLAKE3_DIR}/blake3_sse41_x86-64_unix.S
    ${UMBRA_BLAKE3_DIR}/blake3_avx2_x86-64_unix.S
    ${UMBRA_BLAKE3_DIR}/blake3_avx512_x86-64_unix.S)
else()
  target_compile_definitions(umbra_blake3 PRIVATE BLAKE3_NO_SSE2 BLAKE3_NO_SSE41 BLAKE3_NO_AVX2 BLAKE3_NO_AVX512 BLAKE3_USE_NEON=0)
endif()
target_include_directories(umbra_blake3 SYSTEM PUBLIC "${UMBRA_BLAKE3_DIR}")
