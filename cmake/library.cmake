# libfurlong: all floors in one library, static and shared, and what a program needs to build with it.
set(objects "")
foreach(floor ${FL_FLOORS})
  list(APPEND objects $<TARGET_OBJECTS:fl_${floor}>)
endforeach()
set(libraries PkgConfig::JANSSON PkgConfig::UTF8PROC PkgConfig::PCRE2 PkgConfig::ZSTD Threads::Threads m)

add_library(furlong_shared SHARED ${objects})
add_library(furlong_static STATIC ${objects})
foreach(library furlong_shared furlong_static)
  set_target_properties(${library} PROPERTIES OUTPUT_NAME furlong LINKER_LANGUAGE C)
  target_include_directories(${library} PUBLIC ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(${library} PRIVATE ${libraries})
endforeach()
# Before 1.0 every minor version may change the interface.
set_target_properties(furlong_shared PROPERTIES VERSION ${PROJECT_VERSION}
                                                SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
if(NOT FL_SANITIZE)
  target_link_options(furlong_shared PRIVATE -Wl,--no-undefined)
endif()

# The file finds its prefix from where it lies, so that an installation can be moved.
file(RELATIVE_PATH FL_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/furlong.pc.in ${PROJECT_BINARY_DIR}/furlong.pc @ONLY)

install(TARGETS furlong_shared furlong_static)
install(FILES include/furlong.h TYPE INCLUDE)
install(FILES ${PROJECT_BINARY_DIR}/furlong.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES LICENSE TYPE DOC)
