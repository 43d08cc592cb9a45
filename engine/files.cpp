#include "engine/files.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <streambuf>

#include <fcntl.h>
#include <unistd.h>

#include "engine/error.h"

namespace borealis {

namespace fs = std::filesystem;

namespace {

// Where a stream's bytes go on their way to an open file. Remembers why that failed.
class FileBuffer : public std::streambuf {
 public:
  explicit FileBuffer(int file) : file_(file) { empty(); }
  int trouble() const { return trouble_; }

 protected:
  int sync() override {
    const bool done = send(pbase(), static_cast<size_t>(pptr() - pbase()));
    empty();
    return done ? 0 : -1;
  }
  int_type overflow(int_type c) override {
    if (sync() != 0) return traits_type::eof();
    if (!traits_type::eq_int_type(c, traits_type::eof())) sputc(traits_type::to_char_type(c));
    return traits_type::not_eof(c);
  }
  // What does not fit goes around the buffer.
  std::streamsize xsputn(const char* data, std::streamsize n) override {
    if (n <= epptr() - pptr()) {
      std::memcpy(pptr(), data, static_cast<size_t>(n));
      pbump(static_cast<int>(n));
      return n;
    }
    return sync() == 0 && send(data, static_cast<size_t>(n)) ? n : 0;
  }

 private:
  int file_, trouble_ = 0;
  std::array<char, 1 << 14> buffer_;

  void empty() { setp(buffer_.data(), buffer_.data() + buffer_.size()); }
  bool send(const char* data, size_t size) {
    if (write_all(file_, data, size)) return true;
    trouble_ = errno;
    return false;
  }
};

constexpr const char* ending = ".tmp";

// A new file that no other writer has, and nobody can have laid out as a link: "PATH.12345-0.tmp".
int make_own(const std::string& path, std::string& own) {
  static std::atomic<unsigned> count{0};
  for (;;) {
    own = path + '.' + std::to_string(::getpid()) + '-' + std::to_string(count++) + ending;
    const int file = ::open(own.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (file >= 0 || errno != EEXIST) return file;
  }
}

// Without this a crash soon after may leave the file empty, or bring back its old name.
bool bring_to_disk(int file) {
  while (::fsync(file) != 0)
    if (errno != EINTR) return false;
  return true;
}

void bring_folder_to_disk(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  const int folder = ::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  bring_to_disk(folder);  // some systems cannot; the file is there all the same
  ::close(folder);
}

}  // namespace

bool write_all(int file, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(file, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    data += written;
    size -= static_cast<size_t>(written);
  }
  return true;
}

void write_file_atomically(const std::string& path, const std::function<void(std::ostream&)>& writer) {
  // A rename would replace a device, a pipe or a link by a file.
  std::error_code ignored;
  const fs::file_status there = fs::symlink_status(path, ignored);
  if (fs::is_symlink(there))
    fail_runtime("file: '", path, "' cannot be written: it is a symbolic link; give the path it leads to");
  if (fs::exists(there) && !fs::is_regular_file(there))
    fail_runtime("file: '", path, "' cannot be written: it exists and is not a regular file");

  std::string own;
  const int file = make_own(path, own);
  if (file < 0) fail_runtime("file: '", path, "' cannot be written: ", std::strerror(errno));
  FileBuffer buffer(file);
  errno = 0;
  std::ostream out(&buffer);
  try {
    writer(out);
  } catch (...) {
    ::close(file);
    ::unlink(own.c_str());
    throw;
  }
  const auto give_up = [&](int reason) {
    ::unlink(own.c_str());
    fail_runtime("file: '", path, "' cannot be written: ", std::strerror(reason ? reason : EIO));
  };
  const bool sent = out.flush() && bring_to_disk(file);
  const int reason = buffer.trouble() ? buffer.trouble() : errno;
  const bool closed = ::close(file) == 0 || errno == EINTR;
  if (!sent) give_up(reason);
  if (!closed || ::rename(own.c_str(), path.c_str()) != 0) give_up(errno);
  bring_folder_to_disk(path);
}

void remove_unfinished(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  const std::string beginning = fs::path(path).filename().string() + '.';
  const size_t shortest = beginning.size() + std::strlen(ending);
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(parent.empty() ? "." : parent, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.size() <= shortest || !name.starts_with(beginning) || !name.ends_with(ending)) continue;
    const std::string middle = name.substr(beginning.size(), name.size() - shortest);
    if (middle.find_first_not_of("0123456789-") == std::string::npos) fs::remove(entry.path(), ignored);
  }
}

}  // namespace borealis
