# The stand-in for CUDA (README.md here), and kernels that run on it.

# The stand-in and the backend on it (`ARGN`: its sources), into the library.
function(borealis_add_stand_in)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/checked/*.cpp)
  borealis_add_checked_kernels(borealis_stand_in ${sources} ${ARGN})
  set_target_properties(borealis_stand_in PROPERTIES POSITION_INDEPENDENT_CODE ${BUILD_SHARED_LIBS})
  target_link_libraries(borealis_stand_in PRIVATE OpenMP::OpenMP_CXX)
  target_sources(borealis PRIVATE $<TARGET_OBJECTS:borealis_stand_in>)
  target_link_libraries(borealis PRIVATE ${CMAKE_DL_LIBS})
endfunction()

# borealis_add_checked_kernels(NAME [WATCHED] FILE…): an object library of .cu and .cpp files that include CUDA's headers.
# WATCHED, with g++ and without sanitizers: each access to memory is looked at.
function(borealis_add_checked_kernels name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "WATCHED" "" "")
  add_library(${name} OBJECT ${arg_UNPARSED_ARGUMENTS})
  set_source_files_properties(${arg_UNPARSED_ARGUMENTS} PROPERTIES LANGUAGE CXX)
  target_compile_features(${name} PRIVATE cxx_std_20)
  set_target_properties(${name} PROPERTIES CXX_EXTENSIONS OFF)
  target_include_directories(${name} BEFORE PRIVATE ${PROJECT_SOURCE_DIR}/cuda/checked)
  # No multiplication is fused with an addition that the source does not fuse: the same bits on each machine.
  target_compile_options(${name} PRIVATE -ffp-contract=off -Wno-unknown-pragmas)
  target_link_libraries(${name} PRIVATE borealis_flags)
  if(arg_WATCHED)
    if(BOREALIS_SANITIZE OR NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      message(FATAL_ERROR "${name}: kernels are watched with g++ and without other sanitizers")
    endif()
    if(NOT TARGET borealis_watched)
      add_library(borealis_watched INTERFACE)
      # A float4 stays one access of 16 bytes, as on a GPU.
      target_compile_options(borealis_watched INTERFACE -O1 -fno-tree-vectorize -fno-tree-sra -fsanitize=thread)
    endif()
    target_link_libraries(${name} PRIVATE borealis_watched)  # last, so that its -O1 is
  endif()
endfunction()
