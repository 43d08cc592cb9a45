#include "cuda/checked/stream.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "cuda/checked/api.h"
#include "cuda/checked/errors.h"
#include "cuda/checked/grid.h"

using borealis::stand_in::checked;
using borealis::stand_in::counts;
using borealis::stand_in::fault;
using borealis::stand_in::told;

namespace {

std::set<CUstream_st*>& streams() {
  static std::set<CUstream_st*> all;
  return all;
}

std::set<CUevent_st*>& events() {
  static std::set<CUevent_st*> all;
  return all;
}

}  // namespace

struct CUevent_st {
  CUstream_st* stream = nullptr;  // null: not recorded
  uint64_t ticket = 0;            // of the stream, when the work before the event is done
  std::chrono::steady_clock::time_point time = {};

  bool is_done() const { return !stream || !streams().contains(stream) || stream->done() >= ticket; }
  void wait() const {
    if (!is_done()) stream->run_until(ticket);
  }
};

namespace {

CUevent_st& checked(cudaEvent_t event, const char* call) {
  if (!events().contains(event)) fault(call, ": an event that does not exist");
  return *event;
}

}  // namespace

CUstream_st::CUstream_st() { streams().insert(this); }
CUstream_st::~CUstream_st() { streams().erase(this); }

void CUstream_st::add(Work work) {
  pending_.push_back(std::move(work));
  if (pending_.size() > borealis::stand_in::controls.lag) run_until(issued() - borealis::stand_in::controls.lag);
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
  ++counts.waits;
  checked(stream, "cudaStreamSynchronize").run_until(stream->issued());
  return cudaSuccess;
}

// Being asked lets one piece of work be done, so that a loop that asks comes to its end.
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  checked(stream, "cudaStreamQuery").run_until(stream->done() + 1);
  return stream->done() == stream->issued() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  checked(stream, "cudaStreamWaitEvent").add([recorded = checked(event, "cudaStreamWaitEvent")] { recorded.wait(); });
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  events().insert(*event);
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  events().erase(&checked(event, "cudaEventDestroy"));
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  CUevent_st& recorded = checked(event, "cudaEventRecord");
  recorded = {.stream = stream, .ticket = checked(stream, "cudaEventRecord").issued() + 1, .time = {}};
  stream->add([event] {
    if (events().contains(event)) event->time = std::chrono::steady_clock::now();
  });
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  ++counts.waits;
  checked(event, "cudaEventSynchronize").wait();
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (checked(event, "cudaEventQuery").is_done()) return cudaSuccess;
  event->stream->run_until(event->stream->done() + 1);
  return event->is_done() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  const CUevent_st &a = checked(from, "cudaEventElapsedTime"), &b = checked(to, "cudaEventElapsedTime");
  if (!a.stream || !b.stream) return told(cudaErrorInvalidResourceHandle);
  if (!a.is_done() || !b.is_done()) return told(cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(b.time - a.time).count();
  return cudaSuccess;
}
