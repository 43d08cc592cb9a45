# Builds the project in this folder and runs its programs. Usage: cmake -DKIND=installed|shared|fetched -DBUILD=DIR
# -DGENERATOR=… -P run.cmake; `installed` installs the build in DIR, the others build the library anew, quickly rather than
# for speed.
cmake_minimum_required(VERSION 3.24)

set(work ${BUILD}/tests/consumer/${KIND})
set(source ${CMAKE_CURRENT_LIST_DIR}/../..)
file(REMOVE_RECURSE ${work})

set(common -G ${GENERATOR} -DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}
  -DCMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER} -DCMAKE_BUILD_TYPE=None)
set(quickly -DCMAKE_CXX_FLAGS=-O1 -DBOREALIS_GEMM=eigen)
if(SANITIZE)  # and so the library that was installed
  list(APPEND common "-DCMAKE_CXX_FLAGS=-fsanitize=address,undefined")
endif()

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

if(KIND STREQUAL "installed")
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${work}/prefix)
elseif(KIND STREQUAL "shared")
  run(${CMAKE_COMMAND} -S ${source} -B ${work}/library ${common} ${quickly} -DBUILD_SHARED_LIBS=ON
    -DBOREALIS_NATIVE=OFF -DBOREALIS_TESTS=OFF -DBOREALIS_DEMOS=OFF)
  run(${CMAKE_COMMAND} --build ${work}/library)
  run(${CMAKE_COMMAND} --install ${work}/library --prefix ${work}/prefix)
endif()

if(KIND STREQUAL "fetched")
  set(how ${quickly} -DBOREALIS_SOURCE=${source})
else()
  set(how -DCMAKE_PREFIX_PATH=${work}/prefix)
  # Eigen and nlohmann_json are no business of who uses the library.
  list(APPEND how -DCMAKE_DISABLE_FIND_PACKAGE_Eigen3=ON -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON)
endif()
run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR} -B ${work}/consumer ${common} ${how})
run(${CMAKE_COMMAND} --build ${work}/consumer)
run(${work}/consumer/learn_xor)
execute_process(COMMAND ${work}/consumer/readme_program ${source}/README.md 10
  WORKING_DIRECTORY ${work} OUTPUT_VARIABLE said COMMAND_ERROR_IS_FATAL ANY)
message("${said}")
# A sample of 500 characters; after ten steps nothing is certain of them, not even a second line.
string(REGEX REPLACE "^step 10  loss [0-9.]+\n" "" sample "${said}")
string(LENGTH "${sample}" length)
if(sample STREQUAL said OR length LESS 500 OR NOT EXISTS ${work}/model.safetensors)
  message(FATAL_ERROR "README's program did not train, save and print a sample")
endif()
