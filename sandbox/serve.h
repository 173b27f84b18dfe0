/*
 * serve.h - maps a lane into the sandbox and runs its calls. The sandbox's only thread.
 */
#ifndef ADVERB_SANDBOX_SERVE_H
#define ADVERB_SANDBOX_SERVE_H

#include "lane/lane_worker.h"
#include "sandbox/failure.h"
#include "sandbox/module.h"
#include "sandbox/proto.h"

/*
 * Touches the code and the memory that serving needs. Their first use costs time, which a sandbox of the pool has and its first
 * caller has not.
 */
void adv_serve_rehearse(void);

/*
 * Checks the descriptors (req, cpl, slots; behind the eventfd the core's page, if the order has one) against the order and maps this worker's part
 * of them. The descriptors stay the caller's and may be closed afterwards. 0 or -errno with `failure` set.
 */
int adv_serve_prepare(const struct adv_sandbox_order *order, const int *fds,
		      const struct adv_ticks *ticks, const struct adv_loaded *module,
		      struct adv_failure *failure);

/* Serves what was prepared, for ever; `event_fd` wakes the caller. */
void adv_serve(int event_fd) __attribute__((noreturn));

/* Tells the node that an allocation failed shortly before this process's end. Async-signal-safe. */
void adv_serve_note_memory(void);

#endif
