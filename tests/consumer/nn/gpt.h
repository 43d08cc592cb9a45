// A header of the consumer's own that has the name of one of ours.
#pragma once

inline const char* const whose = "the consumer's";
