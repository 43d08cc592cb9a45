// Files that are there whole or not at all.
#pragma once

#include <functional>
#include <ostream>
#include <string>

namespace borealis {

// Lets `writer` fill a file beside `path`, brings it to the disk and then gives it the name `path`:
// a crash, a full disk or an exception leaves what was there before and no litter. Trouble is a
// std::runtime_error of one sentence that names the file.
void write_file_atomically(const std::string& path,
                           const std::function<void(std::ostream&)>& writer);

}  // namespace borealis
