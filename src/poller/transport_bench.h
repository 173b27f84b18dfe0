/*
 * transport_bench.h - for measuring the transport alone: calls are run by the poller itself, as an echo. With -Dtransport_bench=enabled;
 * such a node says so in its status, isolates nothing and serves nobody but a benchmark.
 */
#ifndef ADVERB_POLLER_TRANSPORT_BENCH_H
#define ADVERB_POLLER_TRANSPORT_BENCH_H

#include "poller/relay.h"

/* Completes the request `seq`, which is in its ring, in the worker's place. The poller. */
void adv_transport_bench_run(struct adv_relay *relay, struct adv_relay_lane *lane, uint32_t seq);

#endif
