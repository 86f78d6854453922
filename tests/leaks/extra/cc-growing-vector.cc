// Samples of a sensor, collected in a vector that grows by realloc in effect, one of several
// series. leak: the series is never cleared after its mean was taken. fixed: it is.
#include <string>
#include <vector>

#include "rounds.h"

namespace {

enum { SAMPLES_PER_ROUND = 8192 };

struct Sample {
    double time, value;
};

struct Series {
    std::string name;
    std::vector<Sample> samples;
    double mean = 0;
};

std::vector<Series *> all_series;

void record(Series &series, int round, bool clear) {
    // One more block of samples than there were: growth without slack, as a tuned program does it.
    series.samples.reserve(series.samples.size() + SAMPLES_PER_ROUND);
    for (int i = 0; i < SAMPLES_PER_ROUND; i++)
        series.samples.push_back({double(i), double(round)});
    for (const Sample &sample : series.samples)
        series.mean += sample.value;
    if (clear)
        series.samples.clear();
}

} // namespace

int main(int argc, char **argv) {
    const bool leak = rounds_leak(argc, argv);
    for (const char *name :
         {"temperature", "pressure", "a humidity whose name does not fit into the object itself"}) {
        all_series.push_back(new Series);
        all_series.back()->name = name;
    }
    for (int round = 0; round <= N_ROUNDS; round++) {
        record(*all_series[1], round, !leak);
        record(*all_series[0], round, true);
        rounds_end(round, leak ? all_series[1]->samples.capacity() * sizeof(Sample) : 0);
    }
    return 0;
}
