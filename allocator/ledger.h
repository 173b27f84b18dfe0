/*
 * ledger.h - what each tenant has used: exact integer sums by tenant and module. Counts only: no I/O, no clock of its own.
 * Owned by the control thread; the registry's thread stores what adv_ledger_take_dirty() hands it.
 *
 * The node's clock and the kernel's CPU accounting are the truth. What a worker says only splits the time that it was
 * leased into execution and polling, and is clamped to it.
 */
#ifndef ADVERB_ALLOCATOR_LEDGER_H
#define ADVERB_ALLOCATOR_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/limits.h"

struct adv_ledger_line {
	uint32_t tenant;
	char module[2 * ADV_NAME_MAX]; /* owner/name */
	uint64_t leases;
	uint64_t allocated_core_us; /* lease time × workers */
	uint64_t allocated_mib_ms;  /* lease time × memory of all workers */
	uint64_t executed_us;	    /* inside functions */
	uint64_t polled_us;	    /* spinning without work */
	uint64_t cpu_us;	    /* the kernel's figure for the sandboxes, by reaping */
	uint64_t calls, failures, bytes;
};

struct adv_ledger;
int adv_ledger_create(struct adv_ledger **ledger);
void adv_ledger_destroy(struct adv_ledger *ledger);

/* Adds `delta`'s figures to the line of its tenant and module, with saturation. 0 or -ENOMEM. */
int adv_ledger_add(struct adv_ledger *ledger, const struct adv_ledger_line *delta);

/* As read from the registry at start: sets the line without marking it dirty. */
int adv_ledger_restore(struct adv_ledger *ledger, const struct adv_ledger_line *line);

/* Copies up to `max` changed lines (absolute totals) and marks them clean; returns how many. */
size_t adv_ledger_take_dirty(struct adv_ledger *ledger, struct adv_ledger_line *lines, size_t max);

/* Walks all lines: index from 0; NULL at the end. */
const struct adv_ledger_line *adv_ledger_at(const struct adv_ledger *ledger, size_t index);

/* Time × amount without overflow (saturates). */
uint64_t adv_ledger_product(uint64_t a, uint64_t b);

#endif
