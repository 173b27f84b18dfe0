/*
 * logs.h - what functions print: the last lines of each module, in memory, for `adverb logs`. Control thread only; no I/O.
 *
 * A line belongs to the tenant whose lease it came from; what constructors print before there is a lease belongs to the module's
 * owner. A tenant reads its own lines: what others pass to a public module is nothing to its owner. Root reads all.
 * Bounded: ADV_LOG_RING_BYTES of text a module, ADV_LOG_MODULES modules; the oldest make room.
 */
#ifndef ADVERB_CONTROL_LOGS_H
#define ADVERB_CONTROL_LOGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/limits.h"

struct adv_logs;

/* One line as it is told. `text` has no control characters and lives until the callback it came with returns. */
struct adv_log_line {
	uint64_t number;  /* rises within a module, also when it was removed and has come again */
	uint64_t time_ns; /* wall clock, since 1970 */
	uint32_t tenant;
	uint32_t sandbox;
	const char *text;
};

int adv_logs_create(struct adv_logs **logs); /* 0, -ENOMEM */
void adv_logs_destroy(struct adv_logs *logs);

/* Copies the line into the ring of that owner's module. Without memory the line is lost, and counts as dropped. Its number is chosen here. */
void adv_logs_add(struct adv_logs *logs, uint32_t owner, const char *module,
		  const struct adv_log_line *line);

/*
 * Calls `each` for the lines of `reader` numbered above `since` that are still there, oldest first, at most `max`. Returns the number to
 * ask from next: of the last line that was looked at, or `since`. *lost: lines above `since`, whosoever they were, have made room already.
 */
uint64_t adv_logs_read(const struct adv_logs *logs, uint32_t owner, const char *module,
		       uint32_t reader, uint64_t since, uint32_t max, bool *lost,
		       void (*each)(void *user, const struct adv_log_line *line), void *user);

/* The module is no more: so are its lines. */
void adv_logs_forget(struct adv_logs *logs, uint32_t owner, const char *module);

#endif
