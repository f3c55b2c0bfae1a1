# umbra_room(NAME SOURCES ... DEPS ...): the library umbra_NAME of one folder, linked only to the rooms it may know.
function(umbra_room name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(umbra_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(umbra_${name} PUBLIC umbra_options ${ARG_DEPS})
endfunction()

# umbra_test(NAME SOURCES ... DEPS ... [LABELS ...]): one test program per room, run by ctest.
# Tests with the label "lab" need a real virtual machine; tests/run starts the lab for them.
function(umbra_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE umbra_options ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()
