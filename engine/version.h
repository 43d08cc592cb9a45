// The version of all of Borealis; CMake reads it from here. What changed stands in CHANGELOG.md.
#pragma once

#define BOREALIS_VERSION "0.2.0"
