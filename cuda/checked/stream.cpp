#include "cuda/checked/stream.h"

#include <set>
#include <utility>

#include "cuda/checked/api.h"
#include "cuda/checked/errors.h"
#include "cuda/checked/grid.h"

using namespace borealis::stand_in;

namespace {

std::set<CUstream_st*>& streams() {
  static std::set<CUstream_st*> all;
  return all;
}

}  // namespace

CUstream_st::CUstream_st() { streams().insert(this); }
CUstream_st::~CUstream_st() { streams().erase(this); }

void CUstream_st::add(Work work) {
  pending_.push_back(std::move(work));
  if (pending_.size() > controls.lag) run_until(issued() - controls.lag);
}

void CUstream_st::run_until(uint64_t ticket) {
  while (done_ < ticket && !pending_.empty()) {
    const Work work = std::move(pending_.front());
    pending_.pop_front();
    ++done_;
    work();
  }
}

namespace borealis::stand_in {

CUstream_st& checked(CUstream_st* stream, const char* call) {
  if (!stream) fault(call, ": the default stream, with which other streams do not keep step; take one of your own");
  if (!streams().contains(stream)) fault(call, ": a stream that does not exist");
  return *stream;
}

void run_all_streams() {
  for (CUstream_st* stream : streams()) stream->run_until(stream->issued());
}

}  // namespace borealis::stand_in

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  if (refuses(__func__)) return told(cudaErrorInvalidValue);
  if (flags != cudaStreamNonBlocking) fault("cudaStreamCreateWithFlags: only cudaStreamNonBlocking");
  *stream = new CUstream_st;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  checked(stream, "cudaStreamDestroy").run_until(stream->issued());
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (refuses(__func__)) return told(cudaErrorInvalidValue);
  ++counts.waits;
  checked(stream, "cudaStreamSynchronize").run_until(stream->issued());
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  ++counts.waits;
  run_all_streams();
  return cudaSuccess;
}

// --- events -------------------------------------------------------------------------------------------------

struct CUevent_st {
  CUstream_st* stream = nullptr;  // null: not recorded
  uint64_t ticket = 0;            // of the last work before it
};

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  if (refuses(__func__)) return told(cudaErrorInvalidValue);
  *event = new CUevent_st;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (refuses(__func__)) return told(cudaErrorInvalidValue);
  *event = {.stream = stream, .ticket = checked(stream, "cudaEventRecord").issued()};
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (refuses(__func__)) return told(cudaErrorInvalidValue);
  ++counts.waits;
  if (streams().contains(event->stream)) event->stream->run_until(event->ticket);
  return cudaSuccess;
}

// Being asked lets one piece of work be done, so that a loop that asks comes to its end.
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (!streams().contains(event->stream) || event->stream->done() >= event->ticket) return cudaSuccess;
  event->stream->run_until(event->stream->done() + 1);
  return cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 0;  // time is of no meaning here
  return cudaSuccess;
}
