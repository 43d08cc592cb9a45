#include "engine/files.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <unistd.h>

#include "engine/error.h"

namespace borealis {

namespace {

// Brings a file's numbers to the disk: without it a crash soon after the rename may leave it empty.
bool sync(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY);
  if (file < 0) return false;
  const bool done = ::fsync(file) == 0;
  ::close(file);
  return done;
}

}  // namespace

void write_file_atomically(const std::string& path,
                           const std::function<void(std::ostream&)>& writer) {
  std::error_code ignored;
  // A rename would replace a device or pipe by a file.
  if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored))
    fail_runtime("file: '", path, "' cannot be written: it exists and is not a regular file");

  const std::string temporary = path + ".tmp";
  const auto give_up = [&] {
    const int reason = errno;
    std::remove(temporary.c_str());
    fail_runtime("file: '", path, "' cannot be written: ", std::strerror(reason ? reason : EIO));
  };
  errno = 0;
  std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
  if (!out) fail_runtime("file: '", path, "' cannot be written: ", std::strerror(errno));
  try {
    writer(out);
  } catch (...) {
    out.close();
    std::remove(temporary.c_str());
    throw;
  }
  out.close();
  if (!out || !sync(temporary) || std::rename(temporary.c_str(), path.c_str()) != 0) give_up();
}

}  // namespace borealis
