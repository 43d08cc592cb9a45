// Files that are there whole or not at all.
#pragma once

#include <functional>
#include <ostream>
#include <string>

namespace borealis {

// Lets `writer` fill a file of its own beside `path`, brings it to the disk and then gives it the
// name `path`: a crash, a full disk or an exception leaves what was there before and no litter, and
// of several writers one wins whole. What is there must be a regular file; a link or a pipe is left
// alone. Trouble is a std::runtime_error of one sentence that names the file.
void write_file_atomically(const std::string& path, const std::function<void(std::ostream&)>& writer);

// Removes what writers of `path` left beside it when they were killed. Only for a caller who knows
// that nobody else is writing it.
void remove_unfinished(const std::string& path);

// All of it, however often the system takes a part only; false with the reason in errno.
bool write_all(int file, const char* data, size_t size);

}  // namespace borealis
