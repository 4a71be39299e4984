# The manual page and completion, from the same tables of flags as --help.
if(NOT CMAKE_CROSSCOMPILING OR CMAKE_CROSSCOMPILING_EMULATOR)
  add_custom_command(TARGET furlong POST_BUILD
                     COMMAND furlong --man > furlong.1
                     COMMAND furlong --completion bash > completion.bash
                     COMMAND furlong --completion zsh > completion.zsh
                     COMMAND furlong --completion fish > completion.fish)
  install(FILES ${PROJECT_BINARY_DIR}/furlong.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  set(data ${CMAKE_INSTALL_DATADIR})
  install(FILES ${PROJECT_BINARY_DIR}/completion.bash DESTINATION ${data}/bash-completion/completions RENAME furlong)
  install(FILES ${PROJECT_BINARY_DIR}/completion.zsh DESTINATION ${data}/zsh/site-functions RENAME _furlong)
  install(FILES ${PROJECT_BINARY_DIR}/completion.fish DESTINATION ${data}/fish/vendor_completions.d RENAME furlong.fish)
endif()
